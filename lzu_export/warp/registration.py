"""Misregistration: the distance by which zoom and unzoom together move a feature.

A head assumes that cell i of a level of stride s shows canvas pixel s * i + phase of the label
frame, which is the source shrunk without a warp. If zoom and unzoom do not undo each other, the
cell shows another place. To find it, follow the cell back: it samples the level at a position, this
lies on a pixel of the zoomed canvas, and the zoom put a pixel of the source there. The
misregistration is the source pixel that was seen minus the source pixel that the cell stands for.
Each axis of a separable warp has its own.

For the `published` geometry it amounts to tens of pixels in y: the zoom spans the frame padded to
928 rows, the canvas is padded again for the network, and the unzoom treats every level's first and
last cells as the image's borders. `consistent` has only these two, each below half a pixel of the
canvas:

- The zoomed canvas has values at whole pixels only. Between two of them the place that is seen
  moves along a straight line, while the warp may bend there, at a knot. The error is at most a
  quarter of the steepest minus the flattest spacing of canvas pixels in the source.
- If the label frame is shrunk edge on edge but the zoom samples with aligned corners, the two
  differ by (N / n - 1) / 2 source pixels at the border, for N source and n canvas pixels, and less
  inside: 1.5 pixels at 0.25x, 0.5 at 0.5x, none at 1x.
"""

from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lzu_export.errors import LzuError
from lzu_export.warp.geometry import Geometry, Level, unzoom_positions, zoom_positions
from lzu_export.warp.saliency import Array
from lzu_export.warp.sampling import to_pixels

Frame = Literal["edges", "centres"]
"""Alignment of the label frame with the source. `edges`: edge on edge, pixel x at
(x + 1/2) N / n - 1/2, as when boxes and intrinsics are multiplied by n / N. `centres`: first and
last pixel centres on each other, pixel x at x (N - 1) / (n - 1), as the zoom samples."""


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
    """Return, per axis, the places that a level's cells have seen minus those they stand for.

    The value is NaN if there is nothing to compare: the cell stands in the padding, beyond the last
    pixel of the canvas, or it has seen only places beyond it. Edges that the published code lost
    are not considered.

    Args:
        knots_x: (w,) knots along x.
        knots_y: (h,) knots along y.
        level: stride in canvas pixels and size in cells.
        canvas: (height, width) of the zoomed image before it is padded.
        source: (height, width) of the frame the labels belong to.
        geometry: geometry of the unzoom, `published` or `consistent`.
        span: (height, width) that the warp spans: the source with padding at its bottom and right.
            By default the source itself.
        frame: alignment of the label frame with the source, see `Frame`.

    Returns:
        Differences of rows (H_l,) in y and columns (W_l,) in x, in source pixels, positive
        downwards and to the right.

    Raises:
        LzuError: the frame or the geometry is unknown, or the knots are invalid.
    """
    if frame not in get_args(Frame):
        raise LzuError(f"frame is {frame!r}; choose one of {', '.join(get_args(Frame))}")
    unzooms = unzoom_positions(knots_x, knots_y, level, canvas, geometry=geometry)
    zooms = zoom_positions(knots_x, knots_y, canvas)
    rows, columns = (
        _axis(unzoom, to_pixels(zoom, whole), level.stride, phase, pixels, frame)
        for unzoom, zoom, whole, phase, pixels in zip(
            unzooms, zooms, span or source, level.phase, source, strict=True
        )
    )
    return rows, columns


def source_places(
    level: Level, canvas: tuple[int, int], source: tuple[int, int], *, frame: Frame = "edges"
) -> tuple[Array, Array]:
    """Return the source rows (H_l,) and columns (W_l,) that a level's cells stand for, in pixels.

    Cells in the canvas' padding stand for places beyond the source.
    """
    rows, columns = (
        _stood_for(level.stride * np.arange(cells) + phase, few, many, frame)
        for cells, phase, few, many in zip(level.size, level.phase, canvas, source, strict=True)
    )
    return rows, columns


def _axis(
    unzoom: Array, zoom: Array, stride: int, phase: float, source: int, frame: Frame
) -> Array:
    """Compute one axis' misregistration from the positions at which unzoom and zoom sample."""
    last = len(zoom) - 1
    label = stride * np.arange(len(unzoom)) + phase
    zoomed = stride * to_pixels(unzoom, len(unzoom)) + phase
    # Rounding must not push the border's own cells out of the canvas.
    inside = (label <= last) & (zoomed >= -1e-9) & (zoomed <= last + 1e-9)
    seen = np.interp(zoomed, np.arange(last + 1), zoom)
    return np.where(inside, seen - _stood_for(label, last + 1, source, frame), np.nan)


def _stood_for(pixels: NDArray[Any], canvas: int, source: int, frame: Frame) -> Array:
    if frame == "centres" and canvas > 1:
        return np.asarray(pixels * (source - 1) / (canvas - 1))
    return np.asarray((pixels + 0.5) * source / canvas - 0.5)
