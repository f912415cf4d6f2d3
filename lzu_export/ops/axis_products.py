"""Products of maps with the two matrices of a separable warp, fast on a CPU.

    Y[p] = R X[p] C^T for every plane p of X

A row of R or C has two entries that are not zero, or a few more if it averages pixels. A dense
product spends almost all of its time on zeros. Here rows are weighted sums of whole rows
(`embedding_bag`), and columns are products with the blocks of C along its diagonal, or gathers.
Planes are taken in groups whose rows stay in the processor's cache between the two steps.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lzu_export.warp.saliency import Array

GROUP = 1 << 18
"""Number of cells per thread in a group of planes: a megabyte of float32.

Groups several times larger are up to five times slower: the system then clears fresh memory for
each of them.
"""
BLOCK = 32
"""Number of rows and columns together in a block of the columns' matrix."""


@dataclass(frozen=True)
class _Rows:
    """Weighted sums of rows, for a whole group of planes."""

    count: int
    """Number of rows of a plane's result."""
    taps: int
    """Number of weights of a plane."""
    indices: Tensor
    offsets: Tensor
    weights: Tensor

    def __call__(self, planes: Tensor, number: int) -> Tensor:
        """Map the rows of so many contiguous planes, (p * H, W), to (p * h, W)."""
        indices, offsets, weights = self.indices, self.offsets, self.weights
        if number * self.count + 1 < len(offsets):
            taps = number * self.taps
            indices, weights = indices[:taps], weights[:taps]
            offsets = offsets[: number * self.count + 1]
        found: Tensor = torch.embedding_bag(
            planes, indices, offsets, per_sample_weights=weights, include_last_offset=True
        )[0]
        return found


@dataclass(frozen=True)
class _Gather:
    """Weighted sums of at most two columns."""

    indices: tuple[Tensor, Tensor]
    weights: tuple[Tensor, Tensor]

    def __call__(self, rows: Tensor, out: Tensor) -> None:
        """Map rows (n, W) to `out` (n, w)."""
        first, second = self.indices
        torch.index_select(rows, 1, first, out=out)
        out.mul_(self.weights[0]).addcmul_(rows.index_select(1, second), self.weights[1])


@dataclass(frozen=True)
class _Blocks:
    """Products with the dense parts of the columns' matrix."""

    blocks: Sequence[tuple[slice, slice, Tensor]]
    """Columns that a part makes, columns that it reads, and its weights."""

    def __call__(self, rows: Tensor, out: Tensor) -> None:
        """Map rows (n, W) to `out` (n, w)."""
        for made, read, weights in self.blocks:
            torch.mm(rows[:, read], weights, out=out[:, made])


@dataclass(frozen=True)
class Products:
    """Products of planes with one pair of matrices; made by `plan`."""

    size: tuple[int, int]
    """Rows and columns of a plane's result."""
    planes: int
    """Number of planes in a group."""
    rows: _Rows
    columns: _Gather | _Blocks

    def __call__(self, x: Tensor) -> Tensor:
        """Map x (B, C, H, W) to (B, C, h, w) of the same type.

        Half precision is computed in float32 and rounded once.
        """
        batch, channels, height, width = x.shape
        count = batch * channels
        made = x.new_empty(batch, channels, *self.size)
        if count <= self.planes and x.dtype == self.rows.weights.dtype:
            self._group(x.reshape(count * height, width), count, made.view(-1, self.size[1]))
            return made
        into, first = made.view(count, *self.size), 0
        for planes in self._groups(x):
            number = planes.shape[0]
            self._group(
                planes.to(self.rows.weights.dtype).reshape(number * height, width),
                number,
                into[first : first + number].view(-1, self.size[1]),
            )
            first += number
        return made

    def _group(self, planes: Tensor, number: int, out: Tensor) -> None:
        """Compute a group's result in `out` (p * h, w) from its rows (p * H, W).

        The smaller number of rows has its columns made.
        """
        if self.size[0] * number > planes.shape[0]:  # the columns of fewer rows, so first
            across = planes.new_empty(planes.shape[0], self.size[1])
            self.columns(planes, across)
            out.copy_(self.rows(across, number))
            return
        rows = self.rows(planes, number)
        if out.dtype == rows.dtype:
            self.columns(rows, out)
        else:
            exact = torch.empty_like(out, dtype=rows.dtype)
            self.columns(rows, exact)
            out.copy_(exact)

    def _groups(self, x: Tensor) -> Iterable[Tensor]:
        """Return groups of planes (p, H, W) without a copy of the whole batch."""
        if x.is_contiguous():
            return x.view(-1, *x.shape[2:]).split(self.planes)
        return (planes for image in x for planes in image.split(self.planes))


def group_size(planes: int, cells: int) -> int:
    """Return the number of planes in a group, given the cells of a plane in the cache."""
    most = max(1, min(planes, GROUP * torch.get_num_threads() // max(cells, 1)))
    groups = max(1, math.ceil(planes / most))
    return max(1, math.ceil(planes / groups))


def plan(rows: Array, columns: Array, planes: int, working: torch.dtype) -> Products:
    """Prepare products with two matrices.

    Args:
        rows: (h, H) float64, makes the result's rows.
        columns: (w, W) float64, makes the result's columns.
        planes: number of planes in a group.
        working: type to compute in, float32 or float64.
    """
    return Products(
        (len(rows), len(columns)),
        planes,
        _rows(rows, planes, working),
        column_products(columns, working),
    )


def _rows(matrix: Array, planes: int, working: torch.dtype) -> _Rows:
    count, height = matrix.shape
    row, index = matrix.nonzero()
    starts = np.searchsorted(row, np.arange(count))
    plane = np.arange(planes)[:, None]
    offsets = np.append((plane * len(index) + starts).reshape(-1), planes * len(index))
    return _Rows(
        count,
        len(index),
        torch.from_numpy((plane * height + index).reshape(-1)),
        torch.from_numpy(offsets),
        torch.from_numpy(np.tile(matrix[row, index], planes)).to(working),
    )


def column_products(matrix: Array, working: torch.dtype) -> _Gather | _Blocks:
    """Prepare products of rows (n, W) with the transposed matrix (w, W), into `out` (n, w)."""
    count, width = matrix.shape
    taps = (matrix != 0).sum(axis=1)
    # Gathers read single numbers: measured, they pay only where columns are left out.
    if count < width and taps.max(initial=0) <= 2:
        first = (matrix != 0).argmax(axis=1)
        last = width - 1 - (matrix != 0)[:, ::-1].argmax(axis=1)
        last = np.where(taps == 2, last, first)
        cells = np.arange(count)
        beside = np.where(taps == 2, matrix[cells, last], 0.0)
        one, other = (torch.from_numpy(each).to(working) for each in (matrix[cells, first], beside))
        return _Gather((torch.from_numpy(first), torch.from_numpy(last)), (one, other))
    number = min(max(1, round((count + width) / BLOCK)), max(1, count))
    blocks = []
    for made in np.array_split(np.arange(count), number):
        start, end = int(made[0]), int(made[-1]) + 1
        used = matrix[start:end].any(axis=0).nonzero()[0]
        low, high = (int(used[0]), int(used[-1]) + 1) if len(used) else (0, 0)
        weights = torch.from_numpy(matrix[start:end, low:high].T.copy()).to(working)
        blocks.append((slice(start, end), slice(low, high), weights))
    return _Blocks(blocks)
