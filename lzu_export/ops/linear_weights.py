"""Bilinear sampling of a batch at positions computed per image, for warps that the graph computes.

On a GPU both axes are products with dense matrices of linear weights. On a CPU rows are sums of
two weighted rows (`embedding_bag`); columns are products where the map is narrow, else gathers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lzu_export.ops.axis_products import column_products, group_size

NARROW = 64
"""Number of columns up to which a product with all of them is faster than gathers on a CPU."""


def hat_matrix(positions: Tensor, n: int) -> Tensor:
    """Return (..., m, n) weights max(0, 1 - |p - k|) of positions (..., m) in cells.

    Samples are bilinear between cells 0 .. n - 1 with zeros outside. At a cell's centre the
    derivative is the one towards the next cell, as grid_sample has it.
    """
    near = positions.clamp(-2, n + 1)  # beyond one cell outside, all samples are 0
    whole = near.floor()
    share = (near - whole)[..., None]
    cells = torch.arange(n, dtype=positions.dtype, device=positions.device) - whole[..., None]
    return torch.where(cells == 0, 1 - share, torch.where(cells == 1, share, 0 * share))


def resample(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Sample `x` (B, C, H, W) at rows (B or 1, H') and columns (B or 1, W'), both in its cells.

    Returns:
        (B, C, H', W') in the dtype of `x`; weights have the positions' precision, rounded once.
    """
    # Subclasses are tensors that a compiler traces, whose values cannot be read.
    if x.device.type == "cpu" and type(x) is Tensor:
        rows, columns = (each.expand(len(x), -1) for each in (rows, columns))
        sampled: Tensor = _Sample.apply(x, rows, columns)
        return sampled
    a_y = hat_matrix(rows, x.shape[2]).to(x.dtype)[:, None]
    a_x = hat_matrix(columns, x.shape[3]).to(x.dtype)[:, None]
    return a_y @ (x @ a_x.transpose(-1, -2))


@dataclass(frozen=True)
class _Taps:
    """Two weighted cells for each position of an axis."""

    cells: Tensor
    """(B, m, 2) int64, within the axis."""
    weights: Tensor
    """(B, m, 2), 0 for cells outside."""
    slopes: Tensor
    """(B, m, 2), derivatives of the weights by the position."""
    n: int

    @staticmethod
    def at(positions: Tensor, n: int, dtype: torch.dtype) -> _Taps:
        """Return the taps of positions (B, m) among n cells."""
        near = positions.clamp(-2, n + 1)  # beyond one cell outside, all samples are 0
        whole = near.floor()
        share = near - whole
        both = torch.stack([whole, whole + 1], dim=-1)
        inside = (both >= 0) & (both < n)
        weights = torch.stack([1 - share, share], dim=-1) * inside
        signs = torch.tensor([-1.0, 1.0], dtype=positions.dtype)
        cells = both.nan_to_num().clamp(0, n - 1).long()
        return _Taps(cells, weights.to(dtype), (signs * inside).to(dtype), n)

    def part(self, images: slice) -> _Taps:
        """Return the taps of some images."""
        return _Taps(self.cells[images], self.weights[images], self.slopes[images], self.n)

    def sloped(self) -> _Taps:
        """Return taps whose samples are the derivatives by the positions."""
        return _Taps(self.cells, self.slopes, self.slopes, self.n)


