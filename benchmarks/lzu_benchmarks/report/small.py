"""What is small in each kind of truth, when it is found, and how it is drawn."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from lzu_benchmarks.report.pictures import LOWEST, true_boxes
from lzu_export.evaluation.datasets import Sample
from lzu_export.evaluation.metrics.nuscenes_objects import NUSCENES, CameraBoxes
from lzu_export.evaluation.metrics.scorers import BoxTruth
from lzu_export.inputs.frame import Frame
from lzu_export.runtime.detector import Detections
from lzu_export.runtime.draw3d import draw_boxes_3d
from lzu_export.runtime.draw_boxes import draw_detections
from lzu_export.runtime.postprocess3d import Detections3d
from lzu_export.runtime.projection import camera_matrix, image_boxes, project
from lzu_export.runtime.segmenter import Segmentation
from lzu_export.support.limits import IGNORED
from lzu_export.tasks.det3d.task import NEAR
from lzu_export.tasks.partners import overlaps

OVERLAP = 0.5
"""Intersection over union from which a detection finds an object."""
FAR_SHARE = 12
"""Boxes in space are small below this fraction of the frame's height."""
RARE, SHARE = 0.02, 0.5
"""Share of the pixels below which a class is small, and that of a region's pixels which are enough
to find it."""
FEWEST, MOST = 16, 1024
"""Numbers of pixels from which and up to which a region of a small class is shown."""
PANEL = 320
"""Side of a crop in pixels."""


class Small(NamedTuple):
    """A small object of the truth."""

    frame: int
    """Index of its frame."""
    box: NDArray[np.float64]
    """(4,) x1, y1, x2, y2 in pixels of the frame."""
    label: int
    truth: Any = None
    """The object itself, where it is more than a box."""


class Window(NamedTuple):
    """A square part of a frame, enlarged to a crop."""

    corner: NDArray[np.float64]
    """(2,) x, y of its corner in pixels of the frame."""
    factor: float

    @property
    def matrix(self) -> NDArray[np.float64]:
        """(2, 3) matrix from pixels of the frame to those of the crop."""
        shift = -self.factor * self.corner
        return np.array([[self.factor, 0, shift[0]], [0, self.factor, shift[1]]])

    def cut(self, picture: NDArray[np.uint8], flags: int = cv2.INTER_LINEAR) -> NDArray[np.uint8]:
        """Return the crop of a picture of the frame's size."""
        found = cv2.warpAffine(picture, self.matrix, (PANEL, PANEL), flags=flags)
        return np.asarray(found, np.uint8)


class Kind(Protocol):
    """A kind of small objects."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""

    @property
    def things(self) -> str:
        """Name of the objects, in the plural."""

    def objects(self, samples: Sequence[Sample]) -> list[Small]:
        """Return the small objects that count, in the order of the frames."""

    def finds(self, each: Small, prediction: Any) -> bool:
        """Return whether a model with this prediction in the object's frame finds it."""

    def draw(self, each: Small, sample: Sample, prediction: Any | None, window: Window) -> Frame:
        """Draw a window of the frame with the prediction of the object's class, or its truth."""

    def rule(self) -> tuple[str, str, str]:
        """Return what is small, what is found and what is drawn, as clauses."""


