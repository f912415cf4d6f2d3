"""Saliency network: computes each frame's saliency from the frame itself.

frame -> downsample -> normalise -> ResNet -> one channel -> resize to the lattice -> softmax
saliency, mixed with a fixed one -> knots

It follows "Learning to Zoom" (Recasens et al. 2018), with anti-cropping knots as in LZU, separable
or not. All that follows the one channel is float32 sums of products with constants, never matrix
products, which TensorRT may compute in TF32.
"""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lzu_export.models.adaptive_warp import AdaptiveWarp
from lzu_export.models.grid_warp import SaliencyKnots
from lzu_export.models.matrices import apply_matrices, hat_matrix, pool_matrix, resize_matrix
from lzu_export.models.resnet import ResNet
from lzu_export.models.shapes import static_shape
from lzu_export.models.zoom import Resample, SourceToCanvas
from lzu_export.recipes.networks import SaliencyNetworkConfig
from lzu_export.warp.forward import pixel_centres
from lzu_export.warp.grids import AXIS_KNOTS
from lzu_export.warp.knots import attraction_matrices
from lzu_export.warp.saliency import Array
from lzu_export.warp.tables import Table, resample_table

LEAST = 1e-12
"""Lower bound of the saliency: if softmax underflows over a whole Gaussian, there is no centre of
mass. The mean of a cell is about 1e-3."""


class SaliencyNetwork(nn.Module):
    """Network from frames to saliencies: first stages of a ResNet, one channel, softmax."""

    def __init__(
        self,
        config: SaliencyNetworkConfig,
        lattice: tuple[int, int],
        picture: tuple[int, int],
        mean: Sequence[float],
        std: Sequence[float],
        order: str,
        *,
        cut: tuple[slice, slice] = (slice(None), slice(None)),
    ) -> None:
        """Build with the ResNet's random weights.

        Args:
            config: architecture of the network.
            lattice: (h, w) of the warp.
            picture: (height, width) in pixels of the part of the frame that the canvas shows.
            mean: mean per channel, in the network's order.
            std: standard deviation per channel, in the network's order.
            order: the network's channel order, `bgr` or `rgb`; frames are BGR.
            cut: rows and columns of the frame that are the picture.
        """
        super().__init__()
        corners = config.align_corners
        self.to_input = SourceToCanvas(
            _downsampler(picture, config),
            mean,
            std,
            order,
            cut=cut,
        )
        self.backbone = ResNet(
            config.depth,
            base_channels=config.base_channels,
            style=config.style,
            out_indices=(config.stages - 1,),
        )
        for stage in range(config.stages, 4):
            delattr(self.backbone, f"layer{stage + 1}")
        self.head = nn.Conv2d(self.backbone.out_channels[0], 1, 1)
        self.lattice, self.corners = lattice, corners

    def forward(self, frame: Tensor) -> Tensor:
        """Map frames (B, H, W, 3) uint8 BGR to (B, h, w) float32, positive and summing to 1."""
        (features,) = self.backbone(self.to_input(frame))
        logits = self.head(features)[:, 0]
        height, width = self.lattice
        rows, cols = static_shape(logits)[-2:]
        # Written as sums for the reason in the module's docstring.
        logits = _sums(_resize_matrix(height, rows, self.corners), logits.transpose(1, 2))
        logits = _sums(_resize_matrix(width, cols, self.corners), logits.transpose(1, 2))
        return torch.softmax(logits.flatten(1), dim=1).reshape(-1, height, width)


