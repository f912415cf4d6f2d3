"""Magnification of a warp: how many more canvas pixels a place gets than on the uniform canvas.

Along an axis, magnification is the number of canvas pixels per pixel of the frame, divided by the
same number of the uniform canvas of equal size. 1 leaves a place as it is, 2 shows it twice as
wide or high, 0.5 half as much. With positions in [-1, 1] (align_corners) on canvas and frame, the
uniform canvas is the identity, so magnification is the slope of the inverse warp.

The forward warp is linear between knots (bilinear in the plane), LZU eq. (5), so these slopes are
exact. The mean over the frame of the magnification of areas is 1 if the whole frame is shown: what
one place gains, others lose.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lzu_export.errors import LzuError
from lzu_export.warp.forward import check_knot_plane, check_knots
from lzu_export.warp.grids import AXIS_KNOTS, PLANE_KNOTS
from lzu_export.warp.inverse import MIN_GAP, invert_axis, invert_tiles
from lzu_export.warp.saliency import Array
from lzu_export.warp.warp import Knots

CHUNK = 1 << 15
"""Number of boxes that are mapped at once, since the inverse holds a value per box and knot."""
EDGE_POINTS = 8
"""Points per side by which the outline of a box is followed through a non-separable warp."""


class TileMagnification(NamedTuple):
    """Magnification of the tiles between knots, each an array of (rows, columns) of tiles.

    A separable warp has one value in all of a tile; a non-separable one is taken at its centre.
    """

    x: Array
    """Magnification along x, horizontally."""
    y: Array
    """Magnification along y, vertically."""
    area: Array
    """Magnification of areas."""
    share: Array
    """Part of the frame's area that the tile covers, 0 to 1."""


class Extremes(NamedTuple):
    """The largest and the smallest magnification along one axis."""

    largest: float
    smallest: float


def axis_magnification(knots: ArrayLike) -> Array:
    """Return the magnification of each piece (m - 1,) between the knots (m,) of one axis.

    Piece j of the canvas shows the source from knot j to knot j + 1, so its magnification is
    2 / (m - 1) / (k_{j+1} - k_j). Gaps are bounded below by `inverse.MIN_GAP`.

    Raises:
        LzuError: the knots are not 1-D, finite and non-decreasing.
    """
    array = check_knots(knots)
    return np.asarray(2.0 / (len(array) - 1) / np.maximum(np.diff(array), MIN_GAP))


def tile_magnification(knots: Knots, span: tuple[int, int]) -> TileMagnification:
    """Return the magnification of all tiles, of a warp of either kind.

    Args:
        knots: knots by name, separable or not.
        span: (height, width) in pixels that the knots span; a non-separable warp may turn a step
            along x towards y, so that its length depends on the pixels' aspect.

    Raises:
        LzuError: the knots are invalid.
    """
    if PLANE_KNOTS[0] in knots:
        plane = check_knot_plane(knots[PLANE_KNOTS[0]])
        x, y, area = _at(plane, span, 0.5, 0.5)
        scale = (plane.shape[0] - 1) * (plane.shape[1] - 1)
        return TileMagnification(x, y, area, 1.0 / (scale * area))
    along_x, along_y = (axis_magnification(knots[name]) for name in AXIS_KNOTS)
    x, y = np.meshgrid(along_x, along_y)
    area = x * y
    return TileMagnification(x, y, area, 1.0 / (area.size * area))


def axis_extremes(knots: Knots, span: tuple[int, int]) -> tuple[Extremes, Extremes]:
    """Return the extremes along x and along y, of a warp of either kind.

    Those of a separable warp are exact. In a tile of a non-separable one the largest magnification
    is at a corner (a norm of linear functions over a linear function); the smallest one is looked
    for at corners and centres.

    Raises:
        LzuError: the knots are invalid, or tiles of a non-separable warp fold.
    """
    if PLANE_KNOTS[0] not in knots:
        x, y = (axis_magnification(knots[name]) for name in AXIS_KNOTS)
        return _extremes(x), _extremes(y)
    plane = check_knot_plane(knots[PLANE_KNOTS[0]])
    places = ((0.5, 0.5), (0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0))
    found = np.array([_at(plane, span, u, v) for u, v in places])
    if not (found[:, 2] > 0).all():
        raise LzuError(
            "tiles of the non-separable warp fold, so that places are shown twice; flatten the "
            "saliency or raise warp.fwhm"
        )
    return _extremes(found[:, 0]), _extremes(found[:, 1])


def canvas_sizes(
    knots: Knots, boxes: ArrayLike, span: tuple[int, int], canvas: tuple[int, int]
) -> Array:
    """Return the sizes (n,) of boxes on the zoomed canvas, by the inverse warp.

    A size is the square root of the area in canvas pixels. It is exact for a separable warp, which
    maps a box to a box. The curved outline that a non-separable warp makes of a box is followed
    at `EDGE_POINTS` points per side. It is NaN for a box that a cropping warp does not show whole.

    Args:
        knots: knots by name, separable or not.
        boxes: (n, 4) as x1, y1, x2, y2 in pixels of the span; 0 is the centre of the first one.
        span: (height, width) in pixels that the knots span.
        canvas: (height, width) of the canvas in pixels.

    Raises:
        LzuError: the knots are invalid.
    """
    corners = np.asarray(boxes, np.float64).reshape(-1, 2, 2)
    frame, zoomed = (np.array(size[::-1], np.float64) - 1.0 for size in (span, canvas))
    places = -1.0 + 2.0 * corners / np.maximum(frame, 1.0)
    if PLANE_KNOTS[0] in knots:
        outline = _outlines(places.clip(-1.0, 1.0))
        found = invert_tiles(knots[PLANE_KNOTS[0]], outline) * zoomed / 2.0
        return np.sqrt(np.abs(_polygon_area(found)))
    area = np.ones(len(places))
    for axis, name in enumerate(AXIS_KNOTS):
        parts = (places[i : i + CHUNK, :, axis] for i in range(0, len(places), CHUNK))
        ends = np.concatenate([np.empty((0, 2)), *(invert_axis(knots[name], p) for p in parts)])
        pixel = 2.0 / np.maximum(frame[axis], 1.0)  # a box's edge may be one beyond the last centre
        low, high = knots[name][0] - pixel, knots[name][-1] + pixel
        shown = (places[:, 0, axis] >= low) & (places[:, 1, axis] <= high)
        area *= np.where(shown, (ends[:, 1] - ends[:, 0]) * zoomed[axis] / 2.0, np.nan)
    return np.sqrt(area.clip(0.0))


