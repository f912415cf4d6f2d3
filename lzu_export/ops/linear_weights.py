"""Bilinear sampling at computed positions, by two products with matrices of linear weights."""

import torch
from torch import Tensor


def hat_matrix(positions: Tensor, n: int) -> Tensor:
    """Return (..., m, n) weights max(0, 1 - |p - k|) of positions (..., m) in cells.

    Samples are bilinear between cells 0 .. n - 1 with zeros outside.
    """
    cells = torch.arange(n, dtype=positions.dtype, device=positions.device)
    return (1 - (positions[..., None] - cells).abs()).clamp(min=0)


def resample(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Sample `x` (B, C, H, W) at rows (B, H') and columns (B, W'), both in its cells.

    Returns:
        (B, C, H', W') in the dtype of `x`; weights have the positions' precision, rounded once.
    """
    a_y = hat_matrix(rows, x.shape[2]).to(x.dtype)[:, None]
    a_x = hat_matrix(columns, x.shape[3]).to(x.dtype)[:, None]
    return a_y @ (x @ a_x.transpose(-1, -2))
