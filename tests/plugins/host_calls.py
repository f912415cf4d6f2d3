"""The operators' kernels, built for the host, as functions of arrays."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from host_kernels import (
    F32,
    Array,
    BoxKnots,
    InvertWarp,
    Unzoom,
    Zoom,
    address,
    aligned,
    packed,
    run,
    unpacked,
)

Size = tuple[int, int]
"""Height and width."""

LATTICE = (31, 51)
SOURCE = (1200, 1920)


def box_knots(
    boxes: Any,
    valid: Any = None,
    *,
    mixed: float = 1.0,
    fixed: Any = None,
    lattice: Size = LATTICE,
    source: Size = SOURCE,
    a: float = 1.0,
    b: float = 64.0,
    fwhm: float = 10,
) -> tuple[Array, Array]:
    """Run the kernel on B x N x 4 boxes; return knots_x (B, w) and knots_y (B, h)."""
    given_boxes = np.asarray(boxes, np.float32)
    batch, count = given_boxes.shape[:2]
    memory = aligned((batch, max(count, 1), 4), np.float32)
    memory[:, :count] = given_boxes
    flags = aligned((batch, max(count, 1)), np.float32)
    flags[:, :count] = 1 if valid is None else valid
    if fixed is None:
        fixed = [np.full(n, 1 / n) for n in (lattice[1], lattice[0])]
    fixed_x, fixed_y = (np.asarray(f, np.float32) for f in fixed)
    numbers = np.array([a], np.float32), np.array([b], np.float32)
    x, y = (aligned((batch, n), np.float32, 77) for n in (lattice[1], lattice[0]))
    call = BoxKnots(
        address(memory), address(flags), numbers[0].ctypes.data, numbers[1].ctypes.data,
        fixed_x.ctypes.data, fixed_y.ctypes.data, address(x), address(y),
        batch, count, *lattice, *source, fwhm, mixed, 1.0,
    )  # fmt: skip
    assert run("lzu_box_knots", call) == 0
    return x, y


def spacing(n: int) -> tuple[float, float]:
    """Return scale and offset of n pixel centres from -1 to 1."""
    return (2 / (n - 1), -1.0) if n > 1 else (0.0, 0.0)


def invert(
    knots: Array,
    size: Size,
    outside: float = 9.0,
    tactic: int = 0,
    affine: tuple[float, ...] | None = None,
    timing: int = 0,
) -> Array:
    """Run the kernel on B x h x w x 2 knots; return the B x H x W x 2 grid."""
    memory = aligned(knots.shape, np.float32)
    memory[...] = knots
    grid = aligned((len(knots), *size, 2), np.float32, 77)
    call = InvertWarp(
        address(memory), address(grid), len(knots), *knots.shape[1:3], *size,
        *(affine or (*spacing(size[0]), *spacing(size[1]))), outside, tactic, timing,
    )  # fmt: skip
    assert run("lzu_invert_warp", call) == 0
    return grid


def unzoom(
    levels: Sequence[Array],
    knots_x: Any,
    knots_y: Any,
    axes: Any,
    layout: int = F32,
    tactic: int = 0,
    upscale: int = 1,
    timing: int = 0,
) -> list[tuple[Array, Array]]:
    """Run the kernel on B x C x H x W tensors; return tensors and padded lanes per level.

    Knots are B x n, or n values for one warp of the whole batch. `axes` has scale and offset of y
    and of x for each level.
    """
    call = Unzoom()
    kept = []
    for i, tensor in enumerate(levels):
        batch, channels, height, width = tensor.shape
        memory = packed(tensor, layout)
        big = np.zeros((batch, channels, height * upscale, width * upscale), tensor.dtype)
        out = packed(big, layout)
        out[...] = 77  # every lane must be written
        (sy, oy), (sx, ox) = axes[i]
        call.levels[i] = (
            address(memory), address(out), channels, height, width, upscale, sy, oy, sx, ox,
        )  # fmt: skip
        kept.append((memory, out))
    x, y = (np.ascontiguousarray(knots, np.float32) for knots in (knots_x, knots_y))
    call.level_count, call.batch, call.format, call.tactic = len(levels), batch, layout, tactic
    call.knots_x, call.knots_y = x.ctypes.data, y.ctypes.data
    call.knot_count_x, call.knot_count_y = x.shape[-1], y.shape[-1]
    call.shared_knots, call.timing = int(x.ndim == 1), timing
    assert run("lzu_unzoom", call) == 0
    return [
        unpacked(out, layout, tensor.shape[1])
        for (_, out), tensor in zip(kept, levels, strict=True)
    ]


def zoom(
    image: Array,
    knots_x: Any,
    knots_y: Any,
    canvas: Size,
    pad: Size,
    layout: int = F32,
    tactic: int = 0,
    timing: int = 0,
) -> Array:
    """Run the kernel on a B x C x H x W tensor; return the memory it wrote."""
    batch, channels, height, width = image.shape
    memory = packed(image, layout)
    shape = (batch, channels, canvas[0] + pad[0], canvas[1] + pad[1])
    out = aligned(shape, memory.dtype, 77)
    x, y = (np.ascontiguousarray(knots, np.float32) for knots in (knots_x, knots_y))
    call = Zoom(
        address(memory), address(out), batch, channels, height, width, *canvas, *pad, layout,
        tactic, x.ctypes.data, y.ctypes.data, x.shape[-1], y.shape[-1], 0, timing,
    )  # fmt: skip
    assert run("lzu_zoom", call) == 0
    return out
