"""Find an evaluation set, or a command of the harness, by name.

They live outside this package and announce themselves.
"""

from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from lzu_export.errors import LzuError
from lzu_export.runtime.predictor import Shot

GROUP = "lzu_export.datasets"
COMMANDS = "lzu_export.commands"
"""Entry points of commands that live outside this package."""
OF_PATHS = {"coco", "folder"}
"""Entry points that open a path."""


class Sample(NamedTuple):
    """A shot with its ground truth."""

    number: int
    """Identity within the set."""
    shot: Shot
    truth: Any
    """What the set's scorer knows to read."""
    name: str = ""
    """Of the frame's file, where it has one."""
    sequence: int | str = 0
    """Frames of one sequence follow one another in time."""


class Scorer(Protocol):
    """Holds the predictions of one model against the truth."""

    def add(self, sample: Sample, prediction: Any) -> None:
        """Count one sample; `prediction` is what the task's predictor returns."""

    def summary(self) -> dict[str, float]:
        """The task's metrics, in points where they are shares."""


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

    def samples(self) -> Iterator[Sample]:
        """All samples, in order."""

    def scorer(self) -> Scorer:
        """A scorer that has seen nothing yet."""


def open_dataset(name: str, frames: int | None, task: str) -> EvaluationSet:
    """Open `demo`, COCO annotations or a folder, for a task; at most `frames` frames, evenly taken.

    Raises:
        LzuError: no such set, it is not of this task, or the harness is not installed.
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
            "COCO annotations (.json), or a folder of images and labels"
        )
    if kind == "coco" and not Path(name).is_file():
        raise LzuError(f"the annotations {name} do not exist; give a path that does")
    argument = () if kind == name else (name,)
    try:
        opened: EvaluationSet = found[kind].load()(*argument, task=task, frames=frames)
    except ImportError as error:
        raise LzuError(
            f"accuracy needs the package {error.name}; pip install 'lzu-export[bench]'"
        ) from error
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
        raise LzuError(
            f"{name} needs the package {error.name}; pip install 'lzu-export[bench]'"
        ) from error
    return command


def named_sets() -> list[str]:
    """Names that stand for a set, also where a folder of that name is at hand."""
    return sorted({entry.name for entry in entry_points(group=GROUP)} - OF_PATHS)


def _kind_of_path(name: str) -> str:
    """Which entry point opens the set at a path."""
    if name.endswith(".json"):
        return "coco"
    return "folder" if name and Path(name).is_dir() else ""
