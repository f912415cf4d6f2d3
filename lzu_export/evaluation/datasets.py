"""Find an evaluation set, or a command of the harness, by name.

Both live outside this package and are announced as entry points.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

from numpy.typing import NDArray

from lzu_export.errors import LzuError
from lzu_export.recipes import Recipe
from lzu_export.runtime.predictor import CameraFrame
from lzu_export.support.entry_points import entry_points
from lzu_export.support.extras import needs

GROUP = "lzu_export.datasets"
"""Group of the entry points that open a set. Each is called by keyword with `task`, `frames` and
`recipe` of `open_dataset`, after the path where it opens one."""
OF_PATHS = {"coco", "folder"}
"""Names of the entry points that open a path."""


REGISTERED: dict[str, Callable[[int | None, Recipe], "EvaluationSet"]] = {}
"""Sets that the running program opens itself, by name: functions of a number of frames and a
recipe."""

State = dict[str, NDArray[Any]]
"""Counts of a scorer: arrays of plain numbers and texts by name."""


class Sample(NamedTuple):
    """A camera frame with its ground truth."""

    number: int
    """Number that identifies the frame within the set."""
    camera_frame: CameraFrame
    truth: Any
    """Ground truth in the form that the set's scorer reads."""
    name: str = ""
    """Name of the frame's file, if it has one."""
    sequence: int | str = 0
    """Sequence of the frame; frames of one sequence are consecutive in time."""


class Scorer(Protocol):
    """Compares the predictions of one model with the truth."""

    def add(self, sample: Sample, prediction: Any) -> None:
        """Count one sample; `prediction` is what the task's predictor returns."""

    def summary(self) -> dict[str, float]:
        """Return the task's metrics, in points where they are shares."""

    def state(self) -> State | None:
        """Return all counts; None if they are only complete after a further sample."""

    def restore(self, state: State) -> None:
        """Continue from the counts of another scorer of this kind."""


@runtime_checkable
class MergingScorer(Scorer, Protocol):
    """A scorer of which several, each of a part of a set, give the results of one for the whole."""

    def merge(self, state: State) -> None:
        """Count what another scorer counted over the frames that come next.

        The results are those, to the bit, of one scorer that counted all frames in order.
        """


class EvaluationSet(Protocol):
    """Frames with ground truth, and the task's metric over them."""

    name: str
    note: str
    """Definition of the metrics, such as the limits of object sizes."""
    classes: tuple[str, ...]
    metric: str
    """Name of the metric that limits and tables refer to."""

    def __len__(self) -> int:
        """Number of frames."""

    def samples(self, start: int = 0) -> Iterator[Sample]:
        """Yield all samples from position `start` on, in order; earlier ones are not read."""

    def scorer(self) -> Scorer:
        """Return a scorer with nothing counted."""


def told_frames(frames: int, sequences: int | None) -> str:
    """Return a number of frames, and of sequences where that is not None, in words."""
    if sequences is None:
        return f"{frames} frames"
    return f"{frames} frames ({sequences} sequence{'' if sequences == 1 else 's'})"


def sequences_of(dataset: EvaluationSet, recipe: Recipe) -> int | None:
    """Return a set's number of sequences if the recipe's model uses the previous frame's boxes.

    None for other models, and for sets that do not count sequences.
    """
    count = getattr(dataset, "sequences", None) if recipe.follows_boxes else None
    return count if isinstance(count, int) else None


def open_dataset(
    name: str, frames: int | None, task: str, recipe: Recipe | None = None
) -> EvaluationSet:
    """Open `demo`, COCO annotations or the folder of a data set, for a task.

    Args:
        name: name of the set, or its path; the layout of a folder is detected.
        frames: largest number of frames, evenly spread; in whole sequences for a recipe whose model
            uses the previous frame's boxes.
        task: name of the task.
        recipe: recipe whose classes and attributes the labels index; by default the set's own.

    Raises:
        LzuError: there is no such set, it belongs to another task, files of it are missing or
            damaged, its classes differ from the recipe's, or the harness is not installed.
    """
    if name in REGISTERED and recipe is not None:
        return REGISTERED[name](frames, recipe)
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


def named_sets() -> list[str]:
    """Return the names that stand for a set, even where a folder of that name exists."""
    return sorted({entry.name for entry in entry_points(group=GROUP)} - OF_PATHS)


def _kind_of_path(name: str) -> str:
    """Return the name of the entry point that opens the set at a path; empty for none."""
    if name.endswith(".json"):
        return "coco"
    return "folder" if name and Path(name).is_dir() else ""
