"""Knots of a saliency map: its warp, sampled on its lattice.

Knot j of an axis is the source position, in [-1, 1] (align_corners: the centres of the first and
last pixels), that lattice point j of the zoomed image shows. Every lattice point is attracted by
the saliency around it through a Gaussian k(t) = exp(-4 ln 2 t^2 / fwhm^2), t and fwhm in lattice
cells (LZU eqs. (1)-(4)).

Such knots increase strictly for every positive saliency: the attraction is the gradient of a
log-sum-exp, a strictly convex function. Only clamping at the borders (plain LZ) or rounding (a
saliency whose values differ by many orders of magnitude) can merge two.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lzu_export.errors import LzuError
from lzu_export.warp.saliency import Array, check_marginal, check_saliency, marginals


def attraction_matrices(
    n: int, fwhm: float, *, anti_crop: bool = True, pad: int | None = None
) -> tuple[Array, Array]:
    """Return the two constant matrices of the LZ sum along one axis, each (n, n) float64.

    For a marginal s (n,) the displacement of lattice point j, in [-1, 1] units, is
    (moment @ s)[j] / (weight @ s)[j]. The padding of the saliency (reflect with anti_crop, else
    replicate) is folded into the matrices, so saliency to knots is two products and a division.

    Args:
        n: lattice points along the axis, at least 2.
        fwhm: full width of the Gaussian at half maximum, in lattice cells.
        anti_crop: reflect the saliency at the borders, which pins the end knots to -1 and 1.
        pad: cells of padding on each side, also the Gaussian's reach; n - 1 by default.

    Raises:
        LzuError: fwhm is not above 0, or the padding does not fit.
    """
    if not (math.isfinite(fwhm) and fwhm > 0):
        raise LzuError(f"fwhm is {fwhm}; give a width above 0 in lattice cells")
    if n < 2:
        raise LzuError(f"an axis of {n} lattice points has no warp; give it at least 2")
    reach = n - 1 if pad is None else pad
    if reach < 0 or (anti_crop and reach > n - 1):
        raise LzuError(f"pad is {reach} on an axis of {n} lattice points; give 0 to {n - 1}")
    offsets = np.arange(-reach, reach + 1)
    kernel = np.exp(-4.0 * math.log(2.0) * offsets**2 / float(fwhm) ** 2)
    rows = np.repeat(np.arange(n), len(offsets))
    columns = (np.arange(n)[:, None] + offsets).ravel()
    if anti_crop:
        columns = np.abs(columns)
        columns = (n - 1) - np.abs((n - 1) - columns)
    else:
        columns = columns.clip(0, n - 1)
    weight, moment = np.zeros((n, n)), np.zeros((n, n))
    np.add.at(weight, (rows, columns), np.tile(kernel, n))
    np.add.at(moment, (rows, columns), np.tile(kernel * offsets * (2.0 / (n - 1)), n))
    if anti_crop:
        # Odd offsets times an even saliency give zero in exact arithmetic, so set it to zero.
        moment[[0, -1]] = 0.0
    return weight, moment


def axis_knots(
    marginal: ArrayLike, fwhm: float, *, anti_crop: bool = True, pad: int | None = None
) -> Array:
    """Return the knots (n,) of a 1-D saliency (n,): LZU eq. (3) or (4).

    With `anti_crop` the end knots are exactly -1 and 1, so the zoomed image shows the whole source.
    Without it (plain LZ) the ends may crop the source, and knots are clamped to [-1, 1].

    Args:
        marginal: saliency along the axis, finite and positive.
        fwhm: full width of the attraction at half maximum, in lattice cells.
        anti_crop: see `attraction_matrices`.
        pad: see `attraction_matrices`.

    Raises:
        LzuError: the marginal is not positive and finite, a parameter is out of range, or knots
            merge, in which case the warp has no inverse.
    """
    saliency = check_marginal(marginal)
    count = len(saliency)
    weight, moment = attraction_matrices(count, fwhm, anti_crop=anti_crop, pad=pad)
    saliency = saliency / saliency.max()  # only ratios count; avoids underflow of tiny saliencies
    with np.errstate(invalid="ignore", divide="ignore"):
        displacement = (moment @ saliency) / (weight @ saliency)
    knots = np.clip(np.linspace(-1.0, 1.0, count) + displacement, -1.0, 1.0)
    _check_increasing(np.diff(knots), "knots", anti_crop)
    return knots


def separable_knots(
    saliency: ArrayLike, fwhm: float, *, anti_crop: bool = True
) -> tuple[Array, Array]:
    """Return knots_x (w,) and knots_y (h,) of a saliency (h, w): LZU eqs. (3) and (4).

    Both axes share one Gaussian that reaches min(h, w) - 1 cells, as in the published code.
    Errors are those of `axis_knots`.
    """
    along_x, along_y = marginals(saliency)
    return separable_knots_from_marginals(along_x, along_y, fwhm, anti_crop=anti_crop)


def separable_knots_from_marginals(
    s_x: ArrayLike, s_y: ArrayLike, fwhm: float, *, anti_crop: bool = True
) -> tuple[Array, Array]:
    """Return knots_x (w,) and knots_y (h,) of the marginals s_x (w,) and s_y (h,).

    See `separable_knots`.
    """
    along_x = check_marginal(s_x, name="marginal along x")
    along_y = check_marginal(s_y, name="marginal along y")
    pad = min(len(along_x), len(along_y)) - 1
    return (
        axis_knots(along_x, fwhm, anti_crop=anti_crop, pad=pad),
        axis_knots(along_y, fwhm, anti_crop=anti_crop, pad=pad),
    )


def nonseparable_knots(saliency: ArrayLike, fwhm: float, *, anti_crop: bool = True) -> Array:
    """Return knots (h, w, 2), order x, y, of a saliency (h, w): LZU eqs. (1) and (2).

    The 2-D Gaussian is a product, so the sums over the plane are matrix products from both sides.

    Raises:
        LzuError: the saliency is invalid, a parameter is out of range, or knots merge.
    """
    array = check_saliency(saliency)
    array = array / array.max()
    height, width = array.shape
    pad = min(height, width) - 1
    weight_x, moment_x = attraction_matrices(width, fwhm, anti_crop=anti_crop, pad=pad)
    weight_y, moment_y = attraction_matrices(height, fwhm, anti_crop=anti_crop, pad=pad)
    with np.errstate(invalid="ignore", divide="ignore"):
        weight = weight_y @ array @ weight_x.T
        shift_x = (weight_y @ array @ moment_x.T) / weight
        shift_y = (moment_y @ array @ weight_x.T) / weight
    knots_x = np.linspace(-1.0, 1.0, width) + shift_x
    knots_y = np.linspace(-1.0, 1.0, height)[:, None] + shift_y
    knots = np.clip(np.stack([knots_x, knots_y], axis=-1), -1.0, 1.0)
    _check_increasing(np.diff(knots[..., 0], axis=1), "knots along x", anti_crop)
    _check_increasing(np.diff(knots[..., 1], axis=0), "knots along y", anti_crop)
    return knots


def _check_increasing(gaps: NDArray[np.float64], name: str, anti_crop: bool) -> None:
    if (gaps > 0).all():  # also false for NaN
        return
    merged = int((~(gaps > 0)).sum())
    remedy = (
        "flatten the saliency, for example by mixing in some of the uniform one"
        if anti_crop
        else "plain LZ crops and merges knots at the borders: set anti_crop to true"
    )
    raise LzuError(f"{name} do not increase strictly ({merged} gaps are not above 0); {remedy}")
