"""Warp that a module computes from each image, trained together with the network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from lzu_export.errors import LzuError
from lzu_export.models.adaptive import AdaptiveUnzoom
from lzu_export.models.grid_warp import GridUnzoom, GridZoom
from lzu_export.ops.torch_ops import run
from lzu_export.warp.fixed_warp import FixedWarp, canvas_size, checked_size
from lzu_export.warp.geometry import Level
from lzu_export.warp.grids import AXIS_KNOTS, PLANE_KNOTS
from lzu_export.warp.saliency import Array
from lzu_export.wrapping.calls import image_of

SUBMODULE = "lzu_warp"
"""Name under which a wrapped network holds the module that computes its warp."""

Knots = tuple[Tensor, ...]
"""Knots of each image: (B, w) along x and (B, h) along y, or (B, h, w, 2) on the plane."""

Made = TypeVar("Made", bound=nn.Module)


@dataclass(frozen=True, eq=False)
class LearnedWarp:
    """Warp whose knots a module of the user's own computes from each image.

    The module takes images (B, C, source), normalised as the network's, and returns the knots in
    [-1, 1] (align_corners): a tuple of `knots_x` (B, w) and `knots_y` (B, h) of a separable warp,
    or one tensor (B, h, w, 2), order x, y, of a warp on the plane. Knots should increase along
    their axis. Their gradients reach the module's parameters, which `wrap` makes part of the
    network, as `lzu_warp`.
    """

    module: nn.Module
    """Module from images to knots."""
    source: tuple[int, int]
    """Size (height, width) in pixels of the frames."""
    canvas: tuple[int, int]
    """Size (height, width) in pixels of the zoomed image, before it is padded."""

    @classmethod
    def of(
        cls,
        module: nn.Module,
        source: Sequence[int],
        *,
        scale: float | None = None,
        canvas: Sequence[int] | None = None,
    ) -> LearnedWarp:
        """Make the warp of a module.

        Args:
            module: module from images (B, C, source) to knots.
            source: (height, width) of the frames.
            scale: canvas size over source size; give this or `canvas`.
            canvas: (height, width) of the canvas.

        Raises:
            LzuError: the module is none, or a size is wrong.
        """
        if not isinstance(module, nn.Module):
            raise LzuError(
                f"the module of a learned warp is {type(module).__name__}; give a torch.nn.Module "
                "from images to knots"
            )
        return cls(module, checked_size(source, "source"), canvas_size(source, scale, canvas))

    window: ClassVar[None] = None
    """None: the canvas shows the whole frame."""
    is_identity: ClassVar[bool] = False
    """False: the knots are known only when an image is."""

    @property
    def shown(self) -> tuple[int, int, int, int]:
        """Window x, y, width, height in pixels of the frame that the canvas shows: all of it."""
        return 0, 0, self.source[1], self.source[0]

    def example_knots(self, channels: int) -> Knots:
        """Return the knots of an image of zeros.

        Args:
            channels: number of channels of the image.
        """
        return self._knots_of(torch.zeros(1, channels, *self.source))

    def _knots_of(self, image: Tensor) -> Knots:
        """Return the knots of an image (1, C, source), computed in eval mode."""
        training = self.module.training
        try:
            with torch.no_grad():
                return checked_knots(self.module.eval()(image_of(self.module, image)), 1)
        finally:
            self.module.train(training)

    def as_fixed(self, channels: int = 3) -> FixedWarp:
        """Return the fixed warp of a module that gives every image the same knots.

        After a training it takes the learned warp's place: its tables are constants, so an engine
        computes no knots.

        Args:
            channels: number of channels of the images.

        Raises:
            LzuError: the knots depend on the image, or do not increase.
        """
        knots = self.example_knots(channels)
        for mine, other in zip(
            knots, self._knots_of(torch.ones(1, channels, *self.source)), strict=True
        ):
            if not torch.equal(mine, other):
                raise LzuError(
                    f"the knots of {type(self.module).__name__} depend on the image, so that no "
                    "fixed warp has them; export the network in the learned warp"
                )
        named = {
            name: each[0].cpu().double().numpy()
            for name, each in zip(knot_names(knots), knots, strict=True)
        }
        return FixedWarp(named, self.source, self.canvas, f"learned {type(self.module).__name__}")

    def as_uniform(self) -> FixedWarp:
        """Return the identity warp of the same sizes."""
        return FixedWarp.uniform(self.source, canvas=self.canvas)

    def boxes_to_canvas(self, boxes: Any) -> Any:
        """Map boxes of the frame to the uniform canvas, see `FixedWarp.boxes_to_canvas`.

        Args:
            boxes: (n, 4) x1, y1, x2, y2 in pixels of the frame.
        """
        return self.as_uniform().boxes_to_canvas(boxes)


class ConstantKnots(nn.Module):
    """Module that gives every image the same knots."""

    def __init__(self, knots: Sequence[Array]) -> None:
        """Take the knots along x (w,) and y (h,), or of a plane (h, w, 2)."""
        super().__init__()
        self.count = len(knots)
        for i, each in enumerate(knots):
            # Not persistent: a checkpoint carries the network alone.
            values = torch.from_numpy(np.asarray(each, np.float32))
            self.register_buffer(f"knots_{i}", values, persistent=False)

    def forward(self, images: Tensor) -> Knots:
        """Repeat the knots for each of the images (B, C, H, W)."""
        held = (self.get_buffer(f"knots_{i}") for i in range(self.count))
        return tuple(each.expand(len(images), *each.shape) for each in held)


def checked_knots(found: Any, images: int) -> Knots:
    """Return the knots that a module computed, after checking their number and shapes.

    Raises:
        LzuError: they are neither two tensors (B, n) nor one (B, h, w, 2).
    """
    knots = tuple(found) if isinstance(found, tuple | list) else (found,)
    shapes = [tuple(each.shape) for each in knots if isinstance(each, Tensor)]
    lines = len(shapes) == 2 and all(len(shape) == 2 and shape[1] > 1 for shape in shapes)
    plane = len(shapes) == 1 and len(shapes[0]) == 4 and shapes[0][3] == 2
    if not (lines or plane) or any(shape[0] != images for shape in shapes):
        raise LzuError(
            f"the warp's module returns {shapes or type(found).__name__} for {images} images; "
            "return knots_x (B, w) and knots_y (B, h), or knots (B, h, w, 2)"
        )
    return tuple(each.float() for each in knots)


def knot_names(knots: Knots) -> tuple[str, ...]:
    """Return the names of knots, of a separable warp or of one on the plane."""
    return AXIS_KNOTS if len(knots) == 2 else PLANE_KNOTS


def zoom_at_knots(image: Tensor, knots: Knots, canvas: tuple[int, int]) -> Tensor:
    """Sample images (B, C, H, W) at the forward warp of their knots: (B, C, canvas)."""
    zoomed: Tensor
    if len(knots) == 2:
        zoomed = run("SeparableZoom", image, *knots, list(canvas), [0, 0])
        return zoomed
    lattice = (int(knots[0].shape[1]), int(knots[0].shape[2]))
    size = (int(image.shape[2]), int(image.shape[3]))
    zoomed = _constants(GridZoom, image.device, lattice, size, canvas)(image, *knots)
    return zoomed


def unzoom_at_knots(
    maps: Sequence[Tensor], levels: Sequence[Level], knots: Knots, canvas: tuple[int, int]
) -> list[Tensor]:
    """Sample feature maps (B, C, h, w) at the inverse warp of their images' knots."""
    kind: type[AdaptiveUnzoom | GridUnzoom] = AdaptiveUnzoom if len(knots) == 2 else GridUnzoom
    unzoom = _constants(kind, maps[0].device, tuple(levels), canvas)
    unzoomed: list[Tensor] = unzoom(list(maps), *knots)
    return unzoomed


def _constants(kind: type[Made], device: torch.device, *arguments: Any) -> Made:
    """Return a module of constants on a device: a kept one, except to a tracer.

    What is made while tracing belongs to the tracer, and is useless afterwards.
    """
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return kind(*arguments).to(device)
    hashable: Any = kind  # which mypy doubts of a class
    found = _kept(hashable, device, *arguments)
    assert isinstance(found, kind), "it was made as one"
    return found


@lru_cache(maxsize=32)
def _kept(kind: type[nn.Module], device: torch.device, *arguments: Any) -> nn.Module:
    """Make a module of constants that can take part in a training, whoever asks for it first."""
    with torch.inference_mode(mode=False):
        return kind(*arguments).to(device)