def uniform_sizes(boxes: ArrayLike, span: tuple[int, int], canvas: tuple[int, int]) -> Array:
    """Return the sizes (n,) of boxes on the uniform canvas; see `canvas_sizes`."""
    corners = np.asarray(boxes, np.float64).reshape(-1, 2, 2)
    step = (np.array(canvas[::-1]) - 1.0) / np.maximum(np.array(span[::-1]) - 1.0, 1.0)
    return np.asarray(np.sqrt(np.prod((corners[:, 1] - corners[:, 0]) * step, axis=1).clip(0.0)))


def _at(plane: Array, span: tuple[int, int], u: float, v: float) -> tuple[Array, Array, Array]:
    """Return magnification along x, along y and of areas at a place (u, v) of each tile.

    u runs along columns and v along rows of a tile, 0 to 1.
    """
    height, width = plane.shape[:2]
    pixels = np.maximum(np.array(span[::-1], np.float64) - 1.0, 1.0)
    top, bottom = (np.diff(rows, axis=1) for rows in (plane[:-1], plane[1:]))
    left, right = (np.diff(columns, axis=0) for columns in (plane[:, :-1], plane[:, 1:]))
    # Frame pixels moved by a step along the canvas's x and y, each divided by the uniform steps.
    along_x = ((1 - v) * top + v * bottom) * pixels * (width - 1) / 2.0 / pixels[0]
    along_y = ((1 - u) * left + u * right) * pixels * (height - 1) / 2.0 / pixels[1]
    area = along_x[..., 0] * along_y[..., 1] - along_x[..., 1] * along_y[..., 0]
    area = np.where(np.abs(area) < MIN_GAP, MIN_GAP, area)
    # The inverse of the matrix with these two columns, whose columns are steps along the frame.
    x = np.hypot(along_y[..., 1], along_x[..., 1]) / np.abs(area)
    y = np.hypot(along_y[..., 0], along_x[..., 0]) / np.abs(area)
    return x, y, 1.0 / area


def _extremes(values: NDArray[np.float64]) -> Extremes:
    return Extremes(float(values.max()), float(values.min()))


def _outlines(corners: Array) -> Array:
    """Return (n, 4 EDGE_POINTS, 2) points around boxes (n, 2, 2), corner to corner."""
    (x1, y1), (x2, y2) = (corners[:, i].T[..., None] for i in (0, 1))
    step = np.arange(EDGE_POINTS) / EDGE_POINTS
    ahead_x, ahead_y = x1 + (x2 - x1) * step, y1 + (y2 - y1) * step
    back_x, back_y = x2 + (x1 - x2) * step, y2 + (y1 - y2) * step
    x = np.concatenate([ahead_x, x2 + 0 * step, back_x, x1 + 0 * step], axis=1)
    y = np.concatenate([y1 + 0 * step, ahead_y, y2 + 0 * step, back_y], axis=1)
    return np.stack([x, y], axis=-1)


def _polygon_area(points: Array) -> Array:
    """Return the areas (n,) inside outlines (n, m, 2), by the shoelace formula."""
    following = np.roll(points, -1, axis=1)
    cross = points[..., 0] * following[..., 1] - points[..., 1] * following[..., 0]
    return np.asarray(cross.sum(axis=1) / 2.0)


def density(knots: Knots, view: tuple[int, int], canvas: tuple[int, int]) -> Array:
    """Return the canvas pixels per pixel of the view, float64 (height, width), at each pixel.

    Args:
        knots: knots of the warp by name.
        view: (height, width) of the part of the frame that the knots span, in pixels.
        canvas: (height, width) of the canvas.
    """
    tiles = tile_magnification(knots, view).area
    uniform = canvas[0] * canvas[1] / (view[0] * view[1])
    if PLANE_KNOTS[0] in knots:
        y, x = (np.linspace(-1, 1, count) for count in view)
        places = invert_tiles(knots[PLANE_KNOTS[0]], np.stack(np.meshgrid(x, y), axis=-1))
        rows, columns = (_tile_of(places[..., axis], tiles.shape[1 - axis]) for axis in (1, 0))
        return np.asarray(tiles[rows, columns] * uniform)
    rows, columns = (
        _tile_of(invert_axis(knots[name], np.linspace(-1, 1, count)), tiles.shape[axis])
        for axis, (name, count) in enumerate(zip(AXIS_KNOTS[::-1], view, strict=True))
    )
    return np.asarray(tiles[np.ix_(rows, columns)] * uniform)


def _tile_of(places: Array, tiles: int) -> NDArray[np.intp]:
    """Return the tiles in which positions on the canvas, in [-1, 1], lie; the nearest for NaN."""
    pieces = np.floor((np.nan_to_num(places) + 1) / 2 * tiles)
    return pieces.clip(0, tiles - 1).astype(np.intp)
