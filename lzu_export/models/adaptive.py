"""Models with an adaptive warp, which follows the previous frame's boxes or the frame itself.

boxes or frame -> knots
frame -> zoom at the knots -> normalise -> pad -> extract -> unzoom at the knots -> head -> decode

Inputs are the frame and, for boxes, `prev_boxes` (B, N, 4) float32 in pixels of the frame and
`prev_valid` (B, N) float32, 1 or 0. Every image of a batch has a warp of its own. If no box is
valid, the adaptive part of the saliency is uniform. The probe points begin with those of the warp.
They include its knots: `knots_x` and `knots_y`, or `knots` of a non-separable warp. The modules of
non-separable warps are in `lzu_export.models.grid_warp`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from lzu_export.models.adaptive_warp import AdaptiveWarp, BoxPull
from lzu_export.models.grid_warp import GridUnzoom, GridZoom
from lzu_export.models.zoom import ProbeNames, ZoomedModel
from lzu_export.ops.differentiable import forward_at
from lzu_export.ops.separable_unzoom import AFFINE, consistent_affine
from lzu_export.ops.torch_ops import run
from lzu_export.warp.geometry import Level
from lzu_export.warp.grids import AXIS_KNOTS
from lzu_export.warp.saliency import BOX_INPUTS, Array, marginals


class BoxWarp(AdaptiveWarp):
    """Warp from the previous frame's boxes to each image's knots, by `lzu::BoxKnots`.

    `amplitude` and `bandwidth` are parameters, so that a checkpoint can carry learned ones.
    """

    fixed_x: Tensor
    fixed_y: Tensor
    corner: Tensor
    inputs = BOX_INPUTS
    knot_names = AXIS_KNOTS

    def __init__(
        self, fixed: Array, picture: tuple[int, int], pull: BoxPull, *, fwhm: float
    ) -> None:
        """Store the constants and make the parameters.

        Args:
            fixed: (h, w) fixed saliency on the lattice of the warp; its sum does not matter.
            picture: (height, width) in pixels of the part of the frame that the canvas shows.
            pull: attraction of the boxes.
            fwhm: full width of the attraction at half maximum, in lattice cells.

        Raises:
            LzuError: the fixed saliency is not positive.
        """
        super().__init__()
        self.amplitude = nn.Parameter(torch.tensor(float(pull.amplitude)))
        self.bandwidth = nn.Parameter(torch.tensor(float(pull.bandwidth)))
        for name, marginal in zip(("fixed_x", "fixed_y"), marginals(fixed), strict=True):
            values = torch.from_numpy((marginal / marginal.sum()).astype(np.float32))
            self.register_buffer(name, values, persistent=False)
        origin = torch.from_numpy(pull.origin.astype(np.float32))
        self.register_buffer("corner", origin, persistent=False)
        self.moved = pull.corner != (0, 0)
        self.lattice, self.picture = list(np.shape(fixed)), list(picture)
        self.fwhm, self.mix, self.min_side = float(fwhm), float(pull.mix), float(pull.min_side)

    def forward(self, boxes: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Map boxes (B, N, 4) and flags (B, N) to knots_x (B, w) and knots_y (B, h)."""
        knots: tuple[Tensor, Tensor] = torch.ops.lzu.box_knots(
            boxes - self.corner if self.moved else boxes,
            valid,
            self.amplitude,
            self.bandwidth,
            self.fixed_x,
            self.fixed_y,
            self.lattice,
            self.picture,
            self.fwhm,
            self.mix,
            self.min_side,
        )
        return knots


