"""Pooling and resizing of maps by constant matrices: rows @ map @ columns.T.

No ONNX operator does adaptive pooling with bins of unequal size, and Resize has coordinate modes
that parsers can misread. A matrix product is unambiguous: weights are computed once in float64, and
every target multiplies with the same numbers.
"""

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lzu_export.errors import LzuError
from lzu_export.models.shapes import static_shape


@lru_cache(maxsize=64)
def pool_matrix(bins: int, n: int) -> NDArray[np.float64]:
    """Compute the (bins, n) float64 matrix that averages n cells in bins; rows sum to 1.

    Bin i holds the cells from floor(i n / bins) up to but not including ceil((i + 1) n / bins), the
    rule of PyTorch's AdaptiveAvgPool2d. Bins overlap if their number does not divide the number of
    cells, also if there are more bins than cells.

    Raises:
        LzuError: there are no bins or no cells.
    """
    _check(bins, n)
    index, cell = np.arange(bins)[:, None], np.arange(n)
    inside = (cell >= index * n // bins) & (cell < -(-(index + 1) * n // bins))
    return _frozen(inside / inside.sum(axis=1, keepdims=True))


@lru_cache(maxsize=64)
def resize_matrix(n_out: int, n_in: int) -> NDArray[np.float64]:
    """Compute the (n_out, n_in) float64 matrix of bilinear resizing with align_corners=False.

    Output cell i samples at (i + 1/2) n_in / n_out - 1/2, clamped to the first and last input
    cell: half-pixel centres, as in PyTorch's `interpolate` without antialiasing.

    Raises:
        LzuError: an axis is empty.
    """
    _check(n_out, n_in)
    # One division of integers gives whole and half places exactly.
    place = ((2 * np.arange(n_out) + 1) * n_in - n_out) / (2 * n_out)
    return hat_matrix(place, n_in)


@lru_cache(maxsize=64)
def restride_matrix(n_out: int, stride_out: int, n_in: int, stride_in: int) -> NDArray[np.float64]:
    """Compute the (n_out, n_in) float64 matrix that converts features between strides, in phase.

    Strided convolutions centre cell i on pixel stride * i, so output cell i samples at
    i * stride_out / stride_in, clamped to the last input cell. This subsamples a finer map.

    Raises:
        LzuError: an axis is empty.
    """
    _check(n_out, n_in)
    return hat_matrix(np.arange(n_out) * stride_out / stride_in, n_in)


def hat_matrix(place: NDArray[np.float64], n_in: int) -> NDArray[np.float64]:
    """Compute the (n_out, n_in) matrix of linear interpolation at clamped places in input cells."""
    distance = np.abs(place.clip(0, n_in - 1)[:, None] - np.arange(n_in))
    return _frozen(np.maximum(0.0, 1.0 - distance))


def apply_matrices(x: Tensor, rows: NDArray[np.float64], cols: NDArray[np.float64]) -> Tensor:
    """Compute `rows` @ x @ `cols`.T: (B, C, H, W) to (B, C, len(rows), len(cols)), in x's type.

    The cheaper of the two orders of multiplication is used.
    """
    height, width = static_shape(x)[-2:]
    left = torch.tensor(rows, dtype=x.dtype, device=x.device)
    right = torch.tensor(cols.T, dtype=x.dtype, device=x.device)
    rows_first = len(rows) * width * (height + len(cols))
    cols_first = len(cols) * height * (width + len(rows))
    return (left @ x) @ right if rows_first <= cols_first else left @ (x @ right)


def average_pool(x: Tensor, bins: int) -> Tensor:
    """Pool as AdaptiveAvgPool2d(bins): (B, C, H, W) to (B, C, bins, bins)."""
    height, width = static_shape(x)[-2:]
    return apply_matrices(x, pool_matrix(bins, height), pool_matrix(bins, width))


def resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize bilinearly with align_corners=False: (B, C, H, W) to (B, C, *size)."""
    height, width = static_shape(x)[-2:]
    if (height, width) == tuple(size):
        return x
    return apply_matrices(x, resize_matrix(size[0], height), resize_matrix(size[1], width))


def restride(x: Tensor, stride_in: int, stride_out: int, size: tuple[int, int]) -> Tensor:
    """Sample features (B, C, H, W) of `stride_in` at the cells (B, C, *size) of `stride_out`."""
    if stride_in == stride_out:
        return x
    rows, cols = (
        restride_matrix(out, stride_out, n, stride_in)
        for out, n in zip(size, static_shape(x)[-2:], strict=True)
    )
    return apply_matrices(x, rows, cols)


def _check(n_out: int, n_in: int) -> None:
    if n_out < 1 or n_in < 1:
        raise LzuError(f"an axis of {n_in} cells cannot become {n_out}; give both at least 1")


def _frozen(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Make a matrix read-only, because it is cached and shared."""
    matrix.flags.writeable = False
    return matrix
