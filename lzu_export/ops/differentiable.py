"""Differentiable PyTorch versions of the separable warp, for training a saliency through it.

The results equal those of `lzu_export.warp`. They are batched over leading axes, differentiable
with respect to the saliency, and in the dtype and on the device of the input. Positions are in
[-1, 1], align_corners.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from lzu_export.errors import LzuError
from lzu_export.warp import knots as reference
from lzu_export.warp.forward import pixel_centres
from lzu_export.warp.inverse import MIN_GAP
from lzu_export.warp.saliency import Array
from lzu_export.warp.sampling import axis_weights


def axis_knots(
    marginal: Tensor, fwhm: float, *, anti_crop: bool = True, pad: int | None = None
) -> Tensor:
    """Return the knots (..., n) of 1-D saliencies (..., n): LZU eq. (3) or (4).

    Args:
        marginal: floating-point saliency along the axis, positive.
        fwhm: full width of the attraction at half maximum, in lattice cells.
        anti_crop: pin the end knots to exactly -1 and 1; their gradient is zero.
        pad: cells of padding on each side; n - 1 by default.

    Raises:
        LzuError: the saliency is not floating point, finite and positive (values are not checked
            while tracing), or a parameter is out of range.
    """
    _check_floating(marginal, "marginal", axes=1)
    _check_positive(marginal, "marginal")
    weight, moment = _attraction(marginal.shape[-1], float(fwhm), anti_crop, pad)
    displacement = (marginal @ _constant(moment.T, marginal)) / (
        marginal @ _constant(weight.T, marginal)
    )
    centres = _constant(pixel_centres(marginal.shape[-1]), marginal)
    return (centres + displacement).clamp(-1.0, 1.0)


def separable_knots(
    saliency: Tensor, fwhm: float, *, anti_crop: bool = True
) -> tuple[Tensor, Tensor]:
    """Return knots_x (..., w) and knots_y (..., h) of saliencies (..., h, w): LZU eqs. (3), (4).

    Both axes share one Gaussian that reaches min(h, w) - 1 cells. Errors are those of `axis_knots`.
    """
    _check_floating(saliency, "saliency", axes=2)
    _check_positive(saliency, "saliency")
    pad = min(saliency.shape[-2:]) - 1
    return (
        axis_knots(saliency.sum(dim=-2), fwhm, anti_crop=anti_crop, pad=pad),
        axis_knots(saliency.sum(dim=-1), fwhm, anti_crop=anti_crop, pad=pad),
    )


def forward_axis(knots: Tensor, n: int) -> Tensor:
    """Return the source positions (..., n) of n canvas pixels from knots (..., m): LZU eq. (5)."""
    _check_floating(knots, "knots", axes=1)
    return knots @ _constant(_interpolation(knots.shape[-1], n).T, knots)


def forward_at(knots: Tensor, u: Tensor) -> Tensor:
    """Return source positions (..., n) of canvas positions `u` (..., n): LZU eq. (5) on one axis.

    `u` is clamped to [-1, 1]. The pieces are summed instead of searched, so that it can be traced.

    Args:
        knots: (..., m) source positions; leading axes broadcast with those of `u`.
        u: canvas positions.

    Raises:
        LzuError: the knots are not floating point or fewer than 2.
    """
    _check_floating(knots, "knots", axes=1)
    pieces = knots.shape[-1] - 1
    place = (u.clamp(-1.0, 1.0) + 1.0) * (pieces / 2)
    share = (place[..., :, None] - _constant(np.arange(pieces, dtype=np.float64), u)).clamp(0, 1)
    gaps = knots[..., None, 1:] - knots[..., None, :-1]
    return (share * gaps).sum(dim=-1) + knots[..., :1]


def invert_axis(knots: Tensor, v: Tensor, *, extrapolate: bool = True) -> Tensor:
    """Return canvas positions (..., n) of source positions `v` (..., n): LZU eqs. (6) and (7).

    This is the closed form of `lzu_export.warp.inverse.invert_axis`, with its bound on knot gaps.

    Args:
        knots: (..., m) increasing source positions; leading axes broadcast with those of `v`.
        v: source positions.
        extrapolate: continue as straight lines outside the end knots, else clip to [-1, 1].

    Raises:
        LzuError: the knots are not floating point or fewer than 2.
    """
    _check_floating(knots, "knots", axes=1)
    pieces = knots.shape[-1] - 1
    gaps = (knots[..., 1:] - knots[..., :-1]).clamp(min=MIN_GAP)
    share = (v[..., :, None] - knots[..., None, :-1]) / gaps[..., None, :]
    lower, upper = np.zeros(pieces), np.ones(pieces)
    if extrapolate:
        lower[0], upper[-1] = -np.inf, np.inf
    share = share.clamp(_constant(lower, share), _constant(upper, share))
    return share.sum(dim=-1) * (2.0 / pieces) - 1.0


@lru_cache(maxsize=32)
def _attraction(n: int, fwhm: float, anti_crop: bool, pad: int | None) -> tuple[Array, Array]:
    return reference.attraction_matrices(n, fwhm, anti_crop=anti_crop, pad=pad)


@lru_cache(maxsize=32)
def _interpolation(n_in: int, n_out: int) -> Array:
    return axis_weights(pixel_centres(n_out), n_in)


def _constant(values: Array, like: Tensor) -> Tensor:
    # Made anew each time, since a cached tensor could be a tracer's, which is useless afterwards.
    return torch.tensor(values, dtype=like.dtype, device=like.device)


def _check_floating(tensor: Tensor, name: str, *, axes: int) -> None:
    if not tensor.is_floating_point():
        raise LzuError(f"{name} has dtype {tensor.dtype}; give a floating-point tensor")
    if tensor.ndim < axes or min(tensor.shape[-axes:]) < 2:
        raise LzuError(
            f"{name} has shape {tuple(tensor.shape)}; its last {axes} axes need at least 2 values"
        )


def _check_positive(tensor: Tensor, name: str) -> None:
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return
    if not bool((torch.isfinite(tensor) & (tensor > 0)).all()):
        raise LzuError(
            f"{name} holds values that are not finite and above zero; make it positive, for "
            "example by a softmax or a small floor"
        )
