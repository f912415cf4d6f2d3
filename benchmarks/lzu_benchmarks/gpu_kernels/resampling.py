"""Cases of the unzoom and the zoom."""

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn.functional import pad

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
    sampled,
    uniform,
)
from lzu_benchmarks.gpu_kernels.shapes import Shape
from lzu_export.warp.forward import forward_axis
from lzu_export.warp.inverse import invert_axis


class Layout(NamedTuple):
    """A memory format of feature levels."""

    name: str
    number: str
    """Name of its number in the header."""
    dtype: torch.dtype
    lanes: int
    """Channels that lie together; 0 for a plane a channel."""
    last: bool
    """Whether all channels of a cell lie together."""
    limit: float


LAYOUTS = (
    Layout("FP32 linear", "LZU_F32_LINEAR", torch.float32, 0, False, 2e-5),
    Layout("FP16 linear", "LZU_F16_LINEAR", torch.float16, 0, False, 2e-3),
    Layout("FP16 kHWC8", "LZU_F16_HWC8", torch.float16, 8, True, 2e-3),
    Layout("INT8 linear", "LZU_I8_LINEAR", torch.int8, 0, False, 0.51),
    Layout("INT8 kCHW4", "LZU_I8_CHW4", torch.int8, 4, False, 0.51),
    Layout("INT8 kCHW32", "LZU_I8_CHW32", torch.int8, 32, False, 0.51),
)
"""INT8 rounds to whole steps: half a step, and what the float32 positions add at most."""


