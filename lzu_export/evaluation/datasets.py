"""Find an evaluation set, or a command of the harness, by name.

They live outside this package and announce themselves.
"""

from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from numpy.typing import NDArray

from lzu_export.errors import LzuError
from lzu_export.recipes import Recipe
from lzu_export.runtime.predictor import CameraFrame
from lzu_export.support.extras import needs

GROUP = "lzu_export.datasets"
"""Entry points that open a set, by name called with `task`, `frames` and `recipe` as `open_dataset`
has them, after the path where they open one."""
COMMANDS = "lzu_export.commands"
"""Entry points of commands that live outside this package."""
OF_PATHS = {"coco", "folder"}
"""Entry points that open a path."""


State = dict[str, NDArray[Any]]
"""Counts of a scorer: arrays of plain numbers and texts by name."""


class Sample(NamedTuple):
    """A camera frame with its ground truth."""

    number: int
    """Identity within the set."""
    camera_frame: CameraFrame
    truth: Any
    """Ground truth in the form that the set's scorer reads."""
    name: str = ""
    """Name of the frame's file, if it has one."""
    sequence: int | str = 0
    """Frames of one sequence follow one another in time."""


class Scorer(Protocol):
    """Holds the predictions of one model against the truth."""

    def add(self, sample: Sample, prediction: Any) -> None:
        """Count one sample; `prediction` is what the task's predictor returns."""

    def summary(self) -> dict[str, float]:
        """The task's metrics, in points where they are shares."""

    def state(self) -> State | None:
        """All counts; None if they are only complete after a further sample."""

    def restore(self, state: State) -> None:
        """Go on from what another scorer of the kind had counted."""


class EvaluationSet(Protocol):
    """Frames with ground truth, and the task's metric over them."""

    name: str
    note: str
    """How its metrics are meant, such as the limits of sizes."""
    classes: tuple[str, ...]
    metric: str
    """The one of its metrics that limits and tables speak of."""

    def __len__(self) -> int:
        """Number of frames."""

    def samples(self, start: int = 0) -> Iterator[Sample]:
        """All samples from the one of place `start` on, in order; those before are not read."""

    def scorer(self) -> Scorer:
        """A scorer that has seen nothing yet."""


def told_frames(frames: int, sequences: int | None) -> str:
    """How many frames something was measured on, and of how many sequences where that counts."""
    if sequences is None:
        return f"{frames} frames"
    return f"{frames} frames ({sequences} sequence{'' if sequences == 1 else 's'})"


def sequences_of(dataset: EvaluationSet, recipe: Recipe) -> int | None:
    """Sequences of a set that a model is scored on which goes by the frame before; else None."""
    count = getattr(dataset, "sequences", None) if recipe.follows_boxes else None
    return count if isinstance(count, int) else None


def open_dataset(
    name: str, frames: int | None, task: str, recipe: Recipe | None = None
) -> EvaluationSet:
    """Open `demo`, COCO annotations or the folder of a data set, for a task.

    Args:
        name: of the set, or its path; a folder's layout is found out.
        frames: at most so many, evenly taken; for a recipe whose model goes by the frame before, in
            whole sequences.
        task: what is predicted.
        recipe: whose classes and attributes labels count; the set's own by default.

    Raises:
        LzuError: no such set, it is not of this task, files of it are missing or damaged, it has
            other classes than the recipe, or the harness is not installed.
    """
    found = {entry.name: entry for entry in entry_points(group=GROUP)}
    kind = name if name in named_sets() else _kind_of_path(name)
    if kind not in found:
        if not found:
            raise LzuError(
                "accuracy needs the benchmark harness; pip install -e '.[bench]' in a source "
                "checkout, or set evaluation.dataset to null"
            )
        raise LzuError(
            f"there is no evaluation set {name}; give {' or '.join(named_sets())}, the path of "
            "COCO annotations (.json), or the folder of a data set"
        )
    if kind == "coco" and not Path(name).is_file():
        raise LzuError(f"the annotations {name} do not exist; give a path that does")
    argument = () if kind == name else (name,)
    try:
        opened: EvaluationSet = found[kind].load()(
            *argument, task=task, frames=frames, recipe=recipe
        )
    except ImportError as error:
        raise LzuError(needs("accuracy", error.name, "bench")) from error
    return opened


def find_command(name: str) -> Callable[[Sequence[str]], None]:
    """A command of the benchmark harness, which announces it as the sets.

    Raises:
        LzuError: the harness is not installed.
    """
    found = {entry.name: entry for entry in entry_points(group=COMMANDS)}
    if name not in found:
        raise LzuError(
            f"{name} needs the benchmark harness; pip install -e '.[bench]' in a source checkout"
        )
    try:
        command: Callable[[Sequence[str]], None] = found[name].load()
    except ImportError as error:
        raise LzuError(needs(name, error.name, name)) from error
    return command


def named_sets() -> list[str]:
    """Names that stand for a set, also where a folder of that name is at hand."""
    return sorted({entry.name for entry in entry_points(group=GROUP)} - OF_PATHS)


def _kind_of_path(name: str) -> str:
    """Which entry point opens the set at a path."""
    if name.endswith(".json"):
        return "coco"
    return "folder" if name and Path(name).is_dir() else ""
