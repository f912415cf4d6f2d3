"""Post-processing `detr`: boxes from class logits and boxes of queries."""

import numpy as np
from numpy.typing import NDArray

from lzu_export.errors import LzuError
from lzu_export.recipes.postprocessing import DetrPostprocess
from lzu_export.runtime.detector import Kept
from lzu_export.runtime.postprocessing.context import Context, Outputs
from lzu_export.runtime.postprocessing.outputs import (
    best,
    check_classes,
    corners,
    numbers,
    sigmoid,
    take,
)

REMEDY = "correct postprocess.activation, or name as many classes as the network has"


class Detr:
    """Makes detections of queries, see `recipes.postprocessing.DetrPostprocess`."""

    def __init__(self, context: Context) -> None:
        """Take the settings and the geometry."""
        self._context = context
        self._settings: DetrPostprocess = context.settings
        geometry = context.geometry
        one = geometry.canvas if self._settings.relative_to == "canvas" else geometry.network_input
        self._scale = np.array([one[1], one[0]] * 2, np.float32)

    def __call__(self, outputs: Outputs) -> Kept:
        """Return the detections of one frame, in pixels of the source.

        Raises:
            LzuError: an output is missing, has another shape, or has NaN.
        """
        settings, context = self._settings, self._context
        name, values = take(outputs, settings.logits, "logits")
        logits = numbers(name, values, ("queries", "classes"))
        of_boxes, values = take(outputs, settings.boxes, "boxes")
        boxes = numbers(of_boxes, values, ("queries", "4"))
        if boxes.shape != (len(logits), 4):
            raise LzuError(
                f"output {of_boxes} has shape {boxes.shape} per frame but {name} has "
                f"{len(logits)} queries; name the outputs of one decoder layer"
            )
        no_object = settings.activation == "softmax"
        count = logits.shape[1] - no_object
        check_classes(name, count, context.classes, REMEDY)
        scores, queries, labels = (_queries if no_object else _pairs)(logits)
        chosen = np.flatnonzero(context.wanted(count)[labels])
        chosen = chosen[best(scores[chosen], settings.candidates)]
        scaled = corners(boxes[queries[chosen]]) * self._scale
        return context.detections(scaled, scores[chosen], labels[chosen])


Candidates = tuple[NDArray[np.float32], NDArray[np.intp], NDArray[np.intp]]


def _pairs(logits: NDArray[np.float32]) -> Candidates:
    """Return score, query and label of every (query, class) pair of logits (Q, classes)."""
    queries, labels = np.indices(logits.shape).reshape(2, -1)
    return sigmoid(logits).reshape(-1), queries, labels


def _queries(logits: NDArray[np.float32]) -> Candidates:
    """Return score, query and best label of every query of logits (Q, classes + 1)."""
    labels = logits[:, :-1].argmax(axis=1)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    queries = np.arange(len(logits))
    return powers[queries, labels] / powers.sum(axis=1), queries, labels
