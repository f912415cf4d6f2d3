"""Model that is traced from a wrapped network: from the frame to its outputs, with probe points."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from lzu_export.errors import LzuError
from lzu_export.models.external_warp import ExternalWarp
from lzu_export.models.traced_model import TracedModel
from lzu_export.wrapping.hooks import Wrapping, hand_over
from lzu_export.wrapping.learned import (
    Knots,
    LearnedWarp,
    checked_knots,
    knot_names,
    zoom_at_knots,
)
from lzu_export.wrapping.nested import named_tensors
from lzu_export.wrapping.selections import Selections

SINGLE = "output"
"""Name of the output of a network that returns one tensor."""
TAKEN = re.compile(
    r"\d|(frame|zoomed|image|margins|(clamped_)?knots(_[xy])?|(level|unzoomed|selected)_\d+)$"
)
"""Names that an output does not have in a graph: numbers, and those of inputs and probe points."""


class FrameNorm(nn.Module):
    """Cutting of the picture out of camera bytes, and its normalisation."""

    scale: Tensor
    shift: Tensor

    def __init__(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        order: str,
        cut: tuple[slice, slice],
    ) -> None:
        """Store the constants.

        Args:
            mean: mean per channel, in the model's order.
            std: standard deviation per channel, in the model's order.
            order: the model's channel order, `bgr` or `rgb`; frames are BGR.
            cut: rows and columns of the frame that are the picture.
        """
        super().__init__()
        self.order, self.cut = order, cut
        scale = 1 / torch.tensor(std, dtype=torch.float64).reshape(1, -1, 1, 1)
        shift = -torch.tensor(mean, dtype=torch.float64).reshape(1, -1, 1, 1) * scale
        self.register_buffer("scale", scale.float(), persistent=False)
        self.register_buffer("shift", shift.float(), persistent=False)

    def picture(self, frame: Tensor) -> Tensor:
        """Cut the picture (B, 3, picture) float32, in the model's order, out of frames."""
        # Cast first: TensorRT moves no uint8.
        picture = frame.float().permute(0, 3, 1, 2)[:, :, self.cut[0], self.cut[1]]
        return picture.flip(1) if self.order == "rgb" else picture

    def forward(self, picture: Tensor) -> Tensor:
        """Normalise a picture or canvas (B, 3, H, W)."""
        return picture * self.scale + self.shift


class LearnedToCanvas(nn.Module):
    """Module from camera bytes to the knots of a learned warp and the canvas that they give."""

    def __init__(self, warp: nn.Module, canvas: tuple[int, int], norm: FrameNorm) -> None:
        """Take the module of the knots, the canvas (height, width), and the normalisation."""
        super().__init__()
        self.warp, self.canvas, self.norm = warp, canvas, norm

    def forward(self, frame: Tensor) -> tuple[Knots, Tensor]:
        """Map frames (B, H, W, 3) uint8 BGR to knots and the canvas (B, 3, canvas)."""
        picture = self.norm.picture(frame)
        knots = checked_knots(self.warp(self.norm(picture)), len(picture))
        # The weights of a zoom sum to 1, so it is normalised afterwards, where pixels are fewer.
        return knots, self.norm(zoom_at_knots(picture, knots, self.canvas))


class GivenToCanvas(nn.Module):
    """Module from camera bytes and the host's knots to these knots, clamped, and the canvas."""

    def __init__(self, warp: ExternalWarp, canvas: tuple[int, int], norm: FrameNorm) -> None:
        """Take the module that clamps, the canvas (height, width), and the normalisation."""
        super().__init__()
        self.warp, self.canvas, self.norm = warp, canvas, norm

    def forward(self, frame: Tensor, *given: Tensor) -> tuple[Knots, Tensor]:
        """Map frames (B, H, W, 3) uint8 BGR and knots to knots and the canvas (B, 3, canvas)."""
        knots: Knots = self.warp(*given)
        return knots, self.norm(zoom_at_knots(self.norm.picture(frame), knots, self.canvas))


