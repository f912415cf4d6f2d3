"""Post-processing `yolo`: boxes from one output with a row or column per candidate."""

import numpy as np

from lzu_export.recipes.postprocessing import YoloPostprocess
from lzu_export.runtime.detector import Kept
from lzu_export.runtime.postprocessing.context import Context, Outputs
from lzu_export.runtime.postprocessing.outputs import (
    check_classes,
    check_scores,
    corners,
    numbers,
    sigmoid,
    take,
)

AXES = {"rows": ("candidates", "4 + scores"), "columns": ("4 + scores", "candidates")}
REMEDY = (
    "correct postprocess.objectness and postprocess.layout, or name as many classes as the "
    "network has"
)


class Yolo:
    """Makes detections of one output, see `recipes.postprocessing.YoloPostprocess`."""

    def __init__(self, context: Context) -> None:
        """Take the settings and the geometry."""
        self._context = context
        self._settings: YoloPostprocess = context.settings

    def __call__(self, outputs: Outputs) -> Kept:
        """Return the detections of one frame, in pixels of the source.

        Raises:
            LzuError: the output is missing, does not have the layout of the recipe, or has NaN.
        """
        settings = self._settings
        name, values = take(outputs, settings.output, "output")
        table = numbers(name, values, AXES[settings.layout])
        if settings.layout == "columns":
            table = table.T
        first = 5 if settings.objectness else 4
        check_classes(name, table.shape[1] - first, self._context.classes, REMEDY)
        scores = table[:, first:]
        labels = scores.argmax(axis=1) if len(scores) else np.zeros(0, np.int64)
        score = np.take_along_axis(scores, labels[:, None], axis=1)[:, 0]
        objectness = table[:, 4] if settings.objectness else None
        if settings.activation == "sigmoid":
            score = sigmoid(score)
            objectness = None if objectness is None else sigmoid(objectness)
        if objectness is not None:
            with np.errstate(invalid="ignore", over="ignore"):  # such candidates are dropped
                score = score * objectness
        check_scores(name, score)
        boxes = table[:, :4]
        return self._context.detections(
            corners(boxes) if settings.boxes == "center" else boxes, score, labels
        )