@dataclass(frozen=True)
class Boxes:
    """Boxes in the frame."""

    classes: tuple[str, ...]
    side: float
    """Side in pixels of the square that small objects are smaller than."""
    things: str = "small objects"

    def objects(self, samples: Sequence[Sample]) -> list[Small]:
        """Return the objects below the square's area."""
        found = []
        for i, sample in enumerate(samples):
            boxes = true_boxes(sample.truth, self.classes)
            sizes = (boxes.boxes[:, 2:] - boxes.boxes[:, :2]).prod(axis=1)
            for box, label, size in zip(boxes.boxes, boxes.labels, sizes, strict=True):
                if 0 < size < self.side**2:
                    found.append(Small(i, box.astype(np.float64), int(label)))
        return found

    def finds(self, each: Small, prediction: Detections) -> bool:
        """Return whether a detection of its class overlaps the object."""
        boxes = _boxes_like(each, prediction)
        return bool(len(boxes) and overlaps(each.box[None], boxes).max() >= OVERLAP)

    def draw(
        self, each: Small, sample: Sample, prediction: Detections | None, window: Window
    ) -> Frame:
        """Draw the boxes of the object's class; those of others would hide small ones."""
        if prediction is None:
            boxes, scores = each.box[None], np.ones(1, np.float32)
        else:
            mine = prediction.labels == each.label
            boxes, scores = prediction.boxes[mine], prediction.scores[mine]
        moved = ((boxes - np.tile(window.corner, 2)) * window.factor).astype(np.float32)
        labels = np.full(len(moved), each.label, np.int32)
        shown = Detections(moved, scores, labels, self.classes)
        picture = window.cut(sample.camera_frame.frame)
        return draw_detections(picture, shown, lowest=LOWEST, named=False)

    def rule(self) -> tuple[str, str, str]:
        """Return the rule's clauses."""
        return (
            f"an area below {self.side:g}x{self.side:g} pixels of the frame",
            f"a detection of the object's class that scores at least {LOWEST:g} and overlaps it by "
            f"at least {OVERLAP:g} (intersection over union)",
            "boxes of its class",
        )


@dataclass(frozen=True)
class Solids:
    """Boxes in space, as a camera sees them."""

    classes: tuple[str, ...]
    things: str = "small objects"

    def objects(self, samples: Sequence[Sample]) -> list[Small]:
        """Return the objects whose projected box is low, with its centre in the frame."""
        reach = {each.name: each.reach for each in NUSCENES}
        reaches = np.array([reach.get(name, 50.0) for name in self.classes])
        found = []
        for i, sample in enumerate(samples):
            seen, matrix = _seen(sample), _matrix(sample)
            height, width = sample.camera_frame.frame.shape[:2]
            areas = image_boxes(seen.boxes, matrix, (height, width))
            centres = project(seen.boxes[:, :3], matrix)[0]
            inside = ((centres >= 0) & (centres < (width, height))).all(axis=1)  # false for NaN
            near = np.hypot(seen.boxes[:, 0], seen.boxes[:, 2]) < reaches[seen.labels]
            low = areas[:, 3] - areas[:, 1] < height / FAR_SHARE
            for j in np.flatnonzero(inside & near & low).tolist():
                found.append(Small(i, areas[j], int(seen.labels[j]), seen.boxes[j]))
        return found

    def finds(self, each: Small, prediction: Detections3d) -> bool:
        """Return whether a detection of its class is near the object on the ground."""
        gaps = _boxes_like(each, prediction)[:, [0, 2]] - each.truth[[0, 2]]
        return bool(len(gaps) and np.hypot(*gaps.T).min() <= NEAR)

    def draw(
        self, each: Small, sample: Sample, prediction: Detections3d | None, window: Window
    ) -> Frame:
        """Draw the boxes of the object's class by the camera that would see the window alone."""
        boxes = each.truth[None] if prediction is None else _boxes_like(each, prediction)
        matrix = np.vstack([window.matrix, [0, 0, 1]]) @ _matrix(sample)
        picture = window.cut(sample.camera_frame.frame)
        labels = [each.label] * len(boxes)
        return draw_boxes_3d(picture, boxes, labels, self.classes, matrix, named=False)

    def rule(self) -> tuple[str, str, str]:
        """Return the rule's clauses."""
        return (
            f"a projected box lower than a {FAR_SHARE}th of the frame, with its centre in the "
            "frame and within the range of nuScenes' score",
            f"a detection of the object's class that scores at least {LOWEST:g} and has its centre "
            f"within {NEAR:g} m on the ground",
            "boxes of its class",
        )


