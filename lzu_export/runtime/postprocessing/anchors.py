"""Post-processing `anchors`: boxes from maps of class logits and box deltas, as RetinaNet's."""

import math

import numpy as np
from numpy.typing import NDArray

from lzu_export.errors import LzuError
from lzu_export.recipes.postprocessing import AnchorPostprocess
from lzu_export.runtime.detector import Kept
from lzu_export.runtime.postprocessing.context import Context, Outputs
from lzu_export.runtime.postprocessing.outputs import (
    best,
    check_classes,
    check_scores,
    numbers,
    sigmoid,
    take,
)
from lzu_export.warp.anchors import MAX_LOG_RATIO, grid_anchors

REMEDY = (
    "correct postprocess.ratios and scales_per_octave, or name as many classes as the network has"
)
SLACK = 1e-3
"""How far below the score threshold's logit candidates are still looked at, for rounding."""

Array = NDArray[np.float32]


class Anchors:
    """Makes detections of maps, see `recipes.postprocessing.AnchorPostprocess`."""

    def __init__(self, context: Context) -> None:
        """Place the anchors of every level.

        Raises:
            LzuError: the recipe names more or fewer maps than it has levels.
        """
        self._context = context
        self._settings: AnchorPostprocess = context.settings
        settings, geometry = self._settings, context.geometry
        strides = settings.strides or tuple(level.stride for level in context.levels)
        if len(strides) != len(settings.scores):
            raise LzuError(
                f"postprocess.scores names {len(settings.scores)} outputs but {len(strides)} "
                "levels are unzoomed; set postprocess.strides, one for each output"
            )
        height, width = geometry.network_input
        self._sizes = [(-(-height // stride), -(-width // stride)) for stride in strides]
        self._anchors = grid_anchors(self._sizes, strides, settings)
        self._per_cell = settings.scales_per_octave * len(settings.ratios)

    def __call__(self, outputs: Outputs) -> Kept:
        """Return the detections of one frame, in pixels of the source.

        Raises:
            LzuError: an output is missing, has another shape, or has NaN.
        """
        levels = [self._level(outputs, number) for number in range(len(self._sizes))]
        boxes, scores, labels = (np.concatenate(each) for each in zip(*levels, strict=True))
        return self._context.detections(self._context.geometry.within_canvas(boxes), scores, labels)

    def _level(self, outputs: Outputs, number: int) -> tuple[Array, Array, NDArray[np.intp]]:
        """Decode a level's best candidates: boxes (n, 4) in pixels of the canvas, scores, labels.

        Candidates up to the score threshold are left out, as suppression would drop them.
        """
        settings = self._settings
        name = settings.scores[number]
        logits = self._map(outputs, name, "scores", number)
        deltas = self._map(outputs, settings.boxes[number], "boxes", number)
        classes, rest = divmod(logits.shape[1], self._per_cell)
        check_classes(name, 0 if rest else classes, self._context.classes, REMEDY)
        if deltas.shape[1] != 4 * self._per_cell:
            raise LzuError(
                f"output {settings.boxes[number]} has {deltas.shape[1]} channels but "
                f"{self._per_cell} anchors per cell need {4 * self._per_cell}; name another output "
                "in postprocess.boxes, or correct postprocess.ratios and scales_per_octave"
            )
        flat = logits.reshape(-1)
        entries = np.flatnonzero(flat > self._lowest())
        if self._context.chosen is not None:
            entries = entries[self._context.wanted(classes)[entries % classes]]
        entries = entries[best(flat[entries], settings.candidates_per_level)]
        anchor = entries // classes
        mean, std = (np.array(each, np.float32) for each in (settings.means, settings.stds))
        boxes = delta_to_box(
            self._anchors[number][anchor], deltas.reshape(-1, 4)[anchor] * std + mean
        )
        scores = flat[entries]
        if settings.activation == "sigmoid":
            scores = sigmoid(scores)
        check_scores(name, scores)
        return boxes, scores, entries % classes

    def _map(self, outputs: Outputs, name: str, key: str, number: int) -> Array:
        """Return a level's output with its cells as rows: (H * W, channels)."""
        values = numbers(*take(outputs, name, key), ("channels", "height", "width"))
        if values.shape[1:] != self._sizes[number]:
            height, width = self._sizes[number]
            raise LzuError(
                f"output {name} has {values.shape[1]}x{values.shape[2]} cells but level {number} "
                f"of the anchors has {height}x{width}; correct postprocess.strides, or the order "
                f"of postprocess.{key}"
            )
        return values.reshape(len(values), -1).T

    def _lowest(self) -> float:
        """Return a value of the class outputs that every candidate's exceeds."""
        threshold = self._context.thresholds.score_threshold
        if self._settings.activation == "none":
            return threshold
        return math.log(threshold / (1 - threshold)) - SLACK if threshold > 0 else -math.inf


def delta_to_box(anchors: Array, deltas: Array) -> Array:
    """Compute boxes (n, 4) from anchors (n, 4) and deltas (n, 4), as `models.retinanet` does.

    Boxes are x1, y1, x2, y2 in the anchors' pixels. Log ratios are bounded by |log(16 / 1000)|.
    """
    corner, opposite = anchors[:, :2], anchors[:, 2:]
    size = opposite - corner
    with np.errstate(over="ignore"):  # such boxes are dropped
        centre = (corner + opposite) * np.float32(0.5) + size * deltas[:, :2]
    half = np.float32(0.5) * size * np.exp(deltas[:, 2:].clip(-MAX_LOG_RATIO, MAX_LOG_RATIO))
    return np.concatenate([centre - half, centre + half], axis=1)
