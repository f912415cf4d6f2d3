"""Evaluation sets as the compiler looks them up by name: samples in, the task's metrics out."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lzu_benchmarks.accuracy import AREAS, COCO_AREAS, average_precision
from lzu_benchmarks.datasets import DemoDataset, annotate, image_entry, open_demo
from lzu_benchmarks.nuscenes import (
    DEMO,
    NDS_STAR_FORMULA,
    NuScenesEvaluation,
    Objects,
    camera_objects,
)
from lzu_benchmarks.scenes import CLASSES, LABELS, Frame
from lzu_benchmarks.segmentation import SegmentationEvaluation
from lzu_export.datasets import Sample, Scorer
from lzu_export.errors import LzuError
from lzu_export.limits import IGNORED
from lzu_export.runtime.detector import Detections
from lzu_export.runtime.postprocess3d import Detections3d
from lzu_export.runtime.predictor import Shot
from lzu_export.runtime.segmenter import Segmentation
from lzu_export.runtime.sources import IMAGES, read_image, read_labels


class BoxTruth(NamedTuple):
    """What COCO knows of an image."""

    image: dict[str, Any]
    annotations: list[dict[str, Any]]


class SpaceTruth(NamedTuple):
    """What is there in a camera's view."""

    sequence: int
    objects: Objects
    ignore: NDArray[np.bool_]


class BoxScorer:
    """COCO's average precision, over the images that were added."""

    def __init__(self, classes: tuple[str, ...], areas: Mapping[str, list[float]] = AREAS) -> None:
        """`areas` are the limits of sizes."""
        self._classes, self._areas = classes, areas
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []
        self._found: list[dict[str, Any]] = []

    def add(self, sample: Sample, prediction: Detections) -> None:
        """Count one image."""
        truth: BoxTruth = sample.truth
        self._images.append(truth.image)
        self._annotations += truth.annotations
        self._found += prediction.to_coco(sample.number)

    def summary(self) -> dict[str, float]:
        """COCO AP and its parts, in points."""
        categories = [{"id": i + 1, "name": name} for i, name in enumerate(self._classes)]
        truth = {
            "images": self._images,
            "annotations": self._annotations,
            "categories": categories,
        }
        return average_precision(truth, self._found, self._areas)


class LabelScorer:
    """Mean IoU and its parts; pixels outside of a recipe's crop are not evaluated."""

    def __init__(self, classes: tuple[str, ...]) -> None:
        """Start with nothing counted."""
        self._evaluation = SegmentationEvaluation(classes)

    def add(self, sample: Sample, prediction: Segmentation) -> None:
        """Count one image."""
        name = f"frame {sample.number}"
        truth = np.where(prediction.labels == IGNORED, IGNORED, sample.truth)
        self._evaluation.add(truth, prediction.labels, name=name)

    def summary(self) -> dict[str, float]:
        """mIoU, near boundaries and by band, then the IoU of every class, in points."""
        by_class = self._evaluation.by_class()
        return {
            **self._evaluation.summary(),
            **{f"IoU {name}": value for name, value in by_class.items()},
        }


class SpaceScorer:
    """nuScenes' detection metrics of a camera's view."""

    def __init__(self) -> None:
        """Start with the demonstration's table of classes."""
        self._evaluation = NuScenesEvaluation(DEMO)

    def add(self, sample: Sample, prediction: Detections3d) -> None:
        """Match one frame."""
        truth: SpaceTruth = sample.truth
        found = camera_objects(prediction.boxes[:, :7], prediction.labels)
        self._evaluation.add(
            sample.number, truth.sequence, truth.objects, found, prediction.scores, truth.ignore
        )

    def summary(self) -> dict[str, float]:
        """NDS without velocity and attribute, mAP and the errors that there are."""
        summary = self._evaluation.summary()
        return {name: summary[name] for name in ("NDS*", "mAP", "mATE", "mASE", "mAOE")}


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

    def samples(self) -> Iterator[Sample]:
        """Frames with the task's truth, rendered in order."""
        for number, sequence, frame in self._dataset.rendered():
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


