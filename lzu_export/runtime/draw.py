"""Pictures: detections on a frame, and the warp beside it."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lzu_export.runtime.detector import Detections
from lzu_export.runtime.predictor import Predictor, fit
from lzu_export.runtime.preprocess import Frame, cut, resample

# Okabe and Ito's colours, told apart by colour-blind readers too; BGR.
PALETTE = (
    (0, 159, 230),
    (233, 180, 86),
    (115, 158, 0),
    (66, 228, 240),
    (178, 114, 0),
    (0, 94, 213),
    (167, 121, 204),
    (200, 200, 200),
)
FONT = cv2.FONT_HERSHEY_SIMPLEX
FONT_SIZE = 0.38
"""OpenCV's scale of the font where lines are one pixel wide."""
Area = tuple[int, int, int, int]
"""x1, y1, x2, y2 in pixels."""
GRID_LINES = (18, 32)
"""Lines along (rows, columns) of the drawn sampling grid, whatever the canvas."""


def draw_detections(frame: Frame, detections: Detections, *, lowest: float = 0.0) -> Frame:
    """A copy of the frame with boxes, class names and scores, of scores of at least `lowest`.

    The best detections are named first, above or below their boxes; a name that would hide another
    is left out, its box keeps the colour of the class.
    """
    picture = frame.copy()
    unit = _unit(frame)
    shown = detections.scores >= lowest
    corners = np.rint(detections.boxes[shown]).astype(int).tolist()
    labels, scores = detections.labels[shown], detections.scores[shown]
    colours = [PALETTE[int(label) % len(PALETTE)] for label in labels]
    for (x1, y1, x2, y2), colour in zip(reversed(corners), reversed(colours), strict=True):
        cv2.rectangle(picture, (x1, y1), (x2, y2), colour, unit, cv2.LINE_AA)
    taken: list[Area] = []
    for i, (x1, y1, _, y2) in enumerate(corners):
        text = f"{detections.classes[int(labels[i])]} {scores[i]:.2f}"
        height = _text_size(text, unit)[1]
        for bottom in (y1, y2 + height):
            area = _area(picture, text, (x1, bottom), unit)
            if not any(_overlap(area, other) for other in taken):
                taken.append(area)
                _label(picture, text, area, colours[i], unit)
                break
    return picture


def show_warp(predictor: Predictor, frame: Frame, picture: Frame) -> Frame:
    """`picture` with the sampling grid, and the zoomed image beside it at the same height."""
    warp, recipe = predictor.warp, predictor.recipe
    (top, left_edge), (height, width) = recipe.corner, picture.shape[:2]
    rows = (top + recipe.reduce * _positions(warp["zoom_rows"])) * height / recipe.source[0]
    cols = (left_edge + recipe.reduce * _positions(warp["zoom_cols"])) * width / recipe.source[1]
    left = picture.copy()
    lines = left.copy()
    for y in np.interp(np.linspace(0, len(rows) - 1, GRID_LINES[0]), range(len(rows)), rows):
        ends = round(cols[0]), round(cols[-1])
        cv2.line(lines, (ends[0], round(y)), (ends[1], round(y)), (255, 255, 255), 1, cv2.LINE_AA)
    for x in np.interp(np.linspace(0, len(cols) - 1, GRID_LINES[1]), range(len(cols)), cols):
        ends = round(rows[0]), round(rows[-1])
        cv2.line(lines, (round(x), ends[0]), (round(x), ends[1]), (255, 255, 255), 1, cv2.LINE_AA)
    cv2.addWeighted(lines, 0.45, left, 0.55, 0, dst=left)
    zoomed = zoom(predictor, frame)
    scale = height / zoomed.shape[0]
    size = (round(zoomed.shape[1] * scale), height)
    right = np.asarray(cv2.resize(zoomed, size, interpolation=cv2.INTER_NEAREST), np.uint8)
    unit = _unit(picture)
    _caption(left, "source, sampling grid", unit)
    _caption(right, f"zoomed {zoomed.shape[0]}x{zoomed.shape[1]}", unit)
    gap = np.full((height, 4 * unit, 3), 255, np.uint8)
    return np.hstack([left, gap, right])


def zoom(predictor: Predictor, frame: Frame) -> Frame:
    """The zoomed image (canvas, BGR) that the network sees, before normalisation."""
    picture = fit(frame, predictor.recipe.source)[cut(predictor.recipe)]
    image = resample(picture, *predictor.zoom_taps)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def _positions(table: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(table[0], np.float64) + table[1]


def _unit(picture: Frame) -> int:
    """Line width in pixels, which sizes everything that is drawn."""
    return max(1, round(min(picture.shape[:2]) / 400))


def _text_size(text: str, unit: int) -> tuple[int, int]:
    """(width, height) in pixels of a text with its margin."""
    (width, height), base = cv2.getTextSize(text, FONT, FONT_SIZE * unit, unit)
    return width + 2 * unit, height + base


def _area(picture: Frame, text: str, corner: tuple[int, int], unit: int) -> Area:
    """Where a text goes whose bottom left corner is asked at `corner`: inside the picture."""
    width, height = _text_size(text, unit)
    x = min(max(corner[0], 0), max(picture.shape[1] - width, 0))
    y = min(max(corner[1], height), picture.shape[0])
    return x, y - height, x + width, y


def _overlap(a: Area, b: Area) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _label(picture: Frame, text: str, area: Area, colour: tuple[int, int, int], unit: int) -> None:
    x1, y1, x2, y2 = area
    _, base = cv2.getTextSize(text, FONT, FONT_SIZE * unit, unit)
    cv2.rectangle(picture, (x1, y1), (x2, y2), colour, cv2.FILLED)
    foot = (x1 + unit, y2 - base // 2)
    cv2.putText(picture, text, foot, FONT, FONT_SIZE * unit, (0, 0, 0), unit, cv2.LINE_AA)


def _caption(picture: Frame, text: str, unit: int) -> None:
    area = _area(picture, text, (4 * unit, 18 * unit), unit)
    _label(picture, text, area, (255, 255, 255), unit)
