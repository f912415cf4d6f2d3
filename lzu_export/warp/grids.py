"""Non-separable warps as sampling grids: the input position of every output cell.

The geometry is the `consistent` one of `lzu_export.warp.geometry`: cell i of a level of stride s
sees canvas pixel s * i + phase, and the inverse is exact at each level. The released inverter of
non-separable warps has a sign error in its linear branch, so there is no `published` one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lzu_export.errors import LzuError
from lzu_export.warp.forward import nonseparable_forward_grid
from lzu_export.warp.geometry import Level
from lzu_export.warp.inverse import invert_tiles
from lzu_export.warp.saliency import Array
from lzu_export.warp.tables import Table, TablePair, zoom_coverage, zoom_tables

AXIS_KNOTS = ("knots_x", "knots_y")
"""Names of a separable warp's knots: (w,) of the columns and (h,) of the rows, in [-1, 1]."""
PLANE_KNOTS = ("knots",)
"""Names of a non-separable warp's knots: (h, w, 2) in [-1, 1], order x, y."""
OUTSIDE = -1000.0
"""Cell, on both axes, that a place outside the zoomed image samples, which reads zeros."""


class GridTable(NamedTuple):
    """Sampling grid in cells of the input, where 0 is the centre of the first; order x, y.

    Whole and fraction of a position are separate for precision: one float32 coordinate would be off
    by up to 6e-5 pixel at a width of 1920.
    """

    whole: Table
    """Floors of the positions, (H, W, 2) float32."""
    fraction: Table
    """Positions minus their floors, (H, W, 2) float32, 0 up to 1."""


Sampling = TablePair | GridTable
"""Sampling positions of a warp of either kind."""


def grid_table(cells: ArrayLike, size: tuple[int, int]) -> GridTable:
    """Make a table of positions (H, W, 2) in cells of an input of `size` (height, width).

    On an axis of one cell every position is that cell, as in `sampling.axis_weights`.

    Raises:
        LzuError: the positions are not (H, W, 2) finite numbers.
    """
    array = np.asarray(cells, dtype=np.float64)
    if array.ndim != 3 or array.shape[2] != 2 or not np.isfinite(array).all():
        raise LzuError(f"positions have shape {array.shape}; give (H, W, 2) finite numbers")
    array = np.where(np.array(size[::-1]) > 1, array, 0.0)
    whole = np.floor(array)
    fraction = (array - whole).astype(np.float32)
    return GridTable(whole.astype(np.float32), fraction)


def zoom_grid(knots: ArrayLike, source: tuple[int, int], canvas: tuple[int, int]) -> GridTable:
    """Compute each canvas pixel's position in a source image, by the forward warp of knots.

    Args:
        knots: (h, w, 2) in [-1, 1] over the source, order x, y.
        source: (height, width) that the warp spans.
        canvas: (height, width) of the zoomed image.
    """
    grid = nonseparable_forward_grid(knots, canvas)
    return grid_table((grid + 1) / 2 * (np.array(source[::-1]) - 1), source)


def zoom_at(
    knots: Mapping[str, ArrayLike],
    source: tuple[int, int],
    canvas: tuple[int, int],
    *,
    antialias: bool = False,
) -> Sampling:
    """Compute the zoom of a warp of either kind.

    Args:
        knots: knots of one image, by the names in `AXIS_KNOTS` or `PLANE_KNOTS`.
        source: (height, width) of the image that is sampled.
        canvas: (height, width) of the result.
        antialias: see `tables.zoom_tables`; only for separable warps.
    """
    if PLANE_KNOTS[0] in knots:
        return zoom_grid(knots[PLANE_KNOTS[0]], source, canvas)
    knots_x, knots_y = (knots[name] for name in AXIS_KNOTS)
    return zoom_tables(knots_x, knots_y, source, canvas, antialias=antialias)


def unzoom_grid(
    knots: ArrayLike, level: Level, canvas: tuple[int, int], *, scale: int = 1
) -> GridTable:
    """Compute positions in a level for its cells, or `scale` times as many, by the inverse warp.

    The inverse is exact, in float64, for every cell: LZU eqs. (6) and (8)-(17). Cells beyond the
    outermost knots, such as those over the canvas's padding, sample zeros.

    Args:
        knots: (h, w, 2) in [-1, 1], order x, y.
        level: stride and size of the level.
        canvas: (height, width) of the unpadded zoomed image.
        scale: output cells per cell of the level on each axis.
    """
    span = np.maximum(np.array(canvas[::-1]) - 1, 1)
    rows, columns = (
        level.stride / scale * np.arange(n * scale) + phase
        for n, phase in zip(level.size, level.phase, strict=True)
    )
    labels = -1 + 2 * np.stack(np.meshgrid(columns, rows), axis=-1) / span
    positions = invert_tiles(knots, labels)
    cells = ((positions + 1) / 2 * span - np.array(level.phase[::-1])) / level.stride
    return grid_table(np.where(np.isnan(positions), OUTSIDE, cells), level.size)


def grid_taps(
    table: GridTable, size: tuple[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Compute the four pixels that each position reads, and their weights, 0 outside the input.

    Args:
        table: positions of (H, W) output cells.
        size: (height, width) of the input.

    Returns:
        Indices (4, H, W) of pixels, counted row by row, and weights (4, H, W).
    """
    whole = np.stack([table.whole, table.whole + 1]).astype(np.int64)
    weight = np.stack([1 - table.fraction, table.fraction])
    limit = np.array(size[::-1]) - 1
    weight = np.where((whole >= 0) & (whole <= limit), weight, np.float32(0))
    whole = whole.clip(0, limit)
    x, y = (np.array(each) for each in ((0, 1, 0, 1), (0, 0, 1, 1)))
    index = whole[y, ..., 1] * size[1] + whole[x, ..., 0]
    return index, (weight[y, ..., 1] * weight[x, ..., 0]).astype(np.float32)


def coverage(zoom: Sampling, picture: tuple[int, int]) -> Array:
    """Compute the sum of each canvas pixel's weights, float64; see `tables.zoom_coverage`.

    The shape is (canvas rows or 1, canvas columns or 1).
    """
    if isinstance(zoom, TablePair):
        return zoom_coverage(zoom, picture)
    total = grid_taps(zoom, picture)[1].astype(np.float64).sum(axis=0)
    return np.ones((1, 1)) if np.allclose(total, 1, rtol=0, atol=1e-6) else total


def zoom_arrays(zoom: Sampling) -> dict[str, Any]:
    """Return a zoom's arrays by name, for `warp.npz`."""
    return {f"zoom_{name}": value for name, value in zoom._asdict().items()}


def stored_zoom(arrays: Mapping[str, Any]) -> Sampling:
    """Return the zoom, of either kind, that `zoom_arrays` stored."""
    kind = TablePair if "zoom_rows" in arrays else GridTable
    return kind(*(arrays[f"zoom_{name}"] for name in kind._fields))
