"""Bilinear sampling of a batch at positions computed per image, for warps that the graph computes.

On a GPU both axes are products with dense matrices of linear weights. On a CPU training steps are
grid_sample's, whose coordinates are single numbers in the map's precision: in float32 a position in
a map of n cells is off by up to n / 10^7. Without gradients a position keeps its digits. Rows are
then sums of two weighted rows (`embedding_bag`), and columns are products where the map is narrow,
else gathers.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from lzu_export.ops.axis_products import group_size

NARROW = 64
"""Number of columns up to which a product with all of them is faster than gathers on a CPU."""


def hat_matrix(positions: Tensor, n: int) -> Tensor:
    """Return (..., m, n) weights max(0, 1 - |p - k|) of positions (..., m) in cells.

    Samples are bilinear between cells 0 .. n - 1 with zeros outside. At a cell's centre the
    derivative is the one towards the next cell, as grid_sample has it.
    """
    near = _near(positions, n)
    whole = near.floor()
    share = (near - whole)[..., None]
    cells = torch.arange(n, dtype=positions.dtype, device=positions.device) - whole[..., None]
    return torch.where(cells == 0, 1 - share, torch.where(cells == 1, share, 0 * share))


def in_training(*tensors: Tensor) -> bool:
    """Return whether an operator of these inputs runs in training.

    PyTorch turns gradients off inside an operator exactly if its inputs have some.
    """
    return torch.is_grad_enabled() or any(each.requires_grad for each in tensors)


def resample(x: Tensor, rows: Tensor, columns: Tensor, *, training: bool) -> Tensor:
    """Sample `x` (B, C, H, W) at rows (B or 1, H') and columns (B or 1, W'), both in its cells.

    Args:
        x: map.
        rows: positions along height.
        columns: positions along width.
        training: whether speed on a CPU counts more than the last digits of a position.

    Returns:
        (B, C, H', W') in the dtype of `x`; NaN in the rows and columns of positions that are NaN.
    """
    if not on_cpu(x):
        return _dense(x, rows, columns)
    if training:
        # With corners, the first and last cell are exactly -1 and 1, but an axis of one cell has no
        # scale.
        corners = min(x.shape[2:]) > 1
        down, across = (
            _near(each, n) * (2 / (n - 1)) - 1 if corners else (2 * _near(each, n) + 1) / n - 1
            for each, n in zip((rows, columns), x.shape[2:], strict=True)
        )
        return by_grid_sample(x, down, across, corners=corners)
    return _exact(x, *(each.detach().expand(len(x), -1) for each in (rows, columns)))


def by_grid_sample(x: Tensor, down: Tensor, across: Tensor, *, corners: bool = True) -> Tensor:
    """Sample `x` (B, C, H, W) at rows (B or 1, H') and columns (B or 1, W') by grid_sample.

    Args:
        x: map.
        down: coordinates along height in [-1, 1]; zeros outside, NaN where a coordinate is NaN.
        across: coordinates along width.
        corners: whether -1 and 1 are the centres of the first and last cell, else their edges.

    Returns:
        (B, C, H', W') in the dtype of `x`.
    """
    working = working_type(x)
    size = (len(x), down.shape[1], across.shape[1])
    both = (across.to(working)[:, None, :].expand(size), down.to(working)[:, :, None].expand(size))
    grid = torch.stack(both, dim=-1)
    found: Tensor = functional.grid_sample(x.to(working), grid, align_corners=corners)
    unknown = down.isnan(), across.isnan()
    if any(each.any() for each in unknown):  # grid_sample reads a cell there
        masks = unknown[0][:, None, :, None] | unknown[1][:, None, None, :]
        found = found.masked_fill(masks, float("nan"))
    return found.to(x.dtype)


def on_cpu(x: Tensor) -> bool:
    """Return whether values can be read: not on a GPU, and not while a compiler traces."""
    return x.device.type == "cpu" and type(x) is Tensor


def working_type(x: Tensor) -> torch.dtype:
    """Return the type that samples of a map are computed in: at least float32."""
    return torch.promote_types(x.dtype, torch.float32)


def _near(positions: Tensor, n: int) -> Tensor:
    """Bound positions among n cells: beyond one cell outside, all samples are 0."""
    return positions.clamp(-2, n + 1)


def _dense(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Sample by two products with matrices, whose weights are rounded once."""
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
    n: int

    @staticmethod
    def at(positions: Tensor, n: int, dtype: torch.dtype) -> _Taps:
        """Return the taps of positions (B, m) among n cells."""
        near = _near(positions, n)
        whole = near.floor()
        share = near - whole
        both = torch.stack([whole, whole + 1], dim=-1)
        inside = (both >= 0) & (both < n)
        weights = torch.stack([1 - share, share], dim=-1) * inside
        return _Taps(both.nan_to_num().clamp(0, n - 1).long(), weights.to(dtype), n)

    def of(self, images: slice) -> _Taps:
        """Return the taps of some images."""
        return _Taps(self.cells[images], self.weights[images], self.n)


def _exact(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Sample maps at rows (B, H') and columns (B, W') on a CPU; weights are rounded once."""
    working = working_type(x)
    y, across = _Taps.at(rows, x.shape[2], working), _Taps.at(columns, x.shape[3], working)
    made = x.new_empty(*x.shape[:2], rows.shape[1], columns.shape[1])
    count = group_size(len(x), x.shape[1] * max(rows.shape[1], x.shape[2]) * x.shape[3])
    for start in range(0, len(x), count):
        images = slice(start, start + count)
        part = x.detach()[images].to(working).contiguous()
        made[images] = _columns(_rows(part, y.of(images)), across.of(images))
    return made


def _rows(x: Tensor, taps: _Taps) -> Tensor:
    """Map contiguous (b, C, H, W) to (b, C, m, W)."""
    batch, channels, height, width = x.shape
    count = taps.cells.shape[1]
    plane = torch.arange(batch * channels).view(batch, channels, 1)
    summed: Tensor = torch.embedding_bag(
        x.reshape(-1, width),
        (taps.cells.flatten(1)[:, None] + plane * height).reshape(-1),
        torch.arange(0, 2 * count * batch * channels, 2),
        per_sample_weights=taps.weights.flatten(1)[:, None].expand(-1, channels, -1).reshape(-1),
    )[0]
    return summed.view(batch, channels, count, width)


def _columns(x: Tensor, taps: _Taps) -> Tensor:
    """Map (b, C, h, W) to (b, C, h, m)."""
    batch, channels, height, width = x.shape
    count = taps.cells.shape[1]
    made = x.new_empty(batch, channels * height, count)
    lines = x.view(batch, channels * height, width)
    if width <= NARROW:
        matrix = taps.weights.new_zeros(batch, count, taps.n)
        torch.bmm(lines, matrix.scatter_add_(2, taps.cells, taps.weights).mT, out=made)
    else:
        for image, out, cells, weights in zip(lines, made, taps.cells, taps.weights, strict=True):
            torch.index_select(image, 1, cells[:, 0], out=out)
            out.mul_(weights[:, 0]).addcmul_(image.index_select(1, cells[:, 1]), weights[:, 1])
    return made.view(batch, channels, height, -1)
