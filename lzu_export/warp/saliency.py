"""Saliency: a positive map on a small lattice that sets how densely a warp samples.

A saliency is a float64 array of shape (h, w), the lattice. Row 0 is the top of the source and
column 0 its left edge; the first and last rows and columns lie on the source's borders. Only the
ratios of its values matter to the warp; the maps made here sum to 1.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lzu_export.errors import LzuError
from lzu_export.support.lazy import lazily

Array = NDArray[np.float64]

BOX_INPUTS = ("prev_boxes", "prev_valid")
"""Names of the inputs of a model whose warp follows boxes, float32: boxes (B, N, 4) in pixels of
the source, and flags (B, N) of 0 or 1."""


def check_saliency(
    saliency: ArrayLike, *, lattice: tuple[int, int] | None = None, name: str = "saliency"
) -> Array:
    """Return a saliency as float64 (h, w) after checking it.

    Args:
        saliency: real array of shape (h, w); leading axes of length 1 are dropped.
        lattice: (h, w) that it must have; None for any.
        name: name of the saliency in error messages.

    Raises:
        LzuError: it is no 2-D array of at least 2 x 2 finite numbers above zero, or its shape
            is not the lattice. Zeros are refused because a window of zeros has no centre of mass.
    """
    return _check_positive(_check_map(as_real(saliency, name), lattice, name), name)


def check_marginal(marginal: ArrayLike, *, name: str = "marginal") -> Array:
    """Return a 1-D saliency as float64 (n,) after checking it; messages call it `name`.

    Raises:
        LzuError: it is no 1-D array of at least 2 finite numbers above zero.
    """
    array = as_real(marginal, name)
    if array.ndim != 1 or array.shape[0] < 2:
        raise LzuError(f"{name} has shape {array.shape}; give it one axis of at least 2 values")
    return _check_positive(array, name)


def as_real(values: ArrayLike, name: str) -> Array:
    try:
        array = np.asarray(values)
        if array.dtype.kind not in "fiu":
            raise TypeError
        return array.astype(np.float64)
    except (TypeError, ValueError):
        raise LzuError(f"{name} is not an array of real numbers; give it as floats") from None


def _check_map(array: Array, lattice: tuple[int, int] | None, name: str) -> Array:
    while array.ndim > 2 and array.shape[0] == 1:
        array = array[0]
    if array.ndim != 2 or min(array.shape) < 2:
        raise LzuError(
            f"{name} has shape {array.shape}; give it two axes (height, width) of at least 2 each"
        )
    if lattice is not None and array.shape != tuple(lattice):
        raise LzuError(
            f"{name} has shape {array.shape} but the lattice is {tuple(lattice)}; resample it or "
            f"set the lattice to {array.shape}"
        )
    return array


def _check_positive(array: Array, name: str) -> Array:
    if not np.isfinite(array).all():
        count = int((~np.isfinite(array)).sum())
        raise LzuError(
            f"{name} holds {count} NaN or infinite values; replace them by positive ones"
        )
    if (array <= 0).any():
        raise LzuError(
            f"{name} holds {int((array <= 0).sum())} values that are not above zero (smallest "
            f"{array.min():g}); add a small positive floor everywhere"
        )
    return array


def check_lattice(lattice: tuple[int, int]) -> tuple[int, int]:
    height, width = (int(n) for n in lattice)
    if min(height, width) < 2:
        raise LzuError(f"lattice is {tuple(lattice)}; give it at least 2 rows and 2 columns")
    return height, width


def uniform_saliency(lattice: tuple[int, int]) -> Array:
    """Return the (h, w) saliency of the identity warp, which is constant and sums to 1."""
    height, width = check_lattice(lattice)
    return np.full((height, width), 1.0 / (height * width))


def mirrored(saliency: ArrayLike) -> Array:
    """Return the mean (h, w) of a saliency and its mirror image, so that flipped frames fit it."""
    array = check_saliency(saliency)
    return np.asarray((array + array[:, ::-1]) / 2)


def marginals(saliency: ArrayLike) -> tuple[Array, Array]:
    """Return the saliency of each column, s_x (w,), and of each row, s_y (h,).

    Source: the sums inside LZU eqs. (3) and (4).
    """
    array = check_saliency(saliency)
    return array.sum(axis=0), array.sum(axis=1)


def mix(fixed: ArrayLike, adaptive: ArrayLike, alpha: float) -> Array:
    """Return LZU's composite saliency, (1 - alpha) fixed + alpha adaptive.

    Both are maps (h, w), or both marginals (n,): mixing and summing commute.

    Raises:
        LzuError: the shapes differ, alpha is outside [0, 1], or the sums differ, in which case
            alpha would not be the adaptive share.
    """
    first, second = as_real(fixed, "fixed saliency"), as_real(adaptive, "adaptive saliency")
    if first.shape != second.shape:
        raise LzuError(
            f"fixed saliency has shape {first.shape} and adaptive saliency {second.shape}; "
            "put both on one lattice"
        )
    if not 0.0 <= alpha <= 1.0:
        raise LzuError(f"alpha is {alpha}; give the adaptive share as a number from 0 to 1")
    if not math.isclose(first.sum(), second.sum(), rel_tol=1e-3):
        raise LzuError(
            f"fixed saliency sums to {first.sum():g} and adaptive saliency to {second.sum():g}; "
            "divide each by its sum"
        )
    return (1.0 - alpha) * first + alpha * second


def softmax_saliency(logits: ArrayLike, lattice: tuple[int, int], name: str = "logits") -> Array:
    """Return the softmax of logits (h, w) over all cells, float64: positive, summing to 1.

    Args:
        logits: real array of shape (h, w); leading axes of length 1 are dropped.
        lattice: (h, w) that they must have.
        name: name of the logits in error messages.

    Raises:
        LzuError: it is no such array, its shape is not the lattice, or values are not finite or so
            far apart that the smallest share is 0 in float64.

    Source: the saliency of "Learning to Zoom" (Recasens et al. 2018), with learned numbers
    instead of a network's outputs.
    """
    array = _check_map(as_real(logits, name), lattice, name)
    if not np.isfinite(array).all():
        count = int((~np.isfinite(array)).sum())
        raise LzuError(f"{name} holds {count} NaN or infinite values; train or save it again")
    shares = np.exp(array - array.max())
    if not shares.all():
        raise LzuError(
            f"{name} spans {np.ptp(array):g}, so that some shares of its softmax are 0; train it "
            "again with weight decay"
        )
    return np.asarray(shares / shares.sum())


# Training scripts import it from here, where it was before.
__getattr__ = lazily(__name__, {"box_saliency": "lzu_export.warp.box_saliency"})
