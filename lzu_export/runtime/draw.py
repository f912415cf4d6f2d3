"""Pictures: detections on a frame, and the warp beside it."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lzu_export.runtime.detector import Detections, Detector
from lzu_export.runtime.preprocess import Frame, resample, taps

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
GRID_LINES = (18, 32)
"""Lines along (rows, columns) of the drawn sampling grid, whatever the canvas."""


def draw_detections(frame: Frame, detections: Detections) -> Frame:
    """A copy of the frame with boxes, class names and scores."""
    picture = frame.copy()
    unit = max(1, round(min(frame.shape[:2]) / 400))
    for box, score, label in zip(
        detections.boxes[::-1], detections.scores[::-1], detections.labels[::-1], strict=True
    ):
        colour = PALETTE[int(label) % len(PALETTE)]
        x1, y1, x2, y2 = (round(float(v)) for v in box)
        cv2.rectangle(picture, (x1, y1), (x2, y2), colour, unit, cv2.LINE_AA)
        _label(picture, f"{detections.classes[int(label)]} {score:.2f}", (x1, y1), colour, unit)
    return picture


def show_warp(detector: Detector, frame: Frame, picture: Frame) -> Frame:
    """`picture` with the sampling grid, and the zoomed image beside it at the same height."""
    warp, recipe = detector.warp, detector.recipe
    rows = _positions(warp["zoom_rows"]) * picture.shape[0] / recipe.source[0]
    cols = _positions(warp["zoom_cols"]) * picture.shape[1] / recipe.source[1]
    left = picture.copy()
    lines = left.copy()
    height, width = picture.shape[:2]
    for y in np.interp(np.linspace(0, len(rows) - 1, GRID_LINES[0]), range(len(rows)), rows):
        cv2.line(lines, (0, round(y)), (width, round(y)), (255, 255, 255), 1, cv2.LINE_AA)
    for x in np.interp(np.linspace(0, len(cols) - 1, GRID_LINES[1]), range(len(cols)), cols):
        cv2.line(lines, (round(x), 0), (round(x), height), (255, 255, 255), 1, cv2.LINE_AA)
    cv2.addWeighted(lines, 0.45, left, 0.55, 0, dst=left)
    zoomed = zoom(detector, frame)
    scale = height / zoomed.shape[0]
    size = (round(zoomed.shape[1] * scale), height)
    right = np.asarray(cv2.resize(zoomed, size, interpolation=cv2.INTER_NEAREST), np.uint8)
    unit = max(1, round(min(frame.shape[:2]) / 400))
    _caption(left, "source, sampling grid", unit)
    _caption(right, f"zoomed {zoomed.shape[0]}x{zoomed.shape[1]}", unit)
    gap = np.full((height, 4 * unit, 3), 255, np.uint8)
    return np.hstack([left, gap, right])


def zoom(detector: Detector, frame: Frame) -> Frame:
    """The zoomed image (canvas, BGR) that the network sees, before normalisation."""
    source = detector.recipe.source
    if frame.shape[:2] != source:
        frame = np.asarray(cv2.resize(frame, (source[1], source[0])), np.uint8)
    rows = taps(detector.warp["zoom_rows"], source[0])
    cols = taps(detector.warp["zoom_cols"], source[1])
    image = resample(frame, rows, cols)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def _positions(table: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(table[0], np.float64) + table[1]


def _label(
    picture: Frame, text: str, corner: tuple[int, int], colour: tuple[int, int, int], unit: int
) -> None:
    font, size = cv2.FONT_HERSHEY_SIMPLEX, 0.38 * unit
    (width, height), base = cv2.getTextSize(text, font, size, unit)
    x = min(max(corner[0], 0), max(picture.shape[1] - width, 0))
    y = max(corner[1], height + base)
    cv2.rectangle(picture, (x, y - height - base), (x + width, y), colour, cv2.FILLED)
    cv2.putText(picture, text, (x, y - base // 2), font, size, (0, 0, 0), unit, cv2.LINE_AA)


def _caption(picture: Frame, text: str, unit: int) -> None:
    _label(picture, text, (4 * unit, 18 * unit), (255, 255, 255), unit)
