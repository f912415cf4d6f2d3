"""Sampling grids by definition, which tables and lowerings are compared with."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from lzu_export.warp.forward import forward_axis
from lzu_export.warp.geometry import Edge, Level, published_sentinel, unzoom_positions
from lzu_export.warp.saliency import Array


def forward_grid(knots_x: ArrayLike, knots_y: ArrayLike, size: tuple[int, int]) -> Array:
    """Return the separable sampling grid (H, W, 2), order x, y, for a canvas of `size` (H, W)."""
    columns, rows = forward_axis(knots_x, size[1]), forward_axis(knots_y, size[0])
    return np.stack(np.meshgrid(columns, rows), axis=-1)


def published_inverse_grid(
    knots_x: ArrayLike,
    knots_y: ArrayLike,
    level: Level,
    *,
    unfilled: Sequence[Edge],
) -> Array:
    """Return the sampling grid (H_l, W_l, 2), order x, y, of the released unzoom.

    The released inverter loses an edge if float32 rounding puts its end knot inside the image. On
    a CPU, the released nuScenes warp loses the bottom row of every level. Here the lost edges are
    an argument and never depend on this machine's rounding; their cells hold the sentinel.

    Args:
        knots_x: (w,) knots along x.
        knots_y: (h,) knots along y.
        level: stride and size of the level; only the size is used.
        unfilled: lost edges, out of `top`, `bottom`, `left`, `right`.
    """
    lattice = (np.size(knots_y), np.size(knots_x))
    rows, columns = unzoom_positions(knots_x, knots_y, level, (1, 1), geometry="published")
    grid = np.stack(np.meshgrid(columns, rows), axis=-1)
    sentinel = published_sentinel(level.size, lattice)
    row, column = {"top": 0, "bottom": -1}, {"left": 0, "right": -1}
    for edge in unfilled:
        cells = grid[row[edge], :] if edge in row else grid[:, column[edge]]
        cells[:] = sentinel
    return grid