class HookedModel(TracedModel):
    """Network with the unzooms of its wrapping, after a zoom that knows the camera's bytes.

    The wrapping's own zoom is left out: the frame's pixels are cut, sampled and normalised by
    `to_canvas`, as the engines do.
    """

    def __init__(
        self,
        network: nn.Module,
        wrapping: Wrapping,
        *,
        to_canvas: Sequence[nn.Module],
        outputs: Sequence[str] = (),
    ) -> None:
        """Take the network, whose hooks of the wrapping are in place.

        Args:
            network: network in eval mode, with its weights.
            wrapping: its wrapping.
            to_canvas: for each view a module from frames (B, H, W, 3) uint8 to the normalised
                canvas, the first one with knots beside the canvas if the warp computes or is given
                them; empty if the input is the padded network input.
            outputs: names of the network's outputs that engines return; all if empty.

        Raises:
            LzuError: the network returns no tensor, or none of a name.
        """
        super().__init__()
        self.model, self.wrapping = network, wrapping
        self.to_canvas = nn.ModuleList(to_canvas)
        size, canvas = wrapping.network_input, wrapping.warp.canvas
        self.padding = (size[0] - canvas[0], size[1] - canvas[1])
        self.levels = len(wrapping.all_levels)
        self.knots: tuple[str, ...] = ()
        self.given = False
        knots: Knots = ()
        if isinstance(wrapping.warp, LearnedWarp):
            knots = wrapping.warp.example_knots(wrapping.channels)
            first = self.to_canvas[0] if len(self.to_canvas) else None
            self.given = isinstance(first, GivenToCanvas)
            self.knots = (
                first.warp.probes if isinstance(first, GivenToCanvas) else knot_names(knots)
            )
        example = torch.zeros(len(wrapping.views), wrapping.channels, *size)
        with torch.no_grad(), Selections() as selections:
            found = named_outputs(self._run(example, knots)[2])
        self.selections = len(selections.indices)
        unknown = [name for name in outputs if name not in found]
        if unknown:
            raise LzuError(
                f"{type(network).__name__} returns no {unknown[0]}; it returns {', '.join(found)}"
            )
        self.outputs = tuple(outputs) or tuple(found)
        for name in self.outputs:
            shape = tuple(found[name].shape)
            if shape[:1] != (len(example),):
                raise LzuError(
                    f"output {name} of {type(network).__name__} has shape {shape}, whose first "
                    "axis is not the batch; return it for each image, or leave it out (outputs=...)"
                )

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of all probe points, then of the outputs, in the order of `forward`."""
        names = [*self.knots, *(["zoomed"] if len(self.to_canvas) else [])]
        if self.wrapping.unzooms:
            names += [f"level_{i}" for i in range(self.levels)]
            names += [f"unzoomed_{i}" for i in range(self.levels)]
        return (*names, *self.selected, *self.outputs)

    @property
    def selected(self) -> tuple[str, ...]:
        """Names of the indices that the network selects by rank, see `Selections`."""
        return tuple(f"selected_{i}" for i in range(self.selections))

    @property
    def engine_outputs(self) -> tuple[str, ...]:
        """Names of the engines' outputs, with the knots of a learned warp."""
        return self.outputs if self.given else (*self.outputs, *self.knots)

    def forward(self, x: Tensor, *given: Tensor) -> tuple[Tensor, ...]:
        """Return every probe point and output of one batch, in the order of `output_names`.

        Args:
            x: frames (B, H, W, 3) uint8, or the padded network input.
            given: knots of the host, for a model of the variant `external`.
        """
        values: list[Tensor] = []
        knots: Knots = ()
        if len(self.to_canvas):
            first, *others = self.to_canvas
            canvases = [first(x, *given), *(each(x) for each in others)]
            if self.knots:
                knots, canvases[0] = canvases[0]
                values += knots
            zoomed = canvases[0] if len(canvases) == 1 else torch.cat(canvases)
            values.append(zoomed)
            x = functional.pad(zoomed, (0, self.padding[1], 0, self.padding[0]))
        with Selections() as selections:
            levels, unzoomed, result = self._run(x, knots)
        found = named_outputs(result)
        outputs = [_returned(found[name]) for name in self.outputs]
        return (*values, *levels, *unzoomed, *selections.indices, *outputs)

    def _run(self, x: Tensor, knots: Knots) -> tuple[list[Tensor], list[Tensor], Any]:
        """Run the network on its padded input; return levels, unzoomed levels and its result."""
        if knots:
            hand_over(self.model, list(self.wrapping.levels), knots)
        before: dict[int, Tensor] = {}
        after: dict[int, Tensor] = {}

        def observe(number: int, level: Tensor, unzoomed: Tensor) -> None:
            before[number], after[number] = level, unzoomed

        with self.wrapping.observed(observe):
            result = self.wrapping.call.run(self.model, x)
        numbers = sorted(before)
        return [before[i] for i in numbers], [after[i] for i in numbers], result


def _returned(x: Tensor) -> Tensor:
    """Return an output as engines do: flags as integers, since they take none."""
    # An exporter gives two outputs that are one tensor one name.
    return x.int() if x.dtype == torch.bool else x.clone()


def named_outputs(result: Any) -> dict[str, Tensor]:
    """Return a network's output tensors by the names under which a bundle returns them.

    Names that begin with a digit, or are those of probe points or inputs, get the prefix `output_`.

    Raises:
        LzuError: there are none, or two of them would have one name.
    """
    found: dict[str, Tensor] = {}
    for name, tensor in named_tensors(result):
        plain = re.sub(r"\W", "_", name) or SINGLE
        plain = f"{SINGLE}_{plain}" if TAKEN.match(plain) else plain
        if plain in found:
            raise LzuError(
                f"the network returns two outputs named {plain}; return a dict with distinct names"
            )
        found[plain] = tensor
    if not found:
        raise LzuError("the network returns no tensor in eval mode; return its raw outputs")
    return found
