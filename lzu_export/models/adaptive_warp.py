"""The base of the modules that give each image's knots."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor, nn


class AdaptiveWarp(nn.Module, ABC):
    """Gives the knots of each image of a batch, whatever they are made of.

    `forward` takes the model's inputs named `inputs`, or the frames (B, H, W, 3) uint8 if there are
    none. It returns the tensors named `probes`, of which the last are the knots. Zoom and unzoom
    depend on the knots alone.
    """

    inputs: tuple[str, ...] = ()
    """Names of the model's inputs, besides the frame, that the warp is made of."""

    @property
    @abstractmethod
    def knot_names(self) -> tuple[str, ...]:
        """Names of the knots: `AXIS_KNOTS` if separable, `PLANE_KNOTS` if not."""

    @property
    def probes(self) -> tuple[str, ...]:
        """Names of what `forward` returns."""
        return self.knot_names

    def knots_of(self, values: Sequence[Tensor]) -> Sequence[Tensor]:
        """Return the knots among what `forward` returned."""
        return values[-len(self.knot_names) :]
