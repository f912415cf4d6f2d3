"""Matrices that sample along one axis, so that a separable warp is rows @ image @ columns.T."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from lzu_export.errors import LzuError
from lzu_export.warp.saliency import Array


def axis_weights(
    positions: ArrayLike, n_in: int, *, support: ArrayLike = 1.0, gain: ArrayLike = 1.0
) -> Array:
    """Return the (n_out, n_in) float64 matrix that samples n_in pixels at `positions`.

    Row i is a hat around pixel p = (position + 1) / 2 * (n_in - 1): max(0, 1 - |p - j| / support).
    Support 1 is bilinear interpolation with align_corners and zeros outside, as PyTorch's
    grid_sample. A wider support averages more pixels against aliasing; such rows are divided by
    the sum they have at the nearest position inside, so they sum to 1 there and fade outside.

    Args:
        positions: (n_out,) in [-1, 1] over the input; outside they sample zeros.
        n_in: input pixels. With one pixel every position samples it.
        support: half width of the hat in input pixels, at least 1; one number or (n_out,).
        gain: factor on each row; one number or (n_out,).

    Raises:
        LzuError: positions are not 1-D and finite, or a support is below 1.
    """
    place = to_pixels(positions, n_in)
    widths = np.broadcast_to(np.asarray(support, dtype=np.float64), place.shape)
    if not (widths >= 1.0).all():
        raise LzuError(
            f"support is {widths.min():g} pixels; give at least 1, or pixels are skipped"
        )
    factor = np.asarray(gain, dtype=np.float64) * hat_factor(place, n_in, widths)
    return np.asarray(hat(place, n_in, widths) * factor[:, None])


def antialias_support(positions: ArrayLike, n_in: int) -> Array:
    """Return the half widths of hats (n_out,): the positions' local spacing in pixels, at least 1.

    Where the warp shrinks the image, each output pixel then covers all the input pixels that it
    represents; where it magnifies, sampling stays bilinear.
    """
    place = to_pixels(positions, n_in)
    if len(place) < 2:
        return np.ones(len(place))
    return np.asarray(np.maximum(1.0, np.abs(np.gradient(place))))


def to_pixels(positions: ArrayLike, n_in: int) -> Array:
    """Convert positions (n,) in [-1, 1] (align_corners) to input pixels.

    Raises:
        LzuError: the positions are not 1-D and finite, or the input has no pixel.
    """
    array = np.asarray(positions, dtype=np.float64)
    if array.ndim != 1 or not np.isfinite(array).all():
        raise LzuError(f"positions have shape {array.shape}; give one axis of finite numbers")
    if n_in < 1:
        raise LzuError(f"an axis of {n_in} pixels cannot be sampled; give it at least 1")
    return np.asarray((array + 1.0) / 2.0 * (n_in - 1))


def hat(pixels: Array, n_in: int, support: Array) -> Array:
    """Return (n_out, n_in) linear weights max(0, 1 - |pixels - j| / support), not normalised."""
    distance = np.abs(pixels[:, None] - np.arange(n_in))
    return np.asarray(np.maximum(0.0, 1.0 - distance / support[:, None]))


def hat_factor(pixels: Array, n_in: int, support: Array) -> Array:
    """Return the factors (n_out,) by which wide hats sum to 1 inside the input and fade outside.

    The factor is 1 for a support of 1, whose weights sum to 1 by themselves.
    """
    inside = hat(pixels.clip(0, n_in - 1), n_in, support).sum(axis=1)
    return np.where(support > 1.0, 1.0 / inside, 1.0)
