"""Resample tables, the compact form in which a fixed separable warp is stored in a graph."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lzu_export.warp.geometry import (
    Edge,
    Geometry,
    Level,
    published_sentinel,
    unzoom_positions,
    zoom_positions,
)
from lzu_export.warp.saliency import Array
from lzu_export.warp.sampling import antialias_support, hat, hat_factor, to_pixels

Table = NDArray[np.float32]


class TablePair(NamedTuple):
    """Resample tables of a separable warp's two axes."""

    rows: Table
    cols: Table


def resample_table(
    positions: ArrayLike, n_in: int, *, antialias: bool = False, gain: ArrayLike = 1.0
) -> Table:
    """Pack sampling positions of one axis into a resample table.

    Args:
        positions: (n_out,) positions that the output cells sample, normalised to [-1, 1] over the
            input's `n_in` cells (align_corners).
        n_in: cells of the input axis.
        antialias: widen the hat to the local spacing of positions; such rows sum to 1 inside the
            input and fade outside, as in `sampling.axis_weights`. Plain bilinear otherwise.
        gain: further factor of each output cell.

    Returns:
        Table 4 x n_out, float32, with rows: floor of the position in input pixels, its fraction,
        the hat's half width in input pixels, the factor.
    """
    pixels = to_pixels(positions, n_in)
    support = antialias_support(positions, n_in) if antialias else np.ones(len(pixels))
    factor = np.asarray(gain, np.float64) * hat_factor(pixels, n_in, support)
    whole = np.floor(pixels)
    return np.stack([whole, pixels - whole, support, factor]).astype(np.float32)


def table_pixels(table: Table) -> Array:
    """Return the sampling positions of a table in input pixels, float64."""
    return np.asarray(table[0].astype(np.float64) + table[1].astype(np.float64))


def table_matrix(table: Table, n_in: int) -> Array:
    """Return the n_out x n_in float64 matrix that a resample table represents."""
    support, gain = table[2].astype(np.float64), table[3].astype(np.float64)
    return np.asarray(gain[:, None] * hat(table_pixels(table), n_in, support))


def is_bilinear(table: Table) -> bool:
    """Whether the table is plain bilinear sampling, which GridSample can express."""
    return bool(np.all(table[2] == 1) and np.all(table[3] == 1))


def zoom_tables(
    knots_x: ArrayLike,
    knots_y: ArrayLike,
    source: tuple[int, int],
    canvas: tuple[int, int],
    *,
    antialias: bool = False,
) -> TablePair:
    """Make the tables that sample a source image (height, width) at the forward warp.

    They can also sample an image that ends earlier at the bottom or right, whose missing pixels
    count as zeros.
    """
    rows, cols = zoom_positions(knots_x, knots_y, canvas)
    return TablePair(
        resample_table(rows, source[0], antialias=antialias),
        resample_table(cols, source[1], antialias=antialias),
    )


def zoom_coverage(zoom: TablePair, picture: tuple[int, int]) -> Array:
    """Compute the sum of each canvas pixel's weights, float64.

    If the warp spans more than the picture (height, width), pixels beyond it count as zeros, and
    the sum is less than 1. The shape is (canvas rows or 1, canvas columns or 1): an axis on which
    all sums are 1 has length 1.
    """
    axes = []
    for table, n_in in zip(zoom, picture, strict=True):
        total = table_matrix(table, n_in).sum(axis=1)
        axes.append(np.ones(1) if np.allclose(total, 1, rtol=0, atol=1e-6) else total)
    return np.outer(*axes)


def unzoom_tables(
    knots_x: ArrayLike,
    knots_y: ArrayLike,
    level: Level,
    canvas: tuple[int, int],
    *,
    geometry: Geometry,
    unfilled: Sequence[Edge],
    scale: int = 1,
) -> list[TablePair]:
    """Make the tables whose samples add up to the unzoomed level, `scale` times finer than it.

    There is one pair, except for `unfilled` edges of the `published` geometry. If the sentinel lies
    inside the map (see `geometry.published_sentinel`), the cells of such an edge copy one interior
    feature, which needs a pair of its own; if it lies outside, they are zeros.
    """
    rows, cols = unzoom_positions(knots_x, knots_y, level, canvas, geometry=geometry, scale=scale)
    height, width = level.size
    out_height, out_width = len(rows), len(cols)
    gain_y, gain_x = np.ones(out_height), np.ones(out_width)
    if "top" in unfilled:
        gain_y[0] = 0
    if "bottom" in unfilled:
        gain_y[-1] = 0
    if "left" in unfilled:
        gain_x[0] = 0
    if "right" in unfilled:
        gain_x[-1] = 0
    main = TablePair(
        resample_table(rows, height, gain=gain_y), resample_table(cols, width, gain=gain_x)
    )
    pairs = [main]
    sentinel_x, sentinel_y = published_sentinel(
        (out_height, out_width), (np.asarray(knots_y).size, np.asarray(knots_x).size)
    )
    constant_y, constant_x = np.full(out_height, sentinel_y), np.full(out_width, sentinel_x)

    def strip(rows_gain: Array, cols_gain: Array) -> None:
        if rows_gain.any() and cols_gain.any():
            pairs.append(
                TablePair(
                    resample_table(constant_y, height, gain=rows_gain),
                    resample_table(constant_x, width, gain=cols_gain),
                )
            )

    inside = _touches(sentinel_x, width) and _touches(sentinel_y, height)
    if inside:
        strip(1 - gain_y, np.ones(out_width))  # whole rows, with the corners
        strip(gain_y, 1 - gain_x)  # the rest of the columns
    return pairs


def label_tables(
    cells: tuple[int, int],
    step: float,
    canvas: tuple[int, int],
    view: tuple[int, int],
    *,
    canvas_step: tuple[float, float],
    upsampling: Literal["half-pixel", "in-phase"],
) -> TablePair:
    """Make the tables that resize a map over the padded canvas to the pixels of the view.

    Args:
        cells: (height, width) of the map.
        step: canvas pixels per cell.
        canvas: (height, width) of the unpadded canvas.
        view: (height, width) of the part of the frame that the canvas shows, in frame pixels.
        canvas_step: (y, x) pixels of the frame per canvas pixel, for `in-phase`.
        upsampling: `in-phase` has cell i on canvas pixel step * i, and pixel 0 of view and canvas
            at one place. `half-pixel` has cells, canvas and view edge on edge, as
            align_corners=False. Beyond the outermost cells' centres, their values continue.
    """
    tables = []
    for count, pixels, shown, ratio in zip(cells, canvas, view, canvas_step, strict=True):
        pixel = np.arange(shown, dtype=np.float64)
        if upsampling == "in-phase":
            cell = pixel / ratio / step
        else:
            cell = (pixel + 0.5) * pixels / shown / step - 0.5
        cell = cell.clip(0, count - 1)
        centred = -1 + 2 * cell / (count - 1) if count > 1 else np.zeros(shown)
        tables.append(resample_table(centred, count))
    return TablePair(*tables)


def _touches(position: float, cells: int) -> bool:
    """Whether a bilinear sample at `position` in [-1, 1] units reads any of the cells."""
    pixel = (position + 1) / 2 * (cells - 1)
    return -1 < pixel < cells
