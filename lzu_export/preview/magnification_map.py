"""Colour a frame by the magnification of a warp, from the places that its canvas shows."""

import math
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from lzu_export.inputs.frame import Frame
from lzu_export.support.look.colours import LIGHT

STOPS = (LIGHT["shrunk"], "#92c5de", "#f4f4f2", "#f4a582", LIGHT["enlarged"])
"""Colours from the smallest magnification over 1 to the largest, evenly on a logarithmic scale."""
LEAST_RANGE = 2.0
"""Magnification at the end of the scale, at least; its reciprocal is at the beginning."""
CELLS = 96
"""Number of coloured cells along the longer side of the canvas."""
WASH = 0.55
"""Opacity of the colours over the grey frame."""


class MagnificationMap(NamedTuple):
    """A frame in the colours of magnification, and what they mean."""

    picture: Frame
    """(H, W, 3) uint8, BGR."""
    smallest: float
    """Smallest magnification, the root of that of the area; 1 is as on the uniform canvas."""
    largest: float
    end: float
    """Magnification at the end of the scale of colours; 1 / end is at its beginning."""


def magnification_map(
    frame: Frame, grid: NDArray[np.float64], view: tuple[int, int], end: float | None = None
) -> MagnificationMap:
    """Colour a frame by how much more canvas its places get than on the uniform canvas.

    Args:
        frame: (H, W, 3) uint8, BGR.
        grid: place (h, w, 2), x, y in pixels of the frame, of each canvas pixel.
        view: (height, width) in pixels of the frame that the uniform canvas of that size shows.
        end: end of the scale of colours; by default the largest magnification or one over the
            smallest, and at least `LEAST_RANGE`.
    """
    rows, columns = grid.shape[:2]
    step = max(1, math.ceil(max(rows, columns) / CELLS))
    ys, xs = (np.unique([*range(0, n - 1, step), n - 1]) for n in (rows, columns))
    corners = grid[np.ix_(ys, xs)]
    uniform = (view[0] - 1) / max(rows - 1, 1) * (view[1] - 1) / max(columns - 1, 1)
    cells = np.diff(ys)[:, None] * np.diff(xs)[None] * uniform
    value = np.sqrt(cells / np.maximum(_areas(corners), 1e-6))
    smallest, largest = float(value.min()), float(value.max())
    end = max(LEAST_RANGE, largest, 1 / smallest) if end is None else end
    colours = scale_colours(value, end)
    grey = cv2.cvtColor(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    painted = grey.copy()
    for i, j in np.ndindex(*value.shape):
        quad = corners[[i, i, i + 1, i + 1], [j, j + 1, j + 1, j]]
        colour = tuple(map(int, colours[i, j]))
        cv2.fillConvexPoly(painted, np.rint(quad).astype(np.int32), colour)
    mixed = cv2.addWeighted(painted, WASH, grey, 1 - WASH, 0)
    return MagnificationMap(np.asarray(mixed, np.uint8), smallest, largest, end)


def scale_colours(values: NDArray[np.float64], end: float) -> NDArray[np.uint8]:
    """Return the colours (..., 3), BGR, of magnifications on a scale from 1 / end to end."""
    place = (np.log(values) / math.log(end) + 1) / 2 * (len(STOPS) - 1)
    stops = np.array([[int(each[i : i + 2], 16) for i in (5, 3, 1)] for each in STOPS])
    mixed = [np.interp(place, range(len(STOPS)), stops[:, channel]) for channel in range(3)]
    return np.rint(np.stack(mixed, axis=-1)).astype(np.uint8)


def _areas(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the areas (h - 1, w - 1) of the quadrangles between corners (h, w, 2)."""
    one = corners[1:, 1:] - corners[:-1, :-1]
    other = corners[1:, :-1] - corners[:-1, 1:]
    return np.asarray(np.abs(one[..., 0] * other[..., 1] - one[..., 1] * other[..., 0]) / 2)
