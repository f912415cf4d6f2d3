"""The class `Task`: everything that differs between tasks."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from lzu_export.recipes import Recipe
from lzu_export.support.registry import load_object
from lzu_export.support.session import TensorSpec
from lzu_export.tasks.custom import find_builder
from lzu_export.warp.warp import Warp

if TYPE_CHECKING:
    from lzu_export.models.traced_model import TracedModel
    from lzu_export.runtime.predictor import Predictor
    from lzu_export.tasks.assemble import Parts
    from lzu_export.tasks.present import Presenter

Outputs = Mapping[str, NDArray[Any]]
"""Final outputs of one frame by name."""


NO_RATIOS = np.empty((2, 0))


class Sums(NamedTuple):
    """Agreement of one frame's predictions with a reference's, in sums over the frame.

    For detections these are sums of scores; for label maps they are numbers of pixels.
    """

    mine: float
    """Sum of the engine's scores of detections that the reference has, too; or number of pixels
    with
    the same class."""
    partnered: float
    """Sum of the reference's scores of those detections; or number of its pixels with a class."""
    everything: float
    """Sum of the scores of all the reference's detections; or number of its pixels with a class."""
    number: float
    """Number of the reference's detections; or number of its pixels with a class."""
    ratios: NDArray[np.float64] = NO_RATIOS
    """(2, n) scores of the engine over those of the reference, for detections that both have, and
    the reference's scores, which weight them; empty for label maps."""


class Task(ABC):
    """A task: its recipes, model, predictions, and how they are compared, drawn and scored.

    A subclass has its own folder. It is named once, in `recipes.tasks`, or announced by an
    installed package under the entry point `lzu_export.tasks`. A device imports tasks to run
    bundles, so importing the module of a task loads neither torch nor onnx nor OpenCV; only `parts`
    imports torch. Data sets and metrics are above this package, so the task names them by the text
    `module:object`, which is imported on first use. The predictors of this
    package's own tasks are in `runtime`, since users import them and their predictions from there.
    """

    name: ClassVar[str]
    """Name of the task in recipes, manifests and folders, such as `det`."""
    title: ClassVar[str]
    """Heading of the task's report."""
    recipe: ClassVar[type[Recipe]]
    """Class of the task's recipes."""
    default_recipe: ClassVar[str | Path]
    """Recipe that the task's name stands for: a shipped recipe's name, or a path."""
    head: ClassVar[str | None] = None
    """Prefix of the layer names by which a checkpoint of the task is recognised; None if there is
    no
    such layer."""
    compared: ClassVar[Literal["scores", "pixels"]] = "scores"
    """Quantity that `agreement` sums up."""
    layouts: ClassVar[tuple[str, ...]] = ()
    """Layouts of the task's data sets on disk, in the order in which they are tried:
    `module:object`
    of each `evaluation.layouts.find.Layout`. A data set brings the task's metric and its scorer."""
    demonstration: ClassVar[str | None] = None
    """Truth of the demonstration scenes for the task: `module:object` of a
    `demo.evaluation.DemoTruth` of `lzu_benchmarks`; None if the scenes have no truth for it."""

    @abstractmethod
    def parts(self, recipe: Any) -> "Parts":
        """Make the network with random weights, its decode and the names of its outputs.

        This imports torch.
        """

    def assemble(self, recipe: Any, warp: Warp, *, from_source: bool) -> "TracedModel":
        """Assemble the recipe's model with its weights, up to the task's outputs; imports torch.

        It begins at the frame if `from_source`, else at the network's input. A network of the
        user's own, `custom_model`, takes the place of the one in `parts`.

        Raises:
            LzuError: the checkpoint is missing, unreadable or belongs to another architecture or
                warp, or the custom model is unknown.
        """
        from lzu_export.tasks.assemble import assemble

        parts = self.parts(recipe)
        if recipe.custom_model is not None:
            model: Any = find_builder(recipe.custom_model)(recipe)
            parts = replace(parts, model=model)
        return assemble(recipe, parts, warp, from_source=from_source)

    @property
    @abstractmethod
    def predictor(self) -> type["Predictor"]:
        """Class that turns an engine's outputs into predictions."""

    @abstractmethod
    def deviation(self, recipe: Any, value: Outputs, reference: Outputs) -> dict[str, float]:
        """Compute the relative difference of each final output of one frame from PyTorch's.

        Args:
            recipe: recipe of the task.
            value: the engine's outputs, without the batch axis.
            reference: PyTorch's outputs, with their `margins` if outputs are choices.

        Raises:
            KeyError: an output is missing.
        """

    @abstractmethod
    def agreement(self, mine: Any, theirs: Any) -> Sums:
        """Sum up how far an engine's predictions of one frame agree with a reference's."""

    @abstractmethod
    def presenter(self, recipe: Any, folder: Path, lowest: float) -> "Presenter":
        """Make the object that keeps and draws the predictions of one run.

        Args:
            recipe: recipe of the task.
            folder: folder into which it may write its own files.
            lowest: lowest score that is drawn.
        """

    def other_inputs(self, recipe: Recipe) -> tuple[TensorSpec, ...]:
        """Return the specs of inputs other than the image and the previous frame's boxes."""
        return ()

    def made_up_camera(
        self, source: tuple[int, int], focal: float = 1.0
    ) -> NDArray[np.float64] | None:
        """Make a camera for frames that come without one; None if the task needs no camera.

        Args:
            source: (height, width) of the frame in pixels.
            focal: focal length over the frame's width.

        Returns:
            Matrix (3, 3) from the camera's frame to homogeneous pixels.
        """
        return None

    def training_notes(self, recipe: Any) -> dict[str, str]:
        """Return the task's own entries of a checkpoint's training record."""
        return {}


class ShippedTask(Task):
    """A task of this package: `parts` is a function of the same name in its folder's `parts.py`.

    What it names by the text `module:object` is imported on first use.
    """

    predictor_class: ClassVar[str]
    """Class of the task's predictors."""
    presenter_class: ClassVar[str]
    """Class of the task's presenters; its module imports OpenCV."""

    def parts(self, recipe: Any) -> "Parts":
        """Call the function `parts` of the task's folder."""
        make: Any = load_object(f"lzu_export.tasks.{self.name}.parts:parts")
        return cast("Parts", make(recipe))

    @property
    def predictor(self) -> type["Predictor"]:
        """Class that `predictor_class` names."""
        return cast("type[Predictor]", load_object(self.predictor_class))

    def presenter(self, recipe: Any, folder: Path, lowest: float) -> "Presenter":
        """Make an object of the class that `presenter_class` names."""
        make: Any = load_object(self.presenter_class)
        return cast("Presenter", make(recipe, folder, lowest))
