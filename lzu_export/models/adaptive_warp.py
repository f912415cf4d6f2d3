"""Base class of the modules that compute each image's knots."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor, nn


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
