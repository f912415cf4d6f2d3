"""Zoom and unzoom around any model with `extract` and `head`, uniform or with a fixed warp.

frame -> zoom -> normalise -> pad -> extract (backbone, neck) -> unzoom each level -> head -> decode

Every stage's value is a named *probe point*, which verification compares with PyTorch on all
targets. If two options are nearly equal, the slightest difference can change a choice of the
decode, such as a class or a direction. So PyTorch also returns each choice's *margin*: the relative
deviation of the raw outputs that would change it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

import lzu_export.ops.torch_ops  # noqa: F401  registers torch.ops.lzu
from lzu_export.models.grid_warp import GridResample
from lzu_export.models.traced_model import TracedModel
from lzu_export.warp.grids import Sampling
from lzu_export.warp.tables import Table, TablePair

MARGINS = "margins"
"""Name of the margins in a reference."""


class LevelModel(Protocol):
    """Model with features per level and then a head, between which an unzoom can be put."""

    def extract(self, image: torch.Tensor) -> Sequence[torch.Tensor]:
        """Compute feature maps per level from the normalised network input, B x 3 x H x W."""

    def head(self, levels: Sequence[torch.Tensor]) -> Sequence[Sequence[torch.Tensor]]:
        """Compute groups of raw outputs, each with one tensor per level."""


class Resample(nn.Module):
    """Resampling by `lzu::SeparableResample`, with its tables as buffers."""

    rows: torch.Tensor
    cols: torch.Tensor

    def __init__(self, rows: Table, cols: Table) -> None:
        """Store the resample tables of the two axes (see `lzu_export.warp.tables`)."""
        super().__init__()
        # Not persistent: a checkpoint carries the network, the warp comes from the recipe.
        self.register_buffer("rows", torch.from_numpy(rows), persistent=False)
        self.register_buffer("cols", torch.from_numpy(cols), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map B x C x H x W to B x C x rows x cols."""
        y: torch.Tensor = torch.ops.lzu.separable_resample(x, self.rows, self.cols)
        return y


def resample(tables: Sampling) -> Resample | GridResample:
    """Make the module that samples at these tables, for either kind of warp."""
    return Resample(*tables) if isinstance(tables, TablePair) else GridResample(tables)


class Unzoom(nn.Module):
    """Unzoom of one level: a resample, plus one more for each edge that copies a feature."""

    def __init__(self, tables: Sequence[Sampling]) -> None:
        """Store tables whose samples are to be summed (see `warp.tables` and `warp.grids`)."""
        super().__init__()
        self.parts = nn.ModuleList(resample(each) for each in tables)

    def forward(self, level: torch.Tensor) -> torch.Tensor:
        """Map a level B x C x H_l x W_l to its unzoom."""
        first, *rest = (part(level) for part in self.parts)
        for each in rest:
            first = first + each
        y: torch.Tensor = first
        return y


