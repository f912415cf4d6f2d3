"""Draw detections on a frame."""

import cv2
import numpy as np

from lzu_export.inputs.frame import Frame
from lzu_export.runtime.detector import Detections
from lzu_export.runtime.palette import distinct_colours
from lzu_export.runtime.text import Area, name_box, unit_of


def draw_detections(frame: Frame, detections: Detections, *, lowest: float = 0.0) -> Frame:
    """Draw boxes, class names and scores of at least `lowest` on a copy of the frame.

    The best detections are named first, above or below their boxes. A name that would hide another
    is left out; its box still has the colour of the class.
    """
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
    for i, box in enumerate(corners):
        text = f"{detections.classes[int(labels[i])]} {scores[i]:.2f}"
        name_box(picture, text, box, taken, colours[i], unit)
    return picture