class AdaptiveToCanvas(nn.Module):
    """Module from camera bytes to the normalised canvas, at each image's own warp.

    It normalises after the zoom, which touches fewer pixels. Since the knots span the picture, the
    zoom's weights sum to 1, so the order does not matter.
    """

    scale: Tensor
    shift: Tensor

    def __init__(
        self,
        canvas: tuple[int, int],
        mean: Sequence[float],
        std: Sequence[float],
        order: str,
        *,
        cut: tuple[slice, slice] = (slice(None), slice(None)),
        grid: GridZoom | None = None,
    ) -> None:
        """Store the constants.

        Args:
            canvas: (height, width) of the canvas in pixels.
            mean: mean per channel, in the model's order.
            std: standard deviation per channel, in the model's order.
            order: the model's channel order, `bgr` or `rgb`; frames are BGR.
            cut: rows and columns of the frame that are the picture.
            grid: zoom at non-separable knots; by default the warp is separable.
        """
        super().__init__()
        self.canvas, self.order, self.cut = list(canvas), order, cut
        self.grid = grid
        scale = 1 / torch.tensor(std, dtype=torch.float64).reshape(1, 3, 1, 1)
        shift = -torch.tensor(mean, dtype=torch.float64).reshape(1, 3, 1, 1) * scale
        self.register_buffer("scale", scale.float(), persistent=False)
        self.register_buffer("shift", shift.float(), persistent=False)

    def forward(self, frame: Tensor, *knots: Tensor) -> Tensor:
        """Map frames (B, H, W, 3) uint8 BGR and the warp's knots to (B, 3, canvas), float32."""
        # Cast first: TensorRT moves no uint8.
        picture = frame.float().permute(0, 3, 1, 2)[:, :, self.cut[0], self.cut[1]]
        x: Tensor
        if self.grid is not None:
            x = self.grid(picture, *knots)
        else:
            x = run("SeparableZoom", picture, *knots, self.canvas, [0, 0])
        if self.order == "rgb":
            x = x.flip(1)
        return x * self.scale + self.shift


class AdaptiveUnzoom(nn.Module):
    """Unzoom of all levels in true pixel coordinates, by `lzu::SeparableUnzoom`."""

    def __init__(
        self, levels: Sequence[Level], canvas: tuple[int, int], *, upscale: int = 1
    ) -> None:
        """Store the levels' places on the canvas (height, width), and the factor `upscale`."""
        super().__init__()
        affine = consistent_affine(levels, canvas)
        self.affine = [affine[name] for name in AFFINE]
        self.upscale = upscale

    def forward(self, levels: Sequence[Tensor], knots_x: Tensor, knots_y: Tensor) -> list[Tensor]:
        """Map levels (B, C, H_l, W_l) to (B, C, upscale H_l, upscale W_l) each."""
        unzoomed: list[Tensor] = run(
            "SeparableUnzoom", list(levels), knots_x, knots_y, *self.affine, self.upscale
        )
        return unzoomed


class Unwarp(nn.Module):
    """Module from boxes on the zoomed canvas to boxes on the source, as FOVEA maps its outputs.

    Both corners of a box go through the separable forward warp; corners beyond the canvas are
    moved to its border.
    """

    def __init__(
        self,
        canvas: tuple[float, float],
        source: tuple[float, float],
        *,
        corner: tuple[int, int] = (0, 0),
    ) -> None:
        """Store the coordinates' ranges.

        Args:
            canvas: (height, width) that map to 1 on the canvas, where 0 maps to -1: the size less 1
                if coordinates are centres of pixels, the size itself in FOVEA's released code.
            source: the same for the picture that the canvas shows.
            corner: (top, left) of the picture in the frame, added to the boxes.
        """
        super().__init__()
        self.canvas, self.source, self.corner = canvas, source, corner

    def forward(self, boxes: Tensor, knots_x: Tensor, knots_y: Tensor) -> Tensor:
        """Map boxes (B, K, 4) x1, y1, x2, y2 on the canvas to boxes on the frame, float32."""
        ends = []
        for axis, knots in ((0, knots_x), (1, knots_y)):
            canvas, source = self.canvas[1 - axis], self.source[1 - axis]
            places = torch.cat([boxes[..., axis], boxes[..., axis + 2]], dim=-1)
            positions = forward_at(knots, places * (2 / canvas) - 1)
            ends.append((positions + 1) * (source / 2) + self.corner[1 - axis])
        (x1, x2), (y1, y2) = (each.chunk(2, dim=-1) for each in ends)
        return torch.stack([x1, y1, x2, y2], dim=-1)