def packed(tensor: Tensor, layout: Layout) -> Tensor:
    """Lay a tensor (B, C, H, W) out in a memory format; padded lanes are zeros."""
    if layout.lanes == 0:
        return tensor.contiguous()
    batch, channels, height, width = tensor.shape
    groups = -(-channels // layout.lanes)
    full = pad(tensor, (0, 0, 0, 0, 0, groups * layout.lanes - channels))
    if layout.last:
        return full.permute(0, 2, 3, 1).contiguous()
    split = full.view(batch, groups, layout.lanes, height, width)
    return split.permute(0, 1, 3, 4, 2).contiguous()


def unpacked(memory: Tensor, layout: Layout, channels: int) -> Tensor:
    """Return the tensor (B, C, H, W) that `packed` laid out."""
    if layout.lanes == 0:
        return memory
    if layout.last:
        return memory.permute(0, 3, 1, 2)[:, :channels]
    batch, groups, height, width, lanes = memory.shape
    return memory.permute(0, 1, 4, 2, 3).reshape(batch, groups * lanes, height, width)[:, :channels]


def resampling_cases(card: Card, shapes: tuple[Shape, ...]) -> Iterator[Case]:
    """Yield the cases of every format at every shape; of the zoom, FP32 and FP16."""
    for shape in shapes:
        for layout in LAYOUTS:
            yield _unzoom_case(card, shape, layout)
        for layout in LAYOUTS[:2]:
            yield _zoom_case(card, shape, layout)


def _unzoom_case(card: Card, shape: Shape, layout: Layout) -> Case:
    lanes = max(layout.lanes, 1)
    channels = -(-shape.channels // lanes) * lanes
    cells = sum(height * width for _, height, width in shape.levels)
    return Case(
        f"unzoom {layout.name}", shape.name, "lzu_unzoom",
        2 * cells * channels * layout.dtype.itemsize, layout.limit,
        partial(_unzoom, card, shape, layout),
        tactics=card.number("lzu_unzoom_tactics", card.header.number(layout.number)),
    )  # fmt: skip


def _axis(cells: int, stride: int, pixels: int) -> tuple[float, float]:
    """Return scale and offset of a level's cells, as float32 numbers."""
    return (float(np.float32(2 * stride / (pixels - 1))) if cells > 1 else 0.0), -1.0


def _positions(knots: Any, cells: int, axis: tuple[float, float]) -> Any:
    """Return the positions in [-1, 1] of the level at which its cells are sampled, in float64."""
    scale, offset = axis
    if scale == 0:
        return np.linspace(-1, 1, cells) if cells > 1 else np.zeros(1)
    pixel = (invert_axis(knots, scale * np.arange(cells) + offset) - offset) / scale
    return 2 * pixel / (cells - 1) - 1


def _values(generator: torch.Generator, size: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    if dtype is torch.int8:
        return uniform(generator, size, -127.5, 127.5).round().clamp(-127, 127).to(dtype)
    return uniform(generator, size, -1, 1).to(dtype)


def _unzoom(card: Card, shape: Shape, layout: Layout, generator: torch.Generator) -> Memory:
    knots_y, knots_x = (random_knots(generator, n) for n in shape.lattice)
    x, y = on_card(card, knots_x), on_card(card, knots_y)
    tensors, inputs, outputs, axes, places = [], [], [], [], []
    for stride, height, width in shape.levels:
        tensor = _values(generator, (1, shape.channels, height, width), layout.dtype)
        tensors.append(tensor)
        inputs.append(packed(tensor, layout))
        outputs.append(torch.empty_like(inputs[-1]))
        down = _axis(height, stride, shape.canvas[0])
        across = _axis(width, stride, shape.canvas[1])
        axes.append((*down, *across))
        rows, columns = _positions(knots_y, height, down), _positions(knots_x, width, across)
        places.append(Positions(rows, columns))

    def call(tactic: int) -> Any:
        made = card.header.struct("LzuUnzoom")()
        for i, tensor in enumerate(tensors):
            made.levels[i] = (
                address(inputs[i]), address(outputs[i]), *tensor.shape[1:], 1, *axes[i]
            )  # fmt: skip
        made.level_count, made.batch, made.tactic = len(tensors), 1, tactic
        made.format = card.header.number(layout.number)
        made.knots_x, made.knots_y = address(x), address(y)
        made.knot_count_x, made.knot_count_y, made.shared_knots = len(x), len(y), 0
        return made

    grids = [each.grid(x, layout.dtype) for each in places] if _floats(layout) else []
    both = list(zip(places, tensors, strict=True))
    return Memory(
        call, outputs,
        {
            "mathematics": lambda: [place.exact(tensor) for place, tensor in both],
            "grid_sample": lambda: [place.by_torch(tensor) for place, tensor in both],
        },
        lambda: [unpacked(each, layout, shape.channels) for each in outputs],
        (lambda: [sampled(*each) for each in zip(tensors, grids, strict=True)]) if grids else None,
        [x, y, inputs, grids],
    )  # fmt: skip


def _floats(layout: Layout) -> bool:
    """Whether PyTorch's `grid_sample` takes the format on a card."""
    return layout.lanes == 0 and layout.dtype is not torch.int8


def _zoom_case(card: Card, shape: Shape, layout: Layout) -> Case:
    area = np.prod(shape.view) + np.prod(shape.network_input)
    return Case(
        f"zoom {layout.name.split()[0]}", shape.name, "lzu_zoom",
        int(3 * area) * layout.dtype.itemsize, layout.limit * 3,
        partial(_zoom, card, shape, layout),
        tactics=card.number("lzu_zoom_tactics", card.header.number(layout.number)),
    )  # fmt: skip


def _zoom(card: Card, shape: Shape, layout: Layout, generator: torch.Generator) -> Memory:
    knots_y, knots_x = (random_knots(generator, n) for n in shape.lattice)
    x, y = on_card(card, knots_x), on_card(card, knots_y)
    image = _values(generator, (1, 3, *shape.view), layout.dtype)
    output = torch.empty((1, 3, *shape.network_input), dtype=layout.dtype, device=card.device)
    rows, columns = shape.canvas
    place = Positions(forward_axis(knots_y, rows), forward_axis(knots_x, columns))

    def call(tactic: int) -> Any:
        return card.header.struct("LzuZoom")(
            address(image), address(output), 1, 3, *shape.view, *shape.canvas, *shape.pad,
            card.header.number(layout.number), tactic, address(x), address(y), len(x), len(y), 0,
        )  # fmt: skip

    grid = place.grid(x, layout.dtype)
    return Memory(
        call, [output],
        {
            "mathematics": lambda: [padded(place.exact(image), shape)],
            "grid_sample": lambda: [padded(place.by_torch(image), shape)],
        },
        lambda: [output], lambda: sampled(image, grid), [x, y, image, grid],
    )  # fmt: skip