class _Sample(torch.autograd.Function):
    """Sampling on a CPU, with gradients to the map and to the positions."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        ctx.save_for_backward(x, rows, columns)
        made = x.new_empty(*x.shape[:2], rows.shape[1], columns.shape[1])
        for images, part, y, across in _groups(x, rows, columns):
            made[images] = _columns(_rows(part, y), across)
        return made

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        x, rows, columns = ctx.saved_tensors
        inputs, found = (x, rows, columns), []
        for each, need in zip(inputs, ctx.needs_input_grad, strict=True):
            found.append(torch.empty_like(each) if need else None)
        to_x, to_rows, to_columns = found
        for images, part, y, across in _groups(x, rows, columns):
            above = outer[0][images].to(part.dtype)
            if to_x is not None:
                to_x[images] = _spread_rows(_spread_columns(above, across), y)
            if to_rows is not None:
                slope = _columns(_rows(part, y.sloped()), across)
                to_rows[images] = (slope * above).sum(dim=(1, 3))
            if to_columns is not None:
                slope = _columns(_rows(part, y), across.sloped())
                to_columns[images] = (slope * above).sum(dim=(1, 2))
        return to_x, to_rows, to_columns


def _groups(
    x: Tensor, rows: Tensor, columns: Tensor
) -> Iterator[tuple[slice, Tensor, _Taps, _Taps]]:
    """Return some images at a time, in float32 or float64, with the taps of rows and columns."""
    working = torch.promote_types(x.dtype, torch.float32)
    y = _Taps.at(rows.detach(), x.shape[2], working)
    across = _Taps.at(columns.detach(), x.shape[3], working)
    count = group_size(len(x), x.shape[1] * max(rows.shape[1], x.shape[2]) * x.shape[3])
    for start in range(0, len(x), count):
        images = slice(start, start + count)
        part = x.detach()[images].to(working).contiguous()
        yield images, part, y.part(images), across.part(images)


def _rows(x: Tensor, taps: _Taps) -> Tensor:
    """Map (b, C, H, W) to (b, C, m, W)."""
    count = taps.cells.shape[1]
    starts = torch.arange(0, 2 * count, 2).expand(len(x), -1)
    return _sum_rows(x, taps.cells.flatten(1), starts, taps.weights.flatten(1))


def _spread_rows(x: Tensor, taps: _Taps) -> Tensor:
    """Map (b, C, m, W) to (b, C, H, W) by the transposed matrix."""
    cells, order = taps.cells.flatten(1).sort(dim=1, stable=True)
    every = torch.arange(taps.n).expand(len(x), -1).contiguous()
    starts = torch.searchsorted(cells, every)
    return _sum_rows(x, order // 2, starts, taps.weights.flatten(1).gather(1, order))


def _sum_rows(x: Tensor, indices: Tensor, starts: Tensor, weights: Tensor) -> Tensor:
    """Sum weighted rows of x (b, C, H, W).

    Args:
        x: contiguous maps.
        indices: (b, k) rows of each image that are read.
        starts: (b, n) where each sum begins in `indices`.
        weights: (b, k) factors of the rows that are read.

    Returns:
        (b, C, n, W) sums.
    """
    batch, channels, height, width = x.shape
    plane = torch.arange(batch * channels).view(batch, channels, 1)
    taps = indices.shape[1]
    offsets = (starts[:, None] + plane * taps).reshape(-1)
    summed: Tensor = torch.embedding_bag(
        x.reshape(-1, width),
        (indices[:, None] + plane * height).reshape(-1),
        offsets,
        per_sample_weights=weights[:, None].expand(-1, channels, -1).reshape(-1),
    )[0]
    return summed.view(batch, channels, starts.shape[1], width)


def _columns(x: Tensor, taps: _Taps) -> Tensor:
    """Map (b, C, h, W) to (b, C, h, m)."""
    batch, channels, height, width = x.shape
    made = x.new_empty(batch, channels * height, taps.cells.shape[1])
    lines = x.view(batch, channels * height, width)
    if width <= NARROW:
        torch.bmm(lines, _matrix(taps).mT, out=made)
    else:
        for image, out, cells, weights in zip(lines, made, taps.cells, taps.weights, strict=True):
            torch.index_select(image, 1, cells[:, 0], out=out)
            out.mul_(weights[:, 0]).addcmul_(image.index_select(1, cells[:, 1]), weights[:, 1])
    return made.view(batch, channels, height, -1)


def _spread_columns(x: Tensor, taps: _Taps) -> Tensor:
    """Map (b, C, h, m) to (b, C, h, W) by the transposed matrix."""
    batch, channels, height, count = x.shape
    made = x.new_empty(batch, channels * height, taps.n)
    lines, matrix = x.reshape(batch, channels * height, count), _matrix(taps)
    if taps.n <= NARROW:
        torch.bmm(lines, matrix, out=made)
    else:
        for image, out, each in zip(lines, made, matrix, strict=True):
            column_products(each.T.numpy(), x.dtype)(image, out)
    return made.view(batch, channels, height, -1)


def _matrix(taps: _Taps) -> Tensor:
    """Return the dense weights (b, m, n)."""
    batch, count, _ = taps.cells.shape
    return taps.weights.new_zeros(batch, count, taps.n).scatter_add_(2, taps.cells, taps.weights)
