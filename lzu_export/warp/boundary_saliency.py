"""Saliency of label maps, by the density of semantic boundaries on the lattice."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lzu_export.errors import LzuError
from lzu_export.warp.saliency import Array, check_lattice


def boundary_saliency(
    labels: ArrayLike,
    lattice: tuple[int, int],
    *,
    boundary: float = 1.0,
    background: float = 0.1,
    ignore: int | None = None,
) -> Array:
    """Return the density of semantic boundaries on the lattice, float64 (h, w), summing to 1.

    A pixel is boundary if its label differs from that of any of its 8 neighbours. The map of
    intensities is averaged over the lattice's cells, each (H / h) x (W / w) pixels, with area
    weights where a pixel straddles cells.

    Args:
        labels: integers (H, W), at least as large as the lattice.
        lattice: (h, w).
        boundary: intensity of boundary pixels.
        background: intensity of all others, above 0.
        ignore: label whose pixels make no boundary, neither themselves nor with their neighbours.

    Raises:
        LzuError: labels are not integers (H, W), are smaller than the lattice, or an intensity is
            not above 0.

    Source: LZU's saliency for semantic segmentation.
    """
    density = boundary_density(labels, lattice, ignore=ignore)
    return density_saliency([density], boundary=boundary, background=background)


def mean_boundary_saliency(
    maps: Iterable[ArrayLike],
    lattice: tuple[int, int],
    *,
    boundary: float = 1.0,
    background: float = 0.1,
    ignore: int | None = None,
) -> Array:
    """Return the mean of `boundary_saliency` over label maps, float64 (h, w), summing to 1.

    Args:
        maps: label maps, integers (H, W) each; they are read one after the other.
        lattice: (h, w).
        boundary: intensity of boundary pixels.
        background: intensity of all others, above 0.
        ignore: label whose pixels make no boundary.

    Raises:
        LzuError: there are no maps, or one is unfit, see `boundary_saliency`.
    """
    densities = (boundary_density(labels, lattice, ignore=ignore) for labels in maps)
    return density_saliency(densities, boundary=boundary, background=background)


def boundary_density(
    labels: ArrayLike, lattice: tuple[int, int], *, ignore: int | None = None
) -> Array:
    """Return the share (h, w), 0 to 1, of boundary pixels in each cell of the lattice.

    Arguments and errors are those of `boundary_saliency`.
    """
    height, width = check_lattice(lattice)
    classes = np.asarray(labels)
    if classes.ndim != 2 or classes.dtype.kind not in "iu":
        raise LzuError(
            f"labels are {classes.dtype} of shape {classes.shape}; give whole numbers (H, W)"
        )
    if classes.shape[0] < height or classes.shape[1] < width:
        raise LzuError(
            f"labels have shape {classes.shape}, less than the lattice {(height, width)}; give a "
            "smaller lattice"
        )
    pooled = (
        _average_pool_matrix(classes.shape[0], height)
        @ _boundary_mask(classes, ignore).astype(np.float64)
        @ _average_pool_matrix(classes.shape[1], width).T
    )
    return np.asarray(pooled)


def density_saliency(
    densities: Iterable[Array], *, boundary: float = 1.0, background: float = 0.1
) -> Array:
    """Return the mean boundary saliency (h, w) of label maps with these densities, summing to 1.

    Each map has the same mass, however many boundaries it has.

    Args:
        densities: shares (h, w) of boundary pixels, at least one; see `boundary_density`.
        boundary: intensity of boundary pixels.
        background: intensity of all others, above 0.

    Raises:
        LzuError: an intensity is not above 0, or there are no label maps.
    """
    for name, value in (("boundary", boundary), ("background", background)):
        if not (math.isfinite(value) and value > 0):
            raise LzuError(f"{name} is {value}; give an intensity above 0")
    maps = (background + (boundary - background) * density for density in densities)
    total, count = np.zeros(()), 0
    for each in maps:
        total, count = total + each / each.sum(), count + 1
    if not count:
        raise LzuError("there are no label maps to make a saliency from; give at least one")
    return np.asarray(total / count)


def _boundary_mask(classes: NDArray[Any], ignore: int | None) -> NDArray[np.bool_]:
    mask = np.zeros(classes.shape, dtype=bool)
    height, width = classes.shape
    for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
        here = np.s_[: height - down, max(0, -right) : width - max(0, right)]
        there = np.s_[down:, max(0, right) : width - max(0, -right)]
        differs = np.asarray(classes[here] != classes[there])
        if ignore is not None:
            differs &= (classes[here] != ignore) & (classes[there] != ignore)
        mask[here] |= differs
        mask[there] |= differs
    return mask


def _average_pool_matrix(n_in: int, n_out: int) -> Array:
    """Return (n_out, n_in): the share of each input pixel in each output cell's average."""
    edges = np.arange(n_out + 1) * (n_in / n_out)
    starts = np.arange(n_in)
    overlap = np.minimum(edges[1:, None], starts + 1) - np.maximum(edges[:-1, None], starts)
    return np.asarray(overlap.clip(0.0, None) * (n_out / n_in))