@dataclass(frozen=True)
class AdaptiveProbeNames(ProbeNames):
    """Names of the values between the stages, beginning with those of the warp."""

    warp: tuple[str, ...] = AXIS_KNOTS

    @property
    def all(self) -> tuple[str, ...]:
        """Every probe point except the final outputs."""
        return (*self.warp, *super().all)


class AdaptiveZoomedModel(ZoomedModel):
    """A level model between the zoom and the unzoom of a warp that changes with each frame."""

    def __init__(
        self,
        model: nn.Module,
        decode: Callable[..., Sequence[Tensor]],
        *,
        warp: AdaptiveWarp,
        to_canvas: AdaptiveToCanvas,
        padding: tuple[int, int],
        unzoom: AdaptiveUnzoom | GridUnzoom | None,
        groups: tuple[str, ...],
        outputs: tuple[str, ...],
        levels: int,
        decoded: tuple[str, ...] = (),
        margins: Callable[..., Tensor] | None = None,
        unwarp: Unwarp | None = None,
    ) -> None:
        """Wrap `model` (a LevelModel) with the modules of an adaptive warp.

        Args:
            model: backbone, neck and head.
            decode: function from the raw outputs, and the model's inputs besides the image and the
                warp's, to the values named by `decoded` and `outputs`.
            warp: module that computes the knots.
            to_canvas: module from frame and knots to the normalised canvas.
            padding: rows and columns of zeros at the bottom and right of the canvas.
            unzoom: unzoom of all levels; None if the boxes are mapped back instead.
            groups: names of the head's groups of raw outputs.
            outputs: names of the final outputs.
            levels: number of feature levels.
            decoded: names of probe points within the decode.
            margins: function of the arguments of `decode` that returns the margins of its choices.
            unwarp: module that maps the output `boxes`, which the decode returns in canvas pixels.
        """
        super().__init__(
            model,
            decode,
            to_canvas=to_canvas,
            padding=padding,
            unzoom=None,
            groups=groups,
            outputs=outputs,
            levels=levels,
            decoded=decoded,
            margins=margins,
        )
        self.warp, self.adaptive_unzoom, self.unwarp = warp, unzoom, unwarp
        unzooms = unzoom is not None
        self.names = AdaptiveProbeNames(levels, groups, True, unzooms, decoded, warp.probes)

    @property
    def engine_outputs(self) -> tuple[str, ...]:
        """Names of the engines' outputs, with the knots if the warp is computed from the frame."""
        return self.outputs if self.warp.inputs else (*self.outputs, *self.warp.knot_names)

    def margins(self, values: Mapping[str, Tensor], *others: Tensor) -> dict[str, Tensor]:
        """Return the margins as `ZoomedModel.margins`, for the decode's inputs among `others`."""
        return super().margins(values, *others[len(self.warp.inputs) :])

    def forward(self, x: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
        """Return every probe point and output of one batch, in the order of `output_names`.

        Args:
            x: frames (B, H, W, 3) uint8.
            others: the warp's inputs, then those of the decode.
        """
        model: Any = self.model
        to_canvas: Any = self.to_canvas
        count = len(self.warp.inputs)
        looked = self.warp(*(others[:count] or (x,)))  # from the boxes, or from the frame
        rest = others[count:]
        knots = self.warp.knots_of(looked)
        zoomed = to_canvas(x, *knots)
        padded = functional.pad(zoomed, (0, self.padding[1], 0, self.padding[0]))
        levels = list(model.extract(padded))
        values = [*looked, zoomed, *levels]
        if self.adaptive_unzoom is not None:
            levels = list(self.adaptive_unzoom(levels, *knots))
            values += levels
        groups = model.head(levels)
        values += [each for group in groups for each in group]
        results = dict(
            zip((*self.names.decoded, *self.outputs), self.decode(groups, *rest), strict=True)
        )
        if self.unwarp is not None:
            results["boxes"] = self.unwarp(results["boxes"], *knots)
        return (*values, *results.values())
