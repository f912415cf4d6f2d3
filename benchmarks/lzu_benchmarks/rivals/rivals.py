"""What is compared: one or several networks, and how their boxes become those of the frame."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lzu_benchmarks.rivals.networks import NETWORKS
from lzu_benchmarks.rivals.slicing import SETTINGS, sliced
from lzu_benchmarks.train.windows import Size
from lzu_export.inputs.frame import Frame
from lzu_export.recipes.sections import Window
from lzu_export.runtime.detector import Detections, Detector, Kept
from lzu_export.runtime.postprocessing.views import merge_boxes


@dataclass(frozen=True)
class Rival:
    """A row of the comparison.

    Attributes:
        name: title of the row.
        networks: names of its networks, in the order of their views.
        by_sahi: whether SAHI cuts the frame for the last network and merges all boxes.
    """

    name: str
    networks: tuple[str, ...]
    by_sahi: bool = False

    @property
    def variant(self) -> str:
        """Variant of the first network, which sees the whole frame if any does."""
        return NETWORKS[self.networks[0]].variant

    @property
    def passes(self) -> dict[str, int]:
        """Number of passes of each network for a frame."""
        windows = {name: NETWORKS[name].tiles for name in self.networks}
        return {name: int(np.prod(_counts(tiles))) for name, tiles in windows.items()}


def _counts(tiles: str | None) -> Size:
    rows, columns = (tiles or "1x1").split("x")
    return int(rows), int(columns)


BASE, OURS = "uniform", "LZU, fixed"
"""Rows that times, and that accuracies, are compared with."""
RIVALS = (
    Rival(BASE, ("uniform",)),
    Rival("static crop", ("crop",)),
    Rival("FOVEA", ("fovea",)),
    Rival(OURS, ("fixed",)),
    Rival("crop + full", ("uniform", "crop")),
    Rival("crop + LZU", ("fixed", "crop")),
    Rival("uniform 0.75x", ("uniform-0.75x",)),
    Rival("uniform 1x", ("uniform-1x",)),
    Rival("tiles + full (SAHI)", ("uniform", "tiles"), by_sahi=True),
)
"""Rows in the order of their cost."""

Find = Callable[[Frame], Detections]
"""Function from a frame to the detections in it."""


def finder(rival: Rival, detectors: Mapping[str, Detector], band: Window | None) -> Find:
    """Return the function that finds what a rival finds.

    Args:
        rival: the row.
        detectors: opened bundle of each of its networks.
        band: window of the static crop.
    """
    opened = [detectors[name] for name in rival.networks]
    if rival.by_sahi:
        return _by_sahi(opened)
    if len(opened) == 1:
        return opened[0]
    windows = [band if NETWORKS[name].band else None for name in rival.networks]
    return lambda frame: merged([each(frame) for each in opened], windows, opened[0])


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
