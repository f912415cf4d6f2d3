"""Exact inverse of the piecewise warp: the zoomed-image position of each source position.

All positions are in [-1, 1] with align_corners.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lzu_export.errors import LzuError
from lzu_export.warp.forward import check_knot_plane, check_knots
from lzu_export.warp.saliency import Array

# Least gap of knots: closer ones count as this far apart, to avoid division by zero in float64 and
# float32. It is 1e-3 pixels of an image 2000 pixels wide; real saliencies leave gaps of 1e-3.
MIN_GAP = 1e-6

# How far outside its tile, in tile sides, a solution may fall by rounding. Without a tolerance,
# points on a seam between two tiles could belong to neither.
TILE_TOLERANCE = 1e-9

# Fewer points at once have fewer tiles near them, but each batch has a cost of its own.
_POINTS_PER_CHUNK = 256
_PAIRS_PER_CHUNK = 1 << 18


def invert_axis(knots: ArrayLike, v: ArrayLike, *, extrapolate: bool = True) -> Array:
    """Return canvas positions for source positions `v` of any shape, along one axis.

    LZU eqs. (6) and (7) as a closed form, exact for increasing knots k_0 .. k_{m-1}:
    -1 + 2 / (m - 1) * sum_j clip((v - k_j) / (k_{j+1} - k_j), 0, 1). It needs no search and has no
    seams. The first piece is not clipped below, nor the last above, so that positions outside the
    end knots continue along straight lines; `extrapolate=False` clips them to [-1, 1].

    Args:
        knots: (m,) non-decreasing source positions; gaps are bounded below by MIN_GAP.
        v: source positions in [-1, 1] units.
        extrapolate: continue along straight lines outside the end knots.

    Raises:
        LzuError: the knots are not 1-D, finite and non-decreasing.
    """
    array = check_knots(knots)
    pieces = len(array) - 1
    gaps = np.maximum(np.diff(array), MIN_GAP)
    lower, upper = np.zeros(pieces), np.ones(pieces)
    if extrapolate:
        lower[0], upper[-1] = -np.inf, np.inf
    share = (np.asarray(v, dtype=np.float64)[..., None] - array[:-1]) / gaps
    return np.asarray(-1.0 + (2.0 / pieces) * np.clip(share, lower, upper).sum(axis=-1))


def invert_tiles(knots: ArrayLike, points: ArrayLike, *, outside: float = np.nan) -> Array:
    """Return canvas positions (..., 2) of source points (..., 2), order x, y: LZU eq. (6).

    Each tile between four knots is a bilinear map; its inverse is the root of a quadratic (LZU
    eqs. (8)-(17)), solved without cancellation so that parallelogram tiles need no case of their
    own. A point on a seam belongs to the tile that it violates least, or the first of equals. The
    same holds for a point that several tiles cover, which occurs only if tiles fold, at a saliency
    of extreme contrast.

    Args:
        knots: (h, w, 2) source positions, order x, y.
        points: (..., 2) source positions.
        outside: value of both coordinates for a point that lies in no tile.

    Raises:
        LzuError: knots are not (h, w, 2) and finite, or points are not (..., 2) and finite.
    """
    plane = check_knot_plane(knots)
    targets = np.asarray(points, dtype=np.float64)
    if targets.ndim < 1 or targets.shape[-1] != 2 or not np.isfinite(targets).all():
        raise LzuError(f"points have shape {targets.shape}; give (..., 2) finite numbers, x then y")
    flat = targets.reshape(-1, 2)
    result = np.full_like(flat, outside)
    tiles = _Tiles(plane)
    step = max(_POINTS_PER_CHUNK, _PAIRS_PER_CHUNK // tiles.count)
    for start in range(0, len(flat), step):
        chunk = slice(start, start + step)
        result[chunk] = tiles.invert(flat[chunk], outside)
    return result.reshape(targets.shape)


class _Tiles:
    """Bilinear tiles of a knot plane: p = a + b u + c v + d u v on the unit square.

    u runs along columns (x), v along rows (y).
    """

    def __init__(self, plane: Array) -> None:
        self.rows, self.columns = plane.shape[0] - 1, plane.shape[1] - 1
        self.count = self.rows * self.columns
        corners = [plane[:-1, :-1], plane[:-1, 1:], plane[1:, :-1], plane[1:, 1:]]
        p00, p01, p10, p11 = (corner.reshape(-1, 2) for corner in corners)
        self.a, self.b, self.c, self.d = p00, p01 - p00, p10 - p00, p00 - p01 - p10 + p11
        stacked = np.stack([p00, p01, p10, p11])
        # A point within the tolerance may lie outside the four corners by this margin.
        margin = 8 * TILE_TOLERANCE * np.ptp(stacked, axis=0)
        self.low, self.high = stacked.min(axis=0) - margin, stacked.max(axis=0) + margin

    def invert(self, points: Array, outside: float) -> Array:
        # Only tiles that reach into the points' bounding rectangle are tried with each of them.
        within = (self.high >= points.min(axis=0)) & (self.low <= points.max(axis=0))
        near = np.flatnonzero(within.all(axis=1))
        inside = np.ones((len(points), len(near)), dtype=bool)
        for axis in range(2):
            inside &= points[:, None, axis] >= self.low[near, axis]
            inside &= points[:, None, axis] <= self.high[near, axis]
        point, tile = np.nonzero(inside)
        tile = near[tile]
        u, v, violation = self._solve(points[point], tile)
        result = np.full((len(points), 2), outside)
        # Sorted by falling violation and tile, so that the last write of a point is the best.
        order = np.lexsort((-tile, -violation))
        order = order[violation[order] <= TILE_TOLERANCE]
        point, tile, u, v = point[order], tile[order], u[order].clip(0, 1), v[order].clip(0, 1)
        result[point, 0] = -1.0 + 2.0 * (tile % self.columns + u) / self.columns
        result[point, 1] = -1.0 + 2.0 * (tile // self.columns + v) / self.rows
        return result

    def _solve(self, points: Array, tile: NDArray[np.intp]) -> tuple[Array, Array, Array]:
        """Return u, v and how far outside the unit square they lie, for pairs point and tile."""
        b, c, d, offset = self.b[tile], self.c[tile], self.d[tile], self.a[tile] - points
        c0 = _cross(b, offset)
        c1 = _cross(d, offset) + _cross(b, c)
        c2 = _cross(d, c)
        # LZU eq. (16), c2 v^2 + c1 v + c0 = 0. Both roots come from q without cancellation, and
        # c0 / q stays exact as c2 goes to zero, where the tile is a parallelogram.
        square, product = c1 * c1, 4.0 * c2 * c0
        # If below zero by more than rounding, the point lies beyond the fold of a folded tile.
        real = square - product >= -1e-12 * (square + np.abs(product))
        root = np.sqrt(np.maximum(square - product, 0.0))
        q = -0.5 * (c1 + np.copysign(root, c1))
        best_u, best_v = np.full(len(tile), np.nan), np.full(len(tile), np.nan)
        best = np.full(len(tile), np.inf)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            for v in (c0 / q, q / c2):
                # LZU eq. (17), divided by the better conditioned of x and y.
                slope = b + d * v[:, None]
                rest = -(offset + c * v[:, None])
                steep = np.abs(slope[:, 0]) >= np.abs(slope[:, 1])
                u = np.where(steep, rest[:, 0] / slope[:, 0], rest[:, 1] / slope[:, 1])
                violation = np.maximum(np.maximum(-u, u - 1.0), np.maximum(-v, v - 1.0))
                valid = real & ~np.isnan(violation)
                violation = np.where(valid, np.maximum(violation, 0.0), np.inf)
                better = violation < best
                best_u, best_v = np.where(better, u, best_u), np.where(better, v, best_v)
                best = np.where(better, violation, best)
        return best_u, best_v, best


def _cross(first: Array, second: Array) -> Array:
    return np.asarray(first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0])