class SeparableKnots(nn.Module):
    """Module from saliencies to each axis' knots, borders reflected: LZU eqs. (3) and (4)."""

    names: ClassVar[tuple[str, ...]] = AXIS_KNOTS

    def __init__(self, lattice: tuple[int, int], fwhm: float) -> None:
        """Store the constant matrices of the sums.

        Args:
            lattice: (h, w) of the saliency.
            fwhm: full width of the attraction at half maximum, in lattice cells.

        Raises:
            LzuError: fwhm is not above 0, or the lattice has an axis of fewer than 2 points.
        """
        super().__init__()
        pad = min(lattice) - 1
        for axis, count in zip(("x", "y"), lattice[::-1], strict=True):
            weight, moment = attraction_matrices(count, fwhm, pad=pad)
            for name, values in (
                ("weight", weight),
                ("moment", moment),
                ("places", pixel_centres(count)),
            ):
                constant = torch.from_numpy(values.astype(np.float32))
                self.register_buffer(f"{name}_{axis}", constant, persistent=False)

    def forward(self, saliency: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, h, w) to knots_x (B, w) and knots_y (B, h), in [-1, 1], align_corners."""
        return self._axis("x", saliency.sum(dim=1)), self._axis("y", saliency.sum(dim=2))

    def _axis(self, axis: str, marginal: Tensor) -> Tensor:
        weight, moment, places = (
            self.get_buffer(f"{name}_{axis}") for name in ("weight", "moment", "places")
        )
        along = marginal[:, None]
        shift = (along * moment).sum(dim=2) / (along * weight).sum(dim=2)
        return (places + shift).clamp(-1.0, 1.0)


class FrameWarp(AdaptiveWarp):
    """Warp from frames to their knots, by the saliency that a network computes from each."""

    fixed: Tensor

    def __init__(
        self, network: nn.Module, knots: SeparableKnots | SaliencyKnots, fixed: Array, mix: float
    ) -> None:
        """Combine a network, its knots and a fixed saliency.

        Args:
            network: module from frames to saliencies (B, h, w) that sum to 1.
            knots: module from saliencies to the knots named by `knots.names`.
            fixed: (h, w) fixed saliency; its sum does not matter.
            mix: share of the network's saliency, 0 to 1.
        """
        super().__init__()
        self.network, self.knots, self.mix = network, knots, float(mix)
        share = torch.from_numpy((fixed / fixed.sum() * (1 - self.mix)).astype(np.float32))
        self.register_buffer("fixed", share, persistent=False)

    @property
    def probes(self) -> tuple[str, ...]:
        """Names of the tensors that `forward` returns."""
        return ("saliency", *self.knot_names)

    @property
    def knot_names(self) -> tuple[str, ...]:
        """Names of the knots among the probes."""
        return self.knots.names

    def forward(self, frame: Tensor) -> tuple[Tensor, ...]:
        """Map frames (B, H, W, 3) uint8 BGR to the mixed saliency (B, h, w) and the knots."""
        saliency = self.network(frame)
        if self.mix < 1:
            saliency = saliency * self.mix + self.fixed
        return (saliency, *self.knots(saliency.clamp(min=LEAST)))


class _Average(nn.Module):
    """Average pooling to a size as AdaptiveAvgPool2d, by two constant matrices."""

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        """Map B x C x H x W to B x C x size."""
        rows, cols = (
            pool_matrix(bins, n) for bins, n in zip(self.size, static_shape(x)[-2:], strict=True)
        )
        return apply_matrices(x, rows, cols)


def _downsampler(picture: tuple[int, int], config: SaliencyNetworkConfig) -> nn.Module:
    """Make the module that shrinks a picture of (height, width) to the network's input."""
    if config.downsampling == "average":
        return _Average(config.input)
    tables: list[Table] = []
    for n_in, n_out in zip(picture, config.input, strict=True):
        place = _places(n_out, n_in, config.align_corners).clip(0, n_in - 1)
        tables.append(resample_table(2 * place / max(n_in - 1, 1) - 1, n_in))
    return Resample(*tables)


def _resize_matrix(n_out: int, n_in: int, corners: bool) -> NDArray[np.float64]:
    """Compute the (n_out, n_in) matrix of a bilinear resize."""
    if corners:
        return hat_matrix(_places(n_out, n_in, corners), n_in)
    return resize_matrix(n_out, n_in)


def _places(n_out: int, n_in: int, corners: bool) -> NDArray[np.float64]:
    """Compute each output cell's position in input cells, as PyTorch's `interpolate` does."""
    if corners:
        return np.linspace(0.0, n_in - 1, n_out) if n_out > 1 else np.zeros(1)
    return ((2 * np.arange(n_out) + 1) * n_in - n_out) / (2 * n_out)


def _sums(matrix: NDArray[np.float64], x: Tensor) -> Tensor:
    """Multiply (B, m, n) by the transpose of a matrix (k, n) to (B, m, k), as sums."""
    constant = torch.tensor(matrix, dtype=x.dtype, device=x.device)
    return (x[:, :, None] * constant).sum(dim=3)