@dataclass(frozen=True)
class Regions:
    """Connected regions of classes with few pixels."""

    classes: tuple[str, ...]
    things: str = "small regions"

    def objects(self, samples: Sequence[Sample]) -> list[Small]:
        """Return the regions of small classes, by frame and class."""
        counts = np.sum(
            [np.bincount(each.truth.ravel(), minlength=IGNORED + 1) for each in samples], axis=0
        )
        shares = counts[: len(self.classes)] / max(1, counts[:IGNORED].sum())
        found = []
        for i, sample in enumerate(samples):
            for label in np.flatnonzero((shares > 0) & (shares < RARE)).tolist():
                mask = (sample.truth == label).astype(np.uint8)
                count, regions, rows, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
                for j in range(1, count):  # 0 is all around
                    x, y, width, height, pixels = rows[j].tolist()
                    if FEWEST <= pixels <= MOST:
                        box = np.array([x, y, x + width, y + height], np.float64)
                        found.append(Small(i, box, label, np.nonzero(regions == j)))
        return found

    def finds(self, each: Small, prediction: Segmentation) -> bool:
        """Return whether enough of the region's pixels have its class."""
        return bool((prediction.labels[each.truth] == each.label).mean() >= SHARE)

    def draw(
        self, each: Small, sample: Sample, prediction: Segmentation | None, window: Window
    ) -> Frame:
        """Draw the outlines of the region's class."""
        labels = sample.truth if prediction is None else prediction.labels
        mask = window.cut((labels == each.label).astype(np.uint8), cv2.INTER_NEAREST)
        picture = window.cut(sample.camera_frame.frame)
        outlines, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        for colour, thick in (((0, 0, 0), 4), ((0, 220, 255), 2)):
            cv2.drawContours(picture, outlines, -1, colour, thick, cv2.LINE_AA)
        return picture

    def rule(self) -> tuple[str, str, str]:
        """Return the rule's clauses."""
        return (
            f"a connected region of {FEWEST} to {MOST} pixels, of a class with less than "
            f"{100 * RARE:g} % of all pixels",
            f"at least {100 * SHARE:g} % of the region's pixels get its class",
            "the outline of its class",
        )


def kind_of(samples: Sequence[Sample], classes: tuple[str, ...], side: float) -> Kind | None:
    """Return the kind of the frames' truth; None where nothing in it is known to be small.

    Args:
        samples: frames with their truth.
        classes: names of the classes.
        side: side in pixels of the square that small boxes are smaller than.
    """
    if not samples:
        return None
    if all(isinstance(each.truth, BoxTruth) for each in samples):
        return Boxes(classes, side)
    if all(_is_seen(each) for each in samples):
        return Solids(classes)
    if all(_is_label_map(each) for each in samples):
        return Regions(classes)
    return None


def _boxes_like(each: Small, prediction: Detections | Detections3d) -> NDArray[np.float64]:
    """Return the boxes of the object's class whose scores are high enough to be shown."""
    able = (prediction.labels == each.label) & (prediction.scores >= LOWEST)
    return np.asarray(prediction.boxes[able], np.float64)


def _matrix(sample: Sample) -> NDArray[np.float64]:
    """Return the camera's matrix (3, 4) of a frame with boxes in space."""
    given = sample.camera_frame.cam2img
    assert given is not None, "the kind of the truth asks for one"
    return camera_matrix(np.asarray(given))


def _is_seen(sample: Sample) -> bool:
    known = getattr(sample.truth, "seen", None) is not None
    return known and sample.camera_frame.cam2img is not None


def _seen(sample: Sample) -> CameraBoxes:
    seen: CameraBoxes = sample.truth.seen
    return seen


def _is_label_map(sample: Sample) -> bool:
    truth, frame = sample.truth, sample.camera_frame.frame
    return isinstance(truth, np.ndarray) and truth.shape == frame.shape[:2]
