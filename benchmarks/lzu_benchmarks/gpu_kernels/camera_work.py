"""Cases of the camera's way to the network, in FP16."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch

from lzu_benchmarks.gpu_kernels.card import Card
from lzu_benchmarks.gpu_kernels.case import (
    Case,
    Memory,
    Positions,
    Tensor,
    address,
    on_card,
    padded,
    random_knots,
    uniform,
)
from lzu_benchmarks.gpu_kernels.shapes import Shape
from lzu_export.warp.forward import forward_axis
from lzu_export.warp.tables import table_matrix, zoom_tables

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
KINDS = ("BGR or RGB", "NV12")


def camera_cases(card: Card, shapes: tuple[Shape, ...]) -> Iterator[Case]:
    """Yield the cases of packed pixels and NV12 at every shape: bilinear, and antialiased."""
    for shape in shapes:
        for kind in KINDS:
            of_pixel = 1.5 if kind == "NV12" else 3
            read = round(int(np.prod(shape.view)) * of_pixel)
            for name, make in (("", _bilinear), (", antialiased", _antialiased)):
                yield Case(
                    f"camera {kind} to FP16{name}", shape.name, "lzu_zoom_camera",
                    read + 6 * int(np.prod(shape.network_input)), 4e-3,
                    partial(make, card, shape, kind),
                )  # fmt: skip


def _bilinear(card: Card, shape: Shape, kind: str, generator: torch.Generator) -> Memory:
    """Make a case by knots, which PyTorch can sample at, too."""
    knots_y, knots_x = (random_knots(generator, n) for n in shape.lattice)
    x, y = on_card(card, knots_x), on_card(card, knots_y)
    frame = _frame(generator, shape, kind)
    made, output = _call(card, shape, kind, frame)
    made.knots_x, made.knots_y = address(x), address(y)
    made.knot_count_x, made.knot_count_y = len(x), len(y)
    rows, columns = shape.canvas
    place = Positions(forward_axis(knots_y, rows), forward_axis(knots_x, columns))
    return Memory(
        lambda _: made, [output],
        {
            "mathematics": lambda: _normalised(place.exact(_rgb(frame, kind)), shape),
            "grid_sample": lambda: _normalised(place.by_torch(_rgb(frame, kind)), shape),
        },
        lambda: [output], None, [x, y, frame],
    )  # fmt: skip


def _antialiased(card: Card, shape: Shape, kind: str, generator: torch.Generator) -> Memory:
    """Make a case by tables with wide supports."""
    knots_y, knots_x = (random_knots(generator, n) for n in shape.lattice)
    tables = zoom_tables(knots_x, knots_y, shape.view, shape.canvas, antialias=True)
    rows, columns = (on_card(card, each) for each in tables)
    frame = _frame(generator, shape, kind)
    made, output = _call(card, shape, kind, frame)
    made.table_x, made.table_y = address(columns), address(rows)

    def exact() -> list[Tensor]:
        down, across = (
            torch.as_tensor(table_matrix(table, n)).to(frame.device)
            for table, n in zip(tables, shape.view, strict=True)
        )
        return _normalised(down @ _rgb(frame, kind) @ across.T, shape)

    return Memory(
        lambda _: made, [output], {"mathematics": exact}, lambda: [output], None,
        [rows, columns, frame],
    )  # fmt: skip


def _frame(generator: torch.Generator, shape: Shape, kind: str) -> Tensor:
    """Draw the bytes of a frame."""
    height, width = shape.view
    lines = (height * 3 // 2, width) if kind == "NV12" else (height, width, 3)
    return uniform(generator, lines, 0, 255.99).to(torch.uint8)


def _call(card: Card, shape: Shape, kind: str, frame: Tensor) -> tuple[Any, Tensor]:
    """Return the launcher's arguments without a warp, and the output that they name."""
    output = torch.empty((3, *shape.network_input), dtype=torch.float16, device=card.device)
    height, width = shape.view
    planar = kind == "NV12"
    made = card.header.struct("LzuCamera")()
    made.pixels = address(frame)
    made.chroma = frame.data_ptr() + width * height if planar else None
    made.pitch, made.reduce = width * (1 if planar else 3), 1
    made.pixel_format = card.header.number("LZU_NV12" if planar else "LZU_BGR")
    made.height, made.width = height, width
    made.canvas_height, made.canvas_width = shape.canvas
    made.pad_y, made.pad_x = shape.pad
    made.mean[:], made.std[:], made.rgb_output = MEAN, STD, 1
    made.format, made.output = card.header.number("LZU_F16_LINEAR"), address(output)
    return made, output


def _normalised(canvas: Tensor, shape: Shape) -> list[Tensor]:
    """Return the network's input of canvases (1, 3, H, W) as the one output."""
    mean, std = (
        torch.tensor(each, dtype=torch.double, device=canvas.device)[:, None, None]
        for each in (MEAN, STD)
    )
    return [padded((canvas[0] - mean) / std, shape)]


def _rgb(frame: Tensor, kind: str) -> Tensor:
    """Return red, green and blue of a frame, (1, 3, H, W), in float64."""
    colours = _of_nv12(frame) if kind == "NV12" else frame.permute(2, 0, 1).flip(0)
    return colours[None].double()


def _of_nv12(frame: Tensor) -> Tensor:
    """Return red, green and blue (3, H, W) of NV12 as OpenCV does: BT.601, limited range."""
    height = len(frame) * 2 // 3
    luma = (frame[:height].int() - 16).clamp(min=0) * 1220542
    chroma = frame[height:].int().view(height // 2, -1, 2) - 128
    u, v = (
        each.repeat_interleave(2, 0).repeat_interleave(2, 1)
        for each in (chroma[..., 0], chroma[..., 1])
    )
    shares = (1673527 * v, -409993 * u - 852492 * v, 2116026 * u)
    return torch.stack([((luma + each + (1 << 19)) >> 20).clamp(0, 255) for each in shares])