class CocoSet:
    """Any data set of COCO annotations, images beside them or in a folder `images`."""

    note = "small below 32x32, medium below 96x96 pixels"
    metric = "AP"

    def __init__(self, annotations: Path, frames: int | None) -> None:
        """Read the annotations; at most `frames` images, evenly taken.

        Raises:
            LzuError: the file is no COCO data set, or has no images or no objects.
        """
        self.name = annotations.name
        try:
            truth = json.loads(annotations.read_text(encoding="utf-8"))
            images = sorted(truth["images"], key=lambda image: image["id"])
            categories = sorted(truth["categories"], key=lambda category: category["id"])
            self.classes: tuple[str, ...] = tuple(category["name"] for category in categories)
            # Results count classes from 1 in their order; COCO's own ids may have gaps.
            number = {category["id"]: i + 1 for i, category in enumerate(categories)}
            # Identities from 1: in COCO's matching an identity of 0 means unmatched.
            labelled = [
                {
                    **each,
                    "id": i,
                    "category_id": number[each["category_id"]],
                    "bbox": [float(value) for value in each["bbox"]],
                }
                for i, each in enumerate(truth["annotations"], start=1)
            ]
            self._names = {image["id"]: str(image["file_name"]) for image in images}
            self._images = _evenly(images, frames)
            self._annotations: dict[Any, list[dict[str, Any]]] = {
                image["id"]: [] for image in self._images
            }
            for each in labelled:
                self._annotations.get(each["image_id"], []).append(each)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise LzuError(
                f"{annotations} is no COCO data set ({type(error).__name__}: {error}); give one "
                "with images, annotations and categories"
            ) from error
        if not self._images:
            raise LzuError(f"{annotations} holds no images to measure on; give another set")
        if not any(self._annotations.values()):
            raise LzuError(f"{annotations} holds no annotations to measure on; give another set")
        self._folder = annotations.parent

    def __len__(self) -> int:
        """Number of frames."""
        return len(self._images)

    def samples(self) -> Iterator[Sample]:
        """Images with their annotations, by ascending id."""
        for image in self._images:
            path = self._find(self._names[image["id"]])
            truth = BoxTruth(image, self._annotations[image["id"]])
            yield Sample(image["id"], Shot(read_image(path)), truth, str(path), _sequence(image))

    def scorer(self) -> Scorer:
        """COCO's metrics, with nothing counted."""
        return BoxScorer(self.classes, COCO_AREAS)

    def _find(self, name: str) -> Path:
        for folder in (self._folder, self._folder / "images"):
            if (folder / name).is_file():
                return folder / name
        raise LzuError(
            f"image {name} is neither in {self._folder} nor in its folder images; put it there"
        )


class LabelFolder:
    """A folder of `images` and label maps of the same names in `labels` (.png)."""

    note = "boundary: within 3 pixels of one; upper, middle, lower: thirds of the image"
    metric = "mIoU"

    def __init__(self, folder: Path, frames: int | None) -> None:
        """List the images; at most `frames` of them, evenly taken.

        The classes' names are the lines of `classes.txt`.

        Raises:
            LzuError: there are no images, or labels or names are missing.
        """
        self.name = folder.name
        names = folder / "classes.txt"
        if not names.is_file():
            raise LzuError(
                f"{folder} has no classes.txt; give one with the classes' names, one a line in the "
                "order of their labels"
            )
        self.classes: tuple[str, ...] = tuple(names.read_text(encoding="utf-8").split("\n"))
        self.classes = tuple(each.strip() for each in self.classes if each.strip())
        paths = sorted(p for p in (folder / "images").glob("*") if p.suffix.lower() in IMAGES)
        if not paths:
            raise LzuError(f"{folder / 'images'} holds no images to measure on; add some")
        self._paths = _evenly(paths, frames)
        self._labels = folder / "labels"
        for path in self._paths:
            if not (self._labels / f"{path.stem}.png").is_file():
                raise LzuError(f"{self._labels} has no {path.stem}.png for {path.name}; add it")

    def __len__(self) -> int:
        """Number of frames."""
        return len(self._paths)

    def samples(self) -> Iterator[Sample]:
        """Images with their label maps, by name."""
        for number, path in enumerate(self._paths, start=1):
            labels = read_labels(self._labels / f"{path.stem}.png", self.classes)
            yield Sample(number, Shot(read_image(path)), labels, str(path))

    def scorer(self) -> Scorer:
        """Cityscapes' metrics, with nothing counted."""
        return LabelScorer(self.classes)


def _sequence(image: dict[str, Any]) -> int | str:
    """The sequence of a COCO image: Argoverse-HD's or a video's number, else its folder."""
    for key in ("sid", "video_id", "sequence_id"):
        if key in image:
            return str(image[key])
    return str(Path(str(image["file_name"])).parent)


def demo(*, task: str, frames: int | None) -> DemoSet:
    """The demonstration set of a task, at most `frames` frames of it."""
    return DemoSet(open_demo("val", limit=frames), task)


def coco(annotations: str, *, task: str, frames: int | None) -> CocoSet:
    """A COCO data set, at most `frames` images of it."""
    _of_task(task, "det", annotations, "COCO boxes are")
    return CocoSet(Path(annotations), frames)


def folder(path: str, *, task: str, frames: int | None) -> LabelFolder:
    """A folder of images and label maps, at most `frames` of them."""
    _of_task(task, "seg", path, "a folder of label maps is")
    return LabelFolder(Path(path), frames)


def _of_task(task: str, wanted: str, name: str, what: str) -> None:
    if task != wanted:
        raise LzuError(
            f"the evaluation set {name} is of task {wanted}, as {what}, but the recipe of {task}; "
            "give another set, demo, or none"
        )


def _evenly(items: list[Any], most: int | None) -> list[Any]:
    """At most so many items, evenly taken."""
    if most is None or most >= len(items):
        return items
    return [items[i] for i in np.linspace(0, len(items) - 1, most).round().astype(int)]
