"""Saliency of boxes: a kernel density estimate on the lattice."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from lzu_export.errors import LzuError
from lzu_export.warp.saliency import Array, as_real, check_lattice, uniform_saliency

# Least side of a box in source pixels; a smaller box spreads like one of this side. A variance of
# zero would divide by zero, and detections clipped to the frame do have empty sides.
MIN_BOX_SIDE = 1.0

# Keeps the division finite for a box so small that it falls between lattice points. The value is
# part of the published formula (FOVEA's KDE grid), so trained models depend on it.
KERNEL_SUM_FLOOR = 1e-5


def boxes_in_view(boxes: Array, corner: tuple[int, int], view: tuple[int, int]) -> Array:
    """Return the boxes (n, 4) that reach into a view, in its pixels.

    Args:
        boxes: (n, 4) as x1, y1, x2, y2 in pixels of the source.
        corner: (row, column) of the view's first pixel in the source.
        view: (height, width) of the view in pixels.
    """
    top, left = corner
    height, width = view
    boxes = boxes - [left, top, left, top]
    outside = ((boxes[:, :2] >= [width, height]) | (boxes[:, 2:] <= 0)).any(axis=1)
    return np.asarray(boxes[~outside])  # with those of NaN, which are refused where they are used


def box_saliency(
    boxes: ArrayLike,
    source_size: tuple[int, int],
    lattice: tuple[int, int],
    *,
    amplitude: float = 1.0,
    bandwidth: float = 64.0,
) -> Array:
    """Return a kernel density estimate of boxes on the lattice, float64 (h, w), summing to 1.

    Each box adds a Gaussian at its centre, with variance `bandwidth` times its side (square
    pixels) along each axis and mass `amplitude`, and a constant floor of 1 / (2 p + 1)^2 per
    lattice point, p = min(h, w) - 1. Because the floor is added per box, the uniform share does not
    depend on how many boxes there are. Lattice points lie at 0 .. width inclusive.

    Args:
        boxes: (N, 4) as x1, y1, x2, y2 in source pixels; N may be 0, which gives the uniform map.
        source_size: (height, width) of the source in pixels.
        lattice: (h, w).
        amplitude: a, the mass of a box; 0 gives the uniform map.
        bandwidth: b, in pixels.

    Raises:
        LzuError: boxes are not (N, 4) finite numbers, or a parameter is out of range.

    Source: LZU's fixed and adaptive saliency; the constants are those of FOVEA's published KDE grid
    generator, on which LZU's is based.
    """
    height, width = check_lattice(lattice)
    if not (math.isfinite(amplitude) and amplitude >= 0):
        raise LzuError(f"amplitude is {amplitude}; give a number of at least 0")
    if not (math.isfinite(bandwidth) and bandwidth > 0):
        raise LzuError(f"bandwidth is {bandwidth}; give a number of pixels above 0")
    if min(source_size) <= 0:
        raise LzuError(f"source_size is {tuple(source_size)}; give (height, width) in pixels")
    array = _checked_boxes(boxes)
    if not len(array):
        return uniform_saliency(lattice)
    sides = np.maximum(array[:, 2:] - array[:, :2], MIN_BOX_SIDE)
    centres = (array[:, 2:] + array[:, :2]) / 2
    points_x = np.linspace(0, source_size[1], width)
    points_y = np.linspace(0, source_size[0], height)
    columns = _gaussian(points_x, centres[:, :1], sides[:, :1], bandwidth)
    rows = _gaussian(points_y, centres[:, 1:], sides[:, 1:], bandwidth)
    mass = columns.sum(axis=1) * rows.sum(axis=1)
    weights = amplitude / (KERNEL_SUM_FLOOR + mass)
    density = np.einsum("i,ih,iw->hw", weights, rows, columns, optimize=True)
    density += len(weights) * (1.0 / (2 * (min(height, width) - 1) + 1) ** 2)
    return density / density.sum()


def _checked_boxes(boxes: ArrayLike) -> Array:
    """Return boxes as float64 (N, 4) after checking them."""
    array = as_real(boxes, "boxes")
    if array.size == 0:
        array = array.reshape(0, 4)
    if array.ndim != 2 or array.shape[1] != 4:
        raise LzuError(f"boxes have shape {array.shape}; give (N, 4) as x1, y1, x2, y2")
    if not np.isfinite(array).all():
        raise LzuError("boxes hold NaN or infinite values; drop those boxes")
    return array


def _gaussian(points: Array, centre: Array, side: Array, bandwidth: float) -> Array:
    # A direct difference: the published ||p||^2 - 2 p c + ||c||^2 cancels badly in low precision.
    return np.asarray(np.exp(-0.5 * (points - centre) ** 2 / (bandwidth * side)))
