"""Misregistration: how far zoom and unzoom together move a feature.

A head takes cell i of a level of stride s for what lies at canvas pixel s * i of the label frame,
the source shrunk without a warp. What the cell really holds was seen elsewhere if zoom and unzoom
do not undo each other: followed back, the cell samples the level at a position, that lies on a
pixel of the zoomed canvas, and there the zoom put a pixel of the source. The difference of the two
source pixels, seen minus stood for, is the misregistration; the axes of a separable warp have one
each.

For the `published` geometry it comes to tens of pixels in y: the zoom spans the frame padded to 928
rows, the canvas is padded again for the network, and the unzoom takes every level's first and last
cells for the image's borders. `consistent` has none but these two, each below half a pixel of the
canvas:

- The zoomed canvas has values at whole pixels only. Between two of them what is seen moves along a
  straight line, while the warp may bend there, at a knot: at most a quarter of the steepest minus
  the flattest spacing of canvas pixels in the source.
- Where the label frame is shrunk edge on edge but the zoom samples with aligned corners, the two
  differ by (N / n - 1) / 2 source pixels at the border, for N source and n canvas pixels, and less
  inside: 1.5 pixels at 0.25x, 0.5 at 0.5x, none at 1x.
"""

from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lzu_export.errors import LzuError
from lzu_export.warp.geometry import Geometry, Level, unzoom_positions, zoom_positions
from lzu_export.warp.saliency import Array
from lzu_export.warp.sampling import to_pixels

Frame = Literal["edges", "centres"]
"""How the label frame lies on the source: edge on edge, pixel x at (x + 1/2) N / n - 1/2, as when
boxes and intrinsics are multiplied by n / N; or first and last pixel centres on each other, pixel x
at x (N - 1) / (n - 1), as the zoom samples."""


def misregistration(
    knots_x: ArrayLike,
    knots_y: ArrayLike,
    level: Level,
    canvas: tuple[int, int],
    source: tuple[int, int],
    *,
    geometry: Geometry,
    span: tuple[int, int] | None = None,
    frame: Frame = "edges",
) -> tuple[Array, Array]:
    """Return, per axis, what a level's cells have seen minus what they stand for.

    NaN where there is nothing to compare: the cell stands beyond the last pixel of the canvas, in
    its padding, or it has seen only what lies beyond it. Edges that the published code lost are not
    considered.

    Args:
        knots_x: (w,) knots along x.
        knots_y: (h,) knots along y.
        level: stride in canvas pixels and size in cells.
        canvas: (height, width) of the zoomed image before it is padded.
        source: (height, width) of the frame the labels belong to.
        geometry: of the unzoom, `published` or `consistent`.
        span: (height, width) of what the warp spans; the source and, at its bottom and right,
            padding. The source itself if not given.
        frame: how the label frame lies on the source.

    Returns:
        Rows (H_l,) in y and columns (W_l,) in x, source pixels, positive downwards and to the
        right.

    Raises:
        LzuError: the frame or the geometry is unknown, or the knots are invalid.
    """
    if frame not in get_args(Frame):
        raise LzuError(f"frame is {frame!r}; choose one of {', '.join(get_args(Frame))}")
    unzooms = unzoom_positions(knots_x, knots_y, level, canvas, geometry=geometry)
    zooms = zoom_positions(knots_x, knots_y, canvas)
    rows, columns = (
        _axis(unzoom, to_pixels(zoom, whole), level.stride, pixels, frame)
        for unzoom, zoom, whole, pixels in zip(unzooms, zooms, span or source, source, strict=True)
    )
    return rows, columns


def source_places(
    level: Level, canvas: tuple[int, int], source: tuple[int, int], *, frame: Frame = "edges"
) -> tuple[Array, Array]:
    """Return the source rows (H_l,) and columns (W_l,) that a level's cells stand for, in pixels.

    Cells in the canvas' padding stand for places beyond the source.
    """
    rows, columns = (
        _stood_for(level.stride * np.arange(cells), few, many, frame)
        for cells, few, many in zip(level.size, canvas, source, strict=True)
    )
    return rows, columns


def _axis(unzoom: Array, zoom: Array, stride: int, source: int, frame: Frame) -> Array:
    """One axis: where cells sample the level, and the source pixels that canvas pixels sample."""
    last = len(zoom) - 1
    label = stride * np.arange(len(unzoom))
    zoomed = stride * to_pixels(unzoom, len(unzoom))
    # Rounding must not push the border's own cells out of the canvas.
    inside = (label <= last) & (zoomed >= -1e-9) & (zoomed <= last + 1e-9)
    seen = np.interp(zoomed, np.arange(last + 1), zoom)
    return np.where(inside, seen - _stood_for(label, last + 1, source, frame), np.nan)


def _stood_for(pixels: NDArray[np.integer], canvas: int, source: int, frame: Frame) -> Array:
    if frame == "centres" and canvas > 1:
        return np.asarray(pixels * (source - 1) / (canvas - 1))
    return np.asarray((pixels + 0.5) * source / canvas - 0.5)
