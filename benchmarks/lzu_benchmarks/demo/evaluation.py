"""Evaluation sets that the compiler looks up: the demonstration by name, others by path."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lzu_benchmarks.demo.dataset import DemoDataset, annotate, image_entry, open_demo
from lzu_benchmarks.scenes import CLASSES, LABELS, Frame
from lzu_export.errors import LzuError
from lzu_export.evaluation.datasets import EvaluationSet, Sample, Scorer
from lzu_export.evaluation.layouts.boxes import ARGOVERSE_VAL, CocoSet
from lzu_export.evaluation.layouts.labels import LabelSet
from lzu_export.evaluation.layouts.nuscenes import NuScenesSet
from lzu_export.evaluation.metrics.nuscenes import NDS_STAR_FORMULA, camera_objects
from lzu_export.evaluation.metrics.scorers import (
    BoxScorer,
    BoxTruth,
    LabelScorer,
    SpaceScorer,
    SpaceTruth,
)
from lzu_export.inputs.camvid import camvid, is_camvid
from lzu_export.inputs.cityscapes import cityscapes, is_cityscapes
from lzu_export.inputs.label_sets import CLASSES_FILE, label_folder
from lzu_export.inputs.nuscenes import is_nuscenes
from lzu_export.recipes import Recipe
from lzu_export.recipes.schema import Det3dRecipe
from lzu_export.runtime.predictor import Shot


class _DemoTask(NamedTuple):
    """What the demonstration scenes are to one task."""

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
    return SpaceTruth(sequence, camera_objects(frame.boxes3d, frame.classes), frame.ignore)


DEMO_TASKS = {
    "det": _DemoTask(
        CLASSES,
        "AP",
        "small below 16x16, medium below 48x48 pixels",
        _box_truth,
        lambda: BoxScorer(CLASSES),
    ),
    "seg": _DemoTask(
        LABELS,
        "mIoU",
        "boundary: within 3 pixels of one; upper, middle, lower: thirds of the image",
        _label_truth,
        lambda: LabelScorer(LABELS),
    ),
    "det3d": _DemoTask(CLASSES, "NDS*", NDS_STAR_FORMULA, _space_truth, SpaceScorer, camera=True),
}


class DemoSet:
    """The held-out demonstration sequences."""

    name = "demo"

    def __init__(self, dataset: DemoDataset, task: str = "det") -> None:
        """Wrap the rendered data set for a task."""
        self._dataset, self._task = dataset, DEMO_TASKS[task]
        self.classes: tuple[str, ...] = self._task.classes
        self.metric, self.note = self._task.metric, self._task.note

    def __len__(self) -> int:
        """Number of frames."""
        return len(self._dataset)

    @property
    def sequences(self) -> int:
        """Number of sequences that the frames are of."""
        return len({sequence for sequence, _ in self._dataset.keys})

    def samples(self, start: int = 0) -> Iterator[Sample]:
        """Frames with the task's truth, rendered in order, from the one of place `start` on."""
        for number, sequence, frame in self._dataset.rendered(start):
            camera = pixel_centred(frame.intrinsics) if self._task.camera else None
            truth = self._task.truth(number, sequence, frame)
            yield Sample(number, Shot(frame.image, camera), truth, sequence=sequence)

    def scorer(self) -> Scorer:
        """The task's metrics, with nothing counted."""
        return self._task.scorer()


def pixel_centred(intrinsics: NDArray[np.float64]) -> NDArray[np.float64]:
    """The renderer's (3, 3) matrix for indices of pixels: it counts from their edges."""
    matrix = intrinsics.copy()
    matrix[:2, 2] -= 0.5
    return matrix


def demo(*, task: str, frames: int | None, recipe: Recipe | None = None) -> DemoSet:
    """The demonstration set of a task, at most `frames` frames of it; its classes are its own."""
    return DemoSet(open_demo("val", limit=frames, whole=_follows(recipe)), task)


def coco(
    annotations: str, *, task: str, frames: int | None, recipe: Recipe | None = None
) -> CocoSet:
    """A COCO data set, Argoverse-HD among them, at most `frames` images of it."""
    _of_task(task, "det", annotations, "COCO boxes are")
    classes = recipe.classes if recipe else None
    return CocoSet(Path(annotations), frames, classes, whole=_follows(recipe))


def folder(
    path: str, *, task: str, frames: int | None, recipe: Recipe | None = None
) -> EvaluationSet:
    """The data set in a folder, whose layout is found out, at most `frames` frames of it."""
    root = Path(path)
    classes = recipe.classes if recipe else None
    if (root / ARGOVERSE_VAL).is_file():
        _of_task(task, "det", path, "Argoverse-HD is")
        return CocoSet(root / ARGOVERSE_VAL, frames, classes, whole=_follows(recipe))
    if is_nuscenes(root):
        _of_task(task, "det3d", path, "nuScenes is here")
        assert recipe is None or isinstance(recipe, Det3dRecipe), "of another task"
        return NuScenesSet(root, frames, recipe)
    if is_cityscapes(root):
        _of_task(task, "seg", path, "Cityscapes is here")
        return LabelSet(cityscapes(root, classes), frames)
    if not (root / CLASSES_FILE).is_file() and is_camvid(root):
        _of_task(task, "seg", path, "CamVid is")
        return LabelSet(camvid(root, classes), frames)
    annotations = sorted(root.glob("*.json"))
    if task == "det" and annotations:
        raise LzuError(
            f"the evaluation set {path} is a folder; give its COCO annotations, such as "
            f"{annotations[0]}"
        )
    _of_task(task, "seg", path, "a folder of label maps is")
    return LabelSet(label_folder(root, classes), frames)


def _follows(recipe: Recipe | None) -> bool:
    """Whether a recipe's model goes by the frame before, so that it needs whole sequences."""
    return recipe is not None and recipe.follows_boxes


def _of_task(task: str, wanted: str, name: str, what: str) -> None:
    if task != wanted:
        raise LzuError(
            f"the evaluation set {name} is of task {wanted}, as {what}, but the recipe of {task}; "
            "give another set, demo, or none"
        )
