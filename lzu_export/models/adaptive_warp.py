"""Base class of modules that compute each image's knots, and settings of those by boxes."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from lzu_export.warp.box_saliency import MIN_BOX_SIDE


@dataclass(frozen=True)
class BoxPull:
    """How the previous frame's boxes attract the samples."""

    amplitude: float = 1.0
    """Mass of a box."""
    bandwidth: float = 64.0
    """Bandwidth in pixels; the variance of a box is the bandwidth times its side."""
    mix: float = 1.0
    """Share of the boxes' saliency beside the fixed one, 0 to 1."""
    corner: tuple[int, int] = (0, 0)
    """(top, left) of the picture in the frame, in pixels."""
    min_side: float = MIN_BOX_SIDE
    """Least side of a box in pixels."""

    @property
    def origin(self) -> NDArray[np.float64]:
        """Corner in the order of a box's coordinates: (4,) left, top, left, top."""
        top, left = self.corner
        return np.array([left, top, left, top], np.float64)


class AdaptiveWarp(nn.Module, ABC):
    """Module that computes the knots of each image of a batch.

    `forward` takes the model's inputs named `inputs`, or the frames (B, H, W, 3) uint8 if there are
    none. It returns the tensors named `probes`, of which the last are the knots. Zoom and unzoom
    depend on the knots alone.
    """

    inputs: tuple[str, ...] = ()
    """Names of the model's inputs, besides the frame, that the warp is computed from."""

    @property
    @abstractmethod
    def knot_names(self) -> tuple[str, ...]:
        """Names of the knots: `AXIS_KNOTS` if separable, `PLANE_KNOTS` if not."""

    @property
    def probes(self) -> tuple[str, ...]:
        """Names of the tensors that `forward` returns."""
        return self.knot_names

    def knots_of(self, values: Sequence[Tensor]) -> Sequence[Tensor]:
        """Return the knots among the tensors that `forward` returned."""
        return values[-len(self.knot_names) :]