class SourceToCanvas(nn.Module):
    """Module from camera bytes to the normalised canvas: cut the picture out, zoom, normalise.

    Normalising after the zoom equals normalising before it and touches fewer pixels, since the
    weights of a zoom sum to 1. Where the zoom reaches into zeros around the normalised picture,
    they sum to less: the `coverage`, by which the mean is multiplied there.
    """

    scale: torch.Tensor
    shift: torch.Tensor

    def __init__(
        self,
        zoom: nn.Module,
        mean: Sequence[float],
        std: Sequence[float],
        order: str,
        *,
        cut: tuple[slice, slice] = (slice(None), slice(None)),
        coverage: NDArray[np.floating] | None = None,
    ) -> None:
        """Store the constants.

        Args:
            zoom: module from the picture to the canvas.
            mean: mean per channel, in the model's order.
            std: standard deviation per channel, in the model's order.
            order: the model's channel order, `bgr` or `rgb`; frames are BGR.
            cut: rows and columns of the frame that are the picture.
            coverage: sums of the zoom's weights, (rows or 1, columns or 1) of the canvas; 1 if not
                given.
        """
        super().__init__()
        self.zoom, self.order, self.cut = zoom, order, cut
        scale = 1 / torch.tensor(std, dtype=torch.float64)
        shift = (-torch.tensor(mean, dtype=torch.float64) * scale).reshape(1, 3, 1, 1)
        if coverage is not None:
            shift = shift * torch.from_numpy(np.asarray(coverage, np.float64))
        self.register_buffer("scale", scale.float().reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer("shift", shift.float(), persistent=False)

    def forward(self, frame: torch.Tensor) -> torch.Tensor:
        """Map frames B x H x W x 3 uint8 BGR to B x 3 x canvas, float32."""
        # Cast first: TensorRT moves no uint8.
        picture = frame.float().permute(0, 3, 1, 2)[:, :, self.cut[0], self.cut[1]]
        x = self.zoom(picture)
        if self.order == "rgb":
            x = x.flip(1)
        return x * self.scale + self.shift


@dataclass(frozen=True)
class ProbeNames:
    """Names of the values between the stages, in the order of the chain."""

    levels: int
    groups: tuple[str, ...]
    zooms: bool
    unzooms: bool
    decoded: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[str, ...]:
        """Every probe point except the final outputs."""
        level = range(self.levels)
        names = ["zoomed"] if self.zooms else []
        names += [f"level_{i}" for i in level]
        if self.unzooms:
            names += [f"unzoomed_{i}" for i in level]
        names += [f"{group}_{i}" for group in self.groups for i in level]
        return (*names, *self.decoded)


class ZoomedModel(TracedModel):
    """Level model with its zoom, unzoom and decode."""

    def __init__(
        self,
        model: nn.Module,
        decode: Callable[..., Sequence[torch.Tensor]],
        *,
        to_canvas: nn.Module | None,
        padding: tuple[int, int],
        unzoom: Sequence[Unzoom] | None,
        groups: tuple[str, ...],
        outputs: tuple[str, ...],
        levels: int,
        decoded: tuple[str, ...] = (),
        margins: Callable[..., torch.Tensor] | None = None,
    ) -> None:
        """Wrap `model` (a LevelModel) with its zoom, unzoom and decode.

        Args:
            model: backbone, neck and head.
            decode: function from the raw outputs, and inputs of the model besides the image, to the
                values named by `decoded` and `outputs`.
            to_canvas: module from frame to normalised canvas; None if the input is the padded
                network input.
            padding: rows and columns of zeros at the bottom and right of the canvas.
            unzoom: one unzoom per level; None for the uniform variant.
            groups: names of the head's groups of raw outputs.
            outputs: names of the final outputs.
            levels: number of feature levels.
            decoded: names of probe points within the decode.
            margins: function of the arguments of `decode` that returns the margins of its choices.
        """
        super().__init__()
        self.model, self.decode, self.outputs = model, decode, outputs
        self.to_canvas, self.padding = to_canvas, padding
        self.unzoom = nn.ModuleList(unzoom) if unzoom is not None else None
        self._margins = margins
        self.names = ProbeNames(levels, groups, to_canvas is not None, unzoom is not None, decoded)

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of all probe points, then of the outputs, in the order of `forward`."""
        return (*self.names.all, *self.outputs)

    def margins(
        self, values: Mapping[str, torch.Tensor], *others: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Return the margins of the decode's choices from the probe points; empty without any."""
        if self._margins is None:
            return {}
        names = self.names
        groups = [[values[f"{group}_{i}"] for i in range(names.levels)] for group in names.groups]
        return {MARGINS: self._margins(groups, *others)}

    def forward(self, x: torch.Tensor, *others: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return every probe point and output of one batch, in the order of `output_names`."""
        model: Any = self.model
        values: list[torch.Tensor] = []
        if self.to_canvas is not None:
            zoomed = self.to_canvas(x)
            values.append(zoomed)
            x = functional.pad(zoomed, (0, self.padding[1], 0, self.padding[0]))
        levels = list(model.extract(x))
        values += levels
        if self.unzoom is not None:
            levels = [unzoom(level) for unzoom, level in zip(self.unzoom, levels, strict=True)]
            values += levels
        groups = model.head(levels)
        for group in groups:
            values += group
        return (*values, *self.decode(groups, *others))
