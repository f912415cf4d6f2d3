"""Warp whose knots are inputs of the model: the host computes them."""

from torch import Tensor

from lzu_export.models.adaptive_warp import AdaptiveWarp
from lzu_export.warp.grids import AXIS_KNOTS, PLANE_KNOTS


class ExternalWarp(AdaptiveWarp):
    """Warp at the knots that the model is given for each image.

    Its inputs are `knots_x` (B, w) and `knots_y` (B, h), or `knots` (B, h, w, 2) of a non-separable
    warp, float32 in [-1, 1] with align_corners. They are clamped to the picture; like all knots,
    they are inverted with gaps of at least `MIN_GAP`.
    """

    def __init__(self, *, separable: bool) -> None:
        """Choose the kind of the knots."""
        super().__init__()
        self.inputs = AXIS_KNOTS if separable else PLANE_KNOTS

    @property
    def knot_names(self) -> tuple[str, ...]:
        """Names of the knots, which are those of the inputs."""
        return self.inputs

    @property
    def probes(self) -> tuple[str, ...]:
        """Names of the clamped knots, such as `clamped_knots_x`: the inputs have the others."""
        return tuple(f"clamped_{name}" for name in self.inputs)

    def forward(self, *knots: Tensor) -> tuple[Tensor, ...]:
        """Clamp the knots to [-1, 1]."""
        return tuple(each.clamp(-1.0, 1.0) for each in knots)
