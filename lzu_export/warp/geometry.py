"""Coordinates at which the zoom samples the source and the unzoom samples each level.

The canvas is the zoomed image before it is padded (bottom and right, with zeros) to a multiple of
32. Cell i of a level of stride s sees the padded canvas around pixel s * i + phase; the phase of
the built-in networks is 0. Two geometries of the unzoom exist:

- `published` is the geometry of the released LZU models: the inverse warp is evaluated as if each
  level's first and last cells lay on the image's borders. Padding and cell centres are ignored, so
  zoom and unzoom do not compose to the identity. Checkpoints trained with it need it.
- `consistent` uses true pixel coordinates: zoom and unzoom compose to the identity at every level.

An axis of a single pixel or cell has one position, 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from lzu_export.errors import LzuError
from lzu_export.warp.forward import forward_axis, pixel_centres
from lzu_export.warp.inverse import invert_axis
from lzu_export.warp.saliency import Array

Geometry = Literal["published", "consistent"]
Edge = Literal["top", "bottom", "left", "right"]


@dataclass(frozen=True)
class Level:
    """Feature level, with its stride in canvas pixels and its size (height, width) in cells."""

    stride: int
    size: tuple[int, int]
    phase: tuple[float, float] = (0.0, 0.0)
    """Canvas pixel (y, x) on which the receptive field of cell (0, 0) is centred; integers are
    centres of pixels. 0 for a ResNet, (stride - 1) / 2 for a network that cuts patches. The
    geometry `published` does not use it."""


def padded_size(canvas: tuple[int, int], multiple: int = 32) -> tuple[int, int]:
    """Return the canvas size (height, width) rounded up to a multiple."""
    if multiple < 1 or min(canvas) < 1:
        raise LzuError(
            f"canvas {tuple(canvas)} cannot be padded to {multiple}; give positive sizes"
        )
    height, width = (-(-int(n) // multiple) * multiple for n in canvas)
    return height, width


def level_sizes(canvas: tuple[int, int], strides: Sequence[int], pad_to: int = 32) -> list[Level]:
    """Return the levels of a network fed the canvas padded to a multiple of `pad_to`.

    Strided convolutions round sizes up, so a level has ceil(padded / stride) cells.
    """
    height, width = padded_size(canvas, pad_to)
    if not strides or min(strides) < 1:
        raise LzuError(f"strides are {list(strides)}; give positive whole numbers")
    return [Level(int(s), (-(-height // s), -(-width // s))) for s in strides]


def zoom_positions(
    knots_x: ArrayLike, knots_y: ArrayLike, canvas: tuple[int, int]
) -> tuple[Array, Array]:
    """Return the source positions of canvas rows (H_c,) and columns (W_c,), in [-1, 1]."""
    return forward_axis(knots_y, canvas[0]), forward_axis(knots_x, canvas[1])


def unzoom_positions(
    knots_x: ArrayLike,
    knots_y: ArrayLike,
    level: Level,
    canvas: tuple[int, int],
    *,
    geometry: Geometry,
    scale: int = 1,
) -> tuple[Array, Array]:
    """Return the positions in a level of output rows and columns, in [-1, 1] over its own cells.

    The output has `scale` cells per cell of the level on each axis: (scale H_l,), (scale W_l,).

    Positions outside [-1, 1] are to be sampled as zeros. Neither geometry has unfilled edges here;
    `tables.unzoom_tables` adds those of the released code.

    Args:
        knots_x: (w,) knots along x.
        knots_y: (h,) knots along y.
        level: stride and size of the level.
        canvas: (height, width) of the unpadded zoomed image; `published` does not use it.
        geometry: `published` or `consistent`, see the module's docstring.
        scale: output cells per cell of the level on each axis.

    Raises:
        LzuError: the geometry is unknown or the knots are invalid.

    Source: LZU eqs. (6) and (7) at the resolution of the output.
    """
    if geometry not in get_args(Geometry):
        raise LzuError(f"geometry is {geometry!r}; choose one of {', '.join(get_args(Geometry))}")
    axes = zip((knots_y, knots_x), level.size, canvas, level.phase, strict=True)
    if geometry == "published":
        rows, columns = (_published_axis(knots, cells * scale) for knots, cells, *_ in axes)
    else:
        rows, columns = (
            _consistent_axis(knots, cells, level.stride, phase, pixels, scale)
            for knots, cells, pixels, phase in axes
        )
    return rows, columns


def _published_axis(knots: ArrayLike, cells: int) -> Array:
    return invert_axis(knots, pixel_centres(cells)) if cells > 1 else np.zeros(1)


def _consistent_axis(
    knots: ArrayLike, cells: int, stride: int, phase: float, pixels: int, scale: int
) -> Array:
    if cells == 1:
        return np.zeros(scale)
    if pixels == 1:
        return np.linspace(-1.0, 1.0, cells * scale)
    pixel = stride * np.arange(cells * scale) / scale + phase
    zoomed_pixel = (
        (invert_axis(knots, -1.0 + 2.0 * pixel / (pixels - 1)) + 1.0) / 2.0 * (pixels - 1)
    )
    return np.asarray(-1.0 + 2.0 * (zoomed_pixel - phase) / stride / (cells - 1))


def published_sentinel(size: tuple[int, int], lattice: tuple[int, int]) -> tuple[float, float]:
    """Return the position (x, y) that the released inverter leaves in cells it does not fill.

    It is meant to lie outside, at 2 max(H_l, W_l) in lattice cells. But at coarse levels, where
    max(H_l, W_l) is at most half of h - 1 and of w - 1, it lies inside [-1, 1], so that those cells
    copy one unrelated feature.

    Args:
        size: (H_l, W_l) of the level.
        lattice: (h, w) of the knots.
    """
    outside = 2.0 * max(size)
    return outside / (lattice[1] - 1) * 2.0 - 1.0, outside / (lattice[0] - 1) * 2.0 - 1.0


def canvas_to_source(canvas: tuple[int, int], source: tuple[int, int]) -> tuple[float, float]:
    """Return source pixels per canvas pixel, between centres, as (scale_y, scale_x).

    With align_corners the first and last pixels of canvas and source coincide, so a pixel index is
    multiplied by (N - 1) / (n - 1). An axis of one canvas pixel has scale 0.
    """
    scale_y, scale_x = (
        (many - 1) / (few - 1) if few > 1 else 0.0 for few, many in zip(canvas, source, strict=True)
    )
    return scale_y, scale_x
