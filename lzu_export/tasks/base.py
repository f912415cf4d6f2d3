"""The class `Task`: everything that differs between tasks."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lzu_export.recipes import Recipe
from lzu_export.support.session import TensorSpec

if TYPE_CHECKING:
    from lzu_export.runtime.predictor import Predictor
    from lzu_export.tasks.assemble import Parts
    from lzu_export.tasks.present import Presenter

Outputs = Mapping[str, NDArray[Any]]
"""Final outputs of one frame by name."""


class Sums(NamedTuple):
    """How far one frame's predictions agree with a reference's, in sums over the frame.

    For detections the sums are of scores; for label maps they count pixels.
    """

    mine: float
    """The engine's scores of detections that the reference has, too; pixels of the same class."""
    partnered: float
    """The reference's scores of those detections; its pixels of a class."""
    everything: float
    """The scores of all of the reference's detections; its pixels of a class."""
    number: float
    """Number of the reference's detections; its pixels of a class."""


class Task(ABC):
    """A task: its recipes, model, predictions, and how they are compared, drawn and scored.

    A subclass lives in a folder of its own and is named once, in `recipes.tasks`, or announced by
    an installed package under the entry point `lzu_export.tasks`. A device imports tasks to run
    bundles: importing the module of a task loads neither torch nor onnx nor OpenCV, and only
    `parts` imports torch. Its data sets and metrics are above this package, so the task names them
    by the text `module:object`, which is imported when it is asked for. The predictors of this
    package's own tasks are in `runtime`, since users import them and their predictions from there.
    """

    name: ClassVar[str]
    """The task in recipes, manifests and folders, such as `det`."""
    title: ClassVar[str]
    """The heading of its report."""
    recipe: ClassVar[type[Recipe]]
    """The class of its recipes."""
    default_recipe: ClassVar[str | Path]
    """The recipe that its name stands for: a shipped one's name, or a path."""
    head: ClassVar[str | None] = None
    """How the name of a layer begins by which a checkpoint of the task is recognised; None where
    no layer tells."""
    compared: ClassVar[Literal["scores", "pixels"]] = "scores"
    """What `agreement` sums up."""
    layouts: ClassVar[tuple[str, ...]] = ()
    """Layouts of its data sets on disk, in which they are tried: places of objects
    `evaluation.layouts.find.Layout`. A set brings the task's metric and its scorer."""
    demonstration: ClassVar[str | None] = None
    """What the demonstration scenes are to the task: the place of a `demo.evaluation.DemoTruth` of
    `lzu_benchmarks`; None where they hold no truth of it."""

    @abstractmethod
    def parts(self, recipe: Any) -> "Parts":
        """The network with random weights, its decode and the names of its outputs.

        Imports torch.
        """

    @property
    @abstractmethod
    def predictor(self) -> type["Predictor"]:
        """The class that makes predictions of an engine's outputs."""

    @abstractmethod
    def deviation(self, recipe: Any, value: Outputs, reference: Outputs) -> dict[str, float]:
        """Relative difference of each final output of one frame from PyTorch's.

        Args:
            recipe: of the task.
            value: the engine's outputs, without the axis of the batch.
            reference: PyTorch's, and its `margins` where outputs are choices.

        Raises:
            KeyError: an output is missing.
        """

    @abstractmethod
    def agreement(self, mine: Any, theirs: Any) -> Sums:
        """How far one frame's predictions of an engine agree with those of a reference."""

    @abstractmethod
    def presenter(self, recipe: Any, folder: Path, lowest: float) -> "Presenter":
        """What keeps and draws the predictions of one run.

        Args:
            recipe: of the task.
            folder: where it may write files of its own.
            lowest: the lowest score that is drawn.
        """

    def other_inputs(self, recipe: Recipe) -> tuple[TensorSpec, ...]:
        """The model's inputs besides the image and the boxes of the frame before."""
        return ()

    def made_up_camera(
        self, source: tuple[int, int], focal: float = 1.0
    ) -> NDArray[np.float64] | None:
        """A camera for frames that come without one; None where the task needs no camera.

        Args:
            source: (height, width) of the frame in pixels.
            focal: focal length over the frame's width.

        Returns:
            (3, 3) to homogeneous pixels.
        """
        return None

    def training_notes(self, recipe: Any) -> dict[str, str]:
        """What a checkpoint should remember of its training besides what all tasks do."""
        return {}
