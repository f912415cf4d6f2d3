"""Draw the sampling grid on a frame, and the zoomed image beside it."""

import cv2
import numpy as np
from numpy.typing import NDArray

from lzu_export.inputs.frame import Frame
from lzu_export.runtime.fitting import fitted
from lzu_export.runtime.predictor import Predictor
from lzu_export.runtime.preprocess import cut
from lzu_export.runtime.text import caption, unit_of
from lzu_export.warp.grids import GridTable, Sampling

GRID_LINES = (18, 32)
"""Number of horizontal and vertical lines of the drawn sampling grid, for any canvas."""


def show_warp(predictor: Predictor, frame: Frame, picture: Frame, index: int = 0) -> Frame:
    """Draw the sampling grid on `picture`, and the zoomed image beside it at the same height.

    The frame fills the picture's upper left corner; additions at its right and below stay there.

    Args:
        predictor: the predictor that ran the frame in its last batch.
        frame: (H, W, 3) uint8, BGR.
        picture: the frame with its predictions drawn.
        index: index of the frame in that batch.
    """
    height, width = frame.shape[:2]
    left = draw_grid(picture[:height, :width], canvas_grid(predictor, frame, index))
    zoomed = zoom(predictor, frame, index)
    scale = height / zoomed.shape[0]
    size = (round(zoomed.shape[1] * scale), height)
    right = np.asarray(cv2.resize(zoomed, size, interpolation=cv2.INTER_NEAREST), np.uint8)
    unit = unit_of(frame)
    caption(left, "source, sampling grid", unit)
    caption(right, f"zoomed {zoomed.shape[0]}x{zoomed.shape[1]}", unit)
    gap = np.full((height, 4 * unit, 3), 255, np.uint8)
    wide = np.hstack([left, gap, right, picture[:height, width:]])
    added = ((0, 0), (0, wide.shape[1] - picture.shape[1]), (0, 0))
    below = np.pad(picture[height:], added, constant_values=255)
    return np.vstack([wide, below])


def canvas_grid(predictor: Predictor, frame: Frame, index: int = 0) -> NDArray[np.float64]:
    """Return the place (H, W, 2), x, y in pixels of the frame, that each canvas pixel shows.

    `index` is the index of the frame in the predictor's last batch.
    """
    (top, left), reduce = predictor.recipe.corner, predictor.recipe.reduce
    grid = np.array([left, top]) + reduce * _positions(predictor.tables_of(index))
    place = predictor.place_of(frame.shape)
    return np.asarray((grid - place.offset[::-1]) / place.scale[::-1])


def draw_grid(picture: Frame, grid: NDArray[np.float64]) -> Frame:
    """Draw some rows and columns of a `canvas_grid` on a copy of the frame's picture."""
    drawn = picture.copy()
    lines = drawn.copy()
    for number, axis in zip(GRID_LINES, (0, 1), strict=True):
        for at in np.linspace(0, grid.shape[axis] - 1, number):
            line = np.rint(_between(grid, at, axis)).astype(np.int32)
            cv2.polylines(lines, [line], False, (255, 255, 255), 1, cv2.LINE_AA)
    cv2.addWeighted(lines, 0.45, drawn, 0.55, 0, dst=drawn)
    return drawn


def zoom(predictor: Predictor, frame: Frame, index: int = 0) -> Frame:
    """Compute the zoomed image (canvas, BGR, uint8) that the network sees, before normalisation.

    `index` is the index of the frame in the predictor's last batch.
    """
    picture = fitted(frame, predictor.recipe, predictor.fit)[cut(predictor.recipe)]
    image = predictor.sampler_of(index)(picture)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def _positions(tables: Sampling) -> NDArray[np.float64]:
    """Return the sampling position of each canvas pixel: (H, W, 2), x, y in picture pixels."""
    if isinstance(tables, GridTable):
        return np.asarray(tables.whole, np.float64) + tables.fraction
    y, x = (np.asarray(each[0], np.float64) + each[1] for each in tables)
    return np.stack(np.meshgrid(x, y), axis=-1)


def _between(grid: NDArray[np.float64], place: float, axis: int) -> NDArray[np.float64]:
    """Interpolate a row (axis 0) or column (axis 1) of a grid at a fractional index."""
    first = min(int(place), grid.shape[axis] - 2)
    one, other = (grid.take(first + step, axis=axis) for step in (0, 1))
    return np.asarray(one + (place - first) * (other - one))
