"""Evaluation sets for the compiler: the demonstration by name, other data sets by path."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from lzu_benchmarks.demo.dataset import DemoDataset, annotate, image_entry, open_demo
from lzu_benchmarks.scenes import CLASSES, LABELS, Frame
from lzu_export.errors import LzuError
from lzu_export.evaluation.datasets import EvaluationSet, Sample, Scorer
from lzu_export.evaluation.layouts.choose import lengths
from lzu_export.evaluation.layouts.find import open_path
from lzu_export.evaluation.metrics.nuscenes import NDS_STAR_FORMULA
from lzu_export.evaluation.metrics.nuscenes_objects import CameraBoxes, camera_objects
from lzu_export.evaluation.metrics.scorers import (
    BoxScorer,
    BoxTruth,
    LabelScorer,
    SpaceScorer,
    SpaceTruth,
)
from lzu_export.recipes import Recipe
from lzu_export.runtime.predictor import CameraFrame
from lzu_export.support.registry import load_object
from lzu_export.tasks.registry import find_task


class DemoTruth(NamedTuple):
    """Ground truth, metric and scorer of the demonstration scenes for one task."""

    classes: tuple[str, ...]
    metric: str
    note: str
    truth: Callable[[int, int, Frame], Any]
    scorer: Callable[[], Scorer]
    camera: bool = False


def _box_truth(number: int, sequence: int, frame: Frame) -> BoxTruth:
    return BoxTruth(image_entry(number, sequence), annotate(frame, number))


def _label_truth(_number: int, _sequence: int, frame: Frame) -> NDArray[np.uint8]:
    return frame.labels


def _space_truth(_number: int, sequence: int, frame: Frame) -> SpaceTruth:
    objects, counts = camera_objects(frame.boxes3d, frame.classes), ~frame.ignore
    seen = CameraBoxes(frame.boxes3d[counts], objects.labels[counts])
    return SpaceTruth(sequence, objects, frame.ignore, seen)


BOXES = DemoTruth(
    CLASSES,
    "AP",
    "small below 16x16, medium below 48x48 pixels",
    _box_truth,
    lambda: BoxScorer(CLASSES),
)
"""Ground truth and scorer of the scenes for 2-D detection."""
LABEL_MAPS = DemoTruth(
    LABELS,
    "mIoU",
    "boundary: within 3 pixels of one; upper, middle, lower: thirds of the image",
    _label_truth,
    lambda: LabelScorer(LABELS),
)
"""Ground truth and scorer of the scenes for segmentation."""
SPACE = DemoTruth(CLASSES, "NDS*", NDS_STAR_FORMULA, _space_truth, SpaceScorer, camera=True)
"""Ground truth and scorer of the scenes for 3-D detection."""


def truth_of(task: str) -> DemoTruth:
    """Find the demonstration that a task names in `Task.demonstration`.

    Raises:
        LzuError: the task names none, or there is no such task.
    """
    place = find_task(task).demonstration
    if place is None:
        raise LzuError(
            f"the demonstration has no truth for task {task}; give another evaluation set, or none"
        )
    return cast(DemoTruth, load_object(place))


class DemoSet:
    """The held-out demonstration sequences."""

    name = "demo"

    def __init__(self, dataset: DemoDataset, task: str = "det") -> None:
        """Wrap the rendered data set for a task."""
        self._dataset, self._task = dataset, truth_of(task)
        self.classes: tuple[str, ...] = self._task.classes
        self.metric, self.note = self._task.metric, self._task.note

    def __len__(self) -> int:
        """Number of frames."""
        return len(self._dataset)

    @property
    def sequences(self) -> int:
        """Number of sequences."""
        return len({sequence for sequence, _ in self._dataset.keys})

    @property
    def sequence_lengths(self) -> list[int]:
        """Number of frames of each sequence, in order."""
        return lengths(sequence for sequence, _ in self._dataset.keys)

    def samples(self, start: int = 0) -> Iterator[Sample]:
        """Yield frames with the task's truth, rendered in order, from index `start` on."""
        for number, sequence, frame in self._dataset.rendered(start):
            camera = pixel_centred(frame.intrinsics) if self._task.camera else None
            truth = self._task.truth(number, sequence, frame)
            yield Sample(number, CameraFrame(frame.image, camera), truth, sequence=sequence)

    def scorer(self) -> Scorer:
        """Return a new scorer of the task's metrics."""
        return self._task.scorer()


def pixel_centred(intrinsics: NDArray[np.float64]) -> NDArray[np.float64]:
    """Convert the renderer's (3, 3) matrix from pixel edges to pixel indices (centres)."""
    matrix = intrinsics.copy()
    matrix[:2, 2] -= 0.5
    return matrix


def demo(*, task: str, frames: int | None, recipe: Recipe | None = None) -> DemoSet:
    """Open at most `frames` frames of the demonstration set of a task, with its own classes."""
    return DemoSet(open_demo("val", limit=frames, whole=_follows(recipe)), task)


def coco(
    annotations: str, *, task: str, frames: int | None, recipe: Recipe | None = None
) -> EvaluationSet:
    """Open at most `frames` images of a data set with COCO annotations, such as Argoverse-HD."""
    return open_path(annotations, task, frames, recipe)


def folder(
    path: str, *, task: str, frames: int | None, recipe: Recipe | None = None
) -> EvaluationSet:
    """Open at most `frames` frames of the data set in a folder, whose layout is detected."""
    return open_path(path, task, frames, recipe)


def _follows(recipe: Recipe | None) -> bool:
    """Return whether a recipe's warp follows the previous frame's boxes, so needs sequences."""
    return recipe is not None and recipe.follows_boxes
