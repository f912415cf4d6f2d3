"""Find an evaluation set by name. Sets live outside this package and announce themselves."""

from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol

from lzu_export.errors import LzuError
from lzu_export.runtime.preprocess import Frame

GROUP = "lzu_export.datasets"


class EvaluationSet(Protocol):
    """Frames with ground truth, and the task's metric over them."""

    name: str
    note: str
    """How its metrics are meant, such as the limits of sizes."""
    classes: tuple[str, ...]

    def __len__(self) -> int:
        """Number of frames."""

    def frames(self) -> Iterator[tuple[int, Frame]]:
        """(image id, BGR frame) in order."""

    def evaluate(self, results: list[dict[str, Any]]) -> dict[str, float]:
        """The task's metrics, in points, of COCO results on all frames."""


def open_dataset(name: str, frames: int | None) -> EvaluationSet:
    """Open `demo`, or the set of a COCO annotations file; at most `frames` frames, evenly taken.

    Raises:
        LzuError: no such set, or the harness is not installed.
    """
    kind, argument = ("coco", (name,)) if name.endswith(".json") else (name, ())
    found = {entry.name: entry for entry in entry_points(group=GROUP)}
    if kind not in found or (kind == "coco" and not argument):
        if not found:
            raise LzuError(
                "accuracy needs the benchmark harness; pip install -e '.[bench]' in a source "
                "checkout, or set evaluation.dataset to null"
            )
        names = sorted(set(found) - {"coco"})
        raise LzuError(
            f"there is no evaluation set {name}; give {' or '.join(names)}, or the path of COCO "
            "annotations (.json)"
        )
    if argument and not Path(name).is_file():
        raise LzuError(f"the annotations {name} do not exist; give a path that does")
    try:
        opened: EvaluationSet = found[kind].load()(*argument, frames=frames)
    except ImportError as error:
        raise LzuError(
            f"accuracy needs the package {error.name}; pip install 'lzu-export[bench]'"
        ) from error
    return opened
