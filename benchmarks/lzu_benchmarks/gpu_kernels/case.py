"""What a kernel is run, checked and timed on."""

import ctypes as c
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from lzu_benchmarks.gpu_kernels.card import Card
from lzu_benchmarks.gpu_kernels.shapes import Shape
from lzu_export.warp.knots import axis_knots
from lzu_export.warp.sampling import axis_weights

Tensor = torch.Tensor
Truth = Callable[[], Any]
"""Function that computes what the outputs have to be, as one tensor per output."""


@dataclass
class Memory:
    """One set of a case's inputs and outputs on the card."""

    call: Callable[[int], c.Structure]
    """Arguments of the launcher for a tactic."""
    outputs: Sequence[Tensor]
    truths: dict[str, Truth]
    """What the outputs have to be, by where that comes from: `mathematics`, `grid_sample`."""
    values: Callable[[], Sequence[Tensor]]
    """The outputs as the truths lay them out."""
    torch: Callable[[], object] | None = None
    """The same work by PyTorch, to be timed beside the kernel."""
    keep: list[Any] = field(default_factory=list)
    """Tensors whose addresses the arguments have."""


@dataclass
class Case:
    """A kernel at a shape. Names are those of the computed bounds."""

    kernel: str
    shape: str
    launcher: str
    moved: int
    """Bytes that are read and written at least."""
    limit: float
    """Largest difference from the truths, inclusive."""
    make: Callable[[torch.Generator], Memory]
    tactics: int = 1
    computed: str = ""
    """Beginning of the names of the bounds whose sum is this case's; by default only its own."""


def address(tensor: Tensor) -> int:
    """Return the address of a contiguous tensor.

    Raises:
        AssertionError: it is not contiguous or does not start at a multiple of 16 bytes.
    """
    assert tensor.is_contiguous()
    assert tensor.data_ptr() % 16 == 0
    return int(tensor.data_ptr())


def uniform(generator: torch.Generator, shape: Sequence[int], low: float, high: float) -> Tensor:
    """Draw float32 numbers on the generator's device."""
    drawn = torch.rand(tuple(shape), generator=generator, device=generator.device)
    return low + (high - low) * drawn


def random_knots(generator: torch.Generator, count: int) -> NDArray[np.float32]:
    """Draw increasing knots of one axis from -1 to 1."""
    saliency = uniform(generator, (count,), 0.2, 1.0).cpu().numpy().astype(np.float64) ** 3
    return np.asarray(axis_knots(saliency, 6.0), np.float32)


def on_card(card: Card, values: Any, dtype: torch.dtype = torch.float32) -> Tensor:
    """Copy an array to the card."""
    return torch.as_tensor(np.asarray(values)).to(card.device, dtype).contiguous()


class Positions(NamedTuple):
    """Where a separable warp samples an image along each axis, in [-1, 1], in float64."""

    rows: Any
    columns: Any

    def exact(self, image: Tensor) -> Tensor:
        """Sample images (B, C, h, w) by the mathematics' weights, in float64."""
        down, across = (
            torch.as_tensor(axis_weights(place, n), dtype=torch.float64, device=image.device)
            for place, n in zip(self, image.shape[2:], strict=True)
        )
        return down @ image.double() @ across.T

    def grid(self, like: Tensor, dtype: torch.dtype) -> Tensor:
        """Return the grid (1, H, W, 2), order x, y, for `grid_sample`, where a tensor is."""
        rows, columns = (torch.as_tensor(each, dtype=dtype) for each in self)
        y, x = torch.meshgrid(rows, columns, indexing="ij")
        return torch.stack([x, y], dim=-1)[None].to(like.device)

    def by_torch(self, image: Tensor) -> Tensor:
        """Sample images by `grid_sample` in float64."""
        return sampled(image.double(), self.grid(image, torch.float64))


def sampled(image: Tensor, grid: Tensor) -> Tensor:
    """Sample images by PyTorch's `grid_sample`: bilinear, zeros outside, align_corners."""
    return torch.nn.functional.grid_sample(
        image, grid, mode="bilinear", padding_mode="zeros", align_corners=True
    )


def padded(canvas: Tensor, shape: Shape) -> Tensor:
    """Return a canvas (..., H, W) as the network's input: with zeros below and at the right."""
    rows, columns = shape.pad
    return torch.nn.functional.pad(canvas, (0, columns, 0, rows))
