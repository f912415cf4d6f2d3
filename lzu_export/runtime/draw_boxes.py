"""Draw detections on a frame."""

from typing import TYPE_CHECKING

import cv2
import numpy as np

from lzu_export.inputs.frame import Frame, check_frame
from lzu_export.runtime.palette import distinct_colours
from lzu_export.runtime.text import Area, name_box, unit_of

if TYPE_CHECKING:
    from lzu_export.runtime.detector import Detections


def draw_detections(
    frame: Frame,
    detections: "Detections",
    *,
    lowest: float = 0.0,
    named: bool = True,
    scored: bool = True,
) -> Frame:
    """Draw boxes, class names and scores of at least `lowest` on a copy of the frame.

    The best detections are named first, above or below their boxes. A name that would hide another
    is left out; its box still has the colour of the class.

    Args:
        frame: (H, W, 3) uint8, BGR.
        detections: boxes in pixels of the frame.
        lowest: lowest score that is drawn.
        named: write the names of the classes.
        scored: write the scores behind the names.

    Raises:
        LzuError: the frame is no picture of that shape and type.
    """
    check_frame(frame, None, "the frame")
    picture = frame.copy()
    unit = unit_of(frame)
    shown = detections.scores >= lowest
    corners = np.rint(detections.boxes[shown]).astype(int).tolist()
    labels, scores = detections.labels[shown], detections.scores[shown]
    palette = distinct_colours(len(detections.classes))
    colours = [palette[int(label)] for label in labels]
    for (x1, y1, x2, y2), colour in zip(reversed(corners), reversed(colours), strict=True):
        cv2.rectangle(picture, (x1, y1), (x2, y2), colour, unit, cv2.LINE_AA)
    taken: list[Area] = []
    for i, box in enumerate(corners if named else ()):
        text = detections.classes[int(labels[i])].replace("_", " ")
        text += f" {scores[i]:.2f}" if scored else ""
        name_box(picture, text, box, taken, colours[i], unit)
    return picture
