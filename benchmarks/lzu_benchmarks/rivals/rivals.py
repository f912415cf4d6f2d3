"""What is compared: one or several networks, and how they find what is in a frame."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lzu_benchmarks.report.schema import BASE, OURS
from lzu_benchmarks.rivals.networks import DET, SEG, Network, RivalTask
from lzu_benchmarks.rivals.slicing import SETTINGS, sliced
from lzu_export.inputs.frame import Frame
from lzu_export.recipes.sections import Window
from lzu_export.runtime.detector import Detections, Detector, Kept
from lzu_export.runtime.postprocessing.views import merge_boxes
from lzu_export.runtime.predictor import FramePredictor
from lzu_export.runtime.segmenter import Segmentation


@dataclass(frozen=True)
class Rival:
    """A row of the comparison.

    Attributes:
        name: title of the row.
        networks: its networks, in the order of their views.
    """

    name: str
    networks: tuple[Network, ...]

    @property
    def by_sahi(self) -> bool:
        """Whether SAHI cuts the frame for the last network and merges all boxes."""
        return self.networks[-1].tiles is not None

    @property
    def variant(self) -> str:
        """Variant of the first network, which sees the whole frame if any does."""
        return self.networks[0].variant

    @property
    def passes(self) -> dict[str, int]:
        """Number of passes of each network for a frame."""
        return {each.name: each.passes for each in self.networks}


def _rivals(task: RivalTask, rows: Mapping[str, Sequence[str]]) -> tuple[Rival, ...]:
    return tuple(
        Rival(name, tuple(task.networks[each] for each in names)) for name, names in rows.items()
    )


RIVALS: Mapping[str, tuple[Rival, ...]] = {
    "det": _rivals(
        DET,
        {
            BASE: ["uniform"],
            "static crop": ["crop"],
            "FOVEA": ["fovea"],
            OURS: ["fixed"],
            "crop + full": ["uniform", "crop"],
            "crop + LZU": ["fixed", "crop"],
            "uniform 0.75x": ["uniform-0.75x"],
            "uniform 1x": ["uniform-1x"],
            "tiles + full (SAHI)": ["uniform", "tiles"],
        },
    ),
    # A crop alone has no label outside of its window, and the mean IoU is over the whole frame.
    # FOVEA and SAHI map and merge boxes; neither makes a label map.
    "seg": _rivals(
        SEG,
        {
            BASE: ["uniform"],
            OURS: ["fixed"],
            "crop + full": ["uniform", "crop"],
            "crop + LZU": ["fixed", "crop"],
            "uniform 0.375x": ["uniform-0.375x"],
            "uniform 0.5x": ["uniform-0.5x"],
            "uniform 0.75x": ["uniform-0.75x"],
            "uniform 1x": ["uniform-1x"],
        },
    ),
}
"""Rows of each task in the order of their cost."""

Find = Callable[[Frame], Any]
"""Function from a frame to what is found in it: `Detections` or a `Segmentation`."""


def finder(
    rival: Rival, predictors: Mapping[str, FramePredictor[Any]], band: Window | None
) -> Find:
    """Return the function that finds what a rival finds.

    Args:
        rival: the row.
        predictors: opened bundle of each of its networks.
        band: window of the static crop.
    """
    opened: list[Any] = [predictors[each.name] for each in rival.networks]
    if rival.by_sahi:
        return _by_sahi(opened)
    if len(opened) == 1:
        return opened[0]
    windows = [band if each.band else None for each in rival.networks]

    def find(frame: Frame) -> Any:
        found = [each(frame) for each in opened]
        if isinstance(found[0], Segmentation):
            return overlaid(found, windows)
        return merged(found, windows, opened[0])

    return find


def overlaid(found: Sequence[Segmentation], windows: Sequence[Window | None]) -> Segmentation:
    """Lay the label maps of several views over one another.

    Inside of a window its view's labels hold, outside of all windows those of the first view.

    Args:
        found: label maps of each view, of the whole frame; the first is the frame's.
        windows: window of each view; None is the whole frame.
    """
    labels = found[0].labels.copy()
    for each, window in zip(found, windows, strict=True):
        if window is not None:
            rows = slice(window.y, window.y + window.height)
            columns = slice(window.x, window.x + window.width)
            labels[rows, columns] = each.labels[rows, columns]
    return replace(found[0], labels=labels, logits=None)


def merged(
    found: Sequence[Detections], windows: Sequence[Window | None], detector: Detector
) -> Detections:
    """Merge the detections of several views as a bundle of views does.

    Args:
        found: detections of each view, in pixels of the frame.
        windows: window of each view; None is the whole frame.
        detector: detector whose recipe limits the detections.
    """
    settings, first = detector.recipe.postprocess, found[0]
    kept = merge_boxes(
        [Kept(each.boxes, each.scores, each.labels) for each in found],
        windows,
        detector.recipe.source,
        score_threshold=settings.score_threshold,
        iou_threshold=settings.iou_threshold,
        max_detections=settings.max_detections,
    )
    return Detections(kept.boxes, kept.scores, kept.labels.astype(np.int32), first.classes)


def _by_sahi(opened: Sequence[Detector]) -> Find:
    """Let SAHI cut the frame for the last detector; the first finds boxes in the whole frame."""
    from lzu_benchmarks.rivals.sahi_model import BundleModel

    class BySize(BundleModel):
        """A slice goes to the network that was trained on slices, the frame to the other."""

        def perform_inference(self, image: np.ndarray) -> None:
            self.model = next(each for each in opened if each.recipe.source == image.shape[:2])
            super().perform_inference(image)

        def load_model(self) -> None:
            self.model = opened[0]

    classes, size = opened[0].recipe.classes, opened[-1].recipe.source
    settings = SETTINGS[-1]
    model = BySize(confidence_threshold=settings.score)

    def find(frame: Frame) -> Detections:
        rows = [
            (each.bbox.to_xyxy(), each.score.value, each.category.id)
            for each in sliced(model, frame[..., ::-1], settings, size)
        ]
        rows = sorted(rows, key=lambda row: -row[1])[: opened[0].recipe.postprocess.max_detections]
        boxes: Any = np.array([box for box, _, _ in rows], np.float32).reshape(-1, 4)
        scores, labels = ([row[i] for row in rows] for i in (1, 2))
        return Detections(boxes, np.array(scores, np.float32), np.array(labels, np.int32), classes)

    return find
