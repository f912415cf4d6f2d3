"""Forward warp: the source position of each pixel of the canvas.

Between knots the warp is linear (bilinear in the plane), LZU eq. (5). All positions are in
[-1, 1] with align_corners: -1 and 1 are the centres of the first and last pixels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lzu_export.errors import LzuError
from lzu_export.warp.saliency import Array
from lzu_export.warp.sampling import hat, to_pixels


def pixel_centres(n: int) -> Array:
    """Return the positions (n,) of the centres of n pixels; a single pixel sits at 0."""
    if n < 1:
        raise LzuError(f"an axis of {n} pixels is empty; give it at least 1")
    return np.linspace(-1.0, 1.0, n) if n > 1 else np.zeros(1)


def check_knots(knots: ArrayLike, name: str = "knots") -> Array:
    """Return one axis' knots as float64 (m,) after checking them; messages call them `name`.

    Equal neighbours are accepted (plain LZ clamps at the borders); the inverse bounds their gap.

    Raises:
        LzuError: they are no 1-D array of at least 2 finite numbers that never decrease.
    """
    array = np.asarray(knots, dtype=np.float64)
    if array.ndim != 1 or len(array) < 2:
        raise LzuError(f"{name} have shape {array.shape}; give one axis of at least 2 values")
    if not np.isfinite(array).all():
        raise LzuError(f"{name} hold NaN or infinite values; compute them from a valid saliency")
    if (np.diff(array) < 0).any():
        raise LzuError(f"{name} decrease somewhere; sort out the axis they belong to")
    return array


def forward_at(knots: ArrayLike, u: ArrayLike) -> Array:
    """Return source positions for canvas positions `u` of any shape: LZU eq. (5) on one axis.

    Outside [-1, 1] the first and last pieces continue as straight lines.

    Args:
        knots: (m,) non-decreasing source positions, equally spaced on the canvas.
        u: canvas positions in [-1, 1] units.
    """
    array = check_knots(knots)
    piece, share = _piece(np.asarray(u, dtype=np.float64), len(array))
    return np.asarray((1.0 - share) * array[piece] + share * array[piece + 1])


def forward_axis(knots: ArrayLike, n: int) -> Array:
    """Return the source positions (n,) of the n canvas pixels along one axis."""
    return forward_at(knots, pixel_centres(n))


def nonseparable_forward_grid(knots: ArrayLike, size: tuple[int, int]) -> Array:
    """Return the sampling grid (H, W, 2), order x, y, of knots (h, w, 2) for a canvas of `size`.

    This is the bilinear, align_corners upsampling of the knots.
    """
    array = check_knot_plane(knots)
    height, width = array.shape[:2]
    rows, columns = _lerp_matrix(height, size[0]), _lerp_matrix(width, size[1])
    return np.einsum("Hh,hwc,Ww->HWc", rows, array, columns, optimize=True)


def forward_points(knots: ArrayLike, points: ArrayLike) -> Array:
    """Return source points (..., 2) for canvas points (..., 2), order x, y: LZU eq. (5).

    Outside [-1, 1] the outermost tiles continue bilinearly.

    Args:
        knots: (h, w, 2) source positions, order x, y.
        points: canvas positions.
    """
    array = check_knot_plane(knots)
    places = np.asarray(points, dtype=np.float64)
    j, u = _piece(places[..., 0, None], array.shape[1])
    i, v = _piece(places[..., 1, None], array.shape[0])
    i, j = i[..., 0], j[..., 0]
    upper = (1.0 - u) * array[i, j] + u * array[i, j + 1]
    lower = (1.0 - u) * array[i + 1, j] + u * array[i + 1, j + 1]
    return np.asarray((1.0 - v) * upper + v * lower)


def _piece(u: Array, knots: int) -> tuple[NDArray[np.intp], Array]:
    """Return the piece between two knots that holds each position, and the place within it."""
    place = (u + 1.0) / 2.0 * (knots - 1)
    piece = np.floor(place).clip(0, knots - 2).astype(np.intp)
    return piece, place - piece


def check_knot_plane(knots: ArrayLike, name: str = "knots") -> Array:
    """Return non-separable knots as float64 (h, w, 2) after checking them.

    Messages call them `name`.

    Raises:
        LzuError: they are no (h, w, 2) array of finite numbers with h and w at least 2.
    """
    array = np.asarray(knots, dtype=np.float64)
    if array.ndim != 3 or array.shape[2] != 2 or min(array.shape[:2]) < 2:
        raise LzuError(f"{name} have shape {array.shape}; give (h, w, 2) with h and w at least 2")
    if not np.isfinite(array).all():
        raise LzuError(f"{name} hold NaN or infinite values; compute them from a valid saliency")
    return array


def _lerp_matrix(n_in: int, n_out: int) -> Array:
    return hat(to_pixels(pixel_centres(n_out), n_in), n_in, np.ones(n_out))
