"""The segmentation network: an encoder and decoder with a map of stride 2.

The demonstration's PSPNet has stride 4, too coarse for the poles and signs of such small inputs.
Like any network of a user's own it stands between zoom and unzoom as a recipe's `custom_model`.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from lzu_export.models.matrices import restride
from lzu_export.models.shapes import static_shape
from lzu_export.tasks.custom import register_model

NAME = "camvid-streets"
"""Name of the network in recipes."""
STRIDE = 2
"""Canvas pixels per cell of the map that is unzoomed."""
WIDTHS = (24, 48, 96, 96)
"""Channels of the encoder's maps, of strides 2, 4, 8 and 16."""
DEPTH = 2
"""Number of residual blocks of each of them but the first, which has one."""


class ConvNorm(nn.Sequential):
    """Convolution of 3 x 3, batch normalisation and ReLU."""

    def __init__(self, in_channels: int, channels: int, stride: int = 1) -> None:
        """Build with Kaiming weights."""
        conv = nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False)
        nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
        super().__init__(conv, nn.BatchNorm2d(channels), nn.ReLU())


class Residual(nn.Module):
    """Block of one convolution beside the identity."""

    def __init__(self, channels: int) -> None:
        """Build for maps of so many channels."""
        super().__init__()
        self.body = ConvNorm(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        return x + self.body(x)


class StreetNet(nn.Module):
    """Encoder to stride 16, decoder back to stride 2, and a classifier behind the unzoom."""

    def __init__(self, classes: int) -> None:
        """Build with random weights."""
        super().__init__()
        blocks = (1, DEPTH, DEPTH, DEPTH)
        self.encoder = nn.ModuleList(
            nn.Sequential(ConvNorm(a, b, 2), *(Residual(b) for _ in range(count)))
            for a, b, count in zip((3, *WIDTHS), WIDTHS, blocks, strict=False)
        )
        self.lateral = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in pairwise(WIDTHS))
        self.decoder = nn.ModuleList(ConvNorm(channels, channels) for channels in WIDTHS[:-1])
        self.classify = nn.Conv2d(WIDTHS[0], classes, 1)

    def extract(self, images: Tensor) -> list[Tensor]:
        """Map normalised images (B, 3, H, W) to a list of one map (B, 24, H / 2, W / 2)."""
        levels = []
        for stage in self.encoder:
            images = stage(images)
            levels.append(images)
        x = levels.pop()
        steps = zip(levels[::-1], self.lateral[::-1], self.decoder[::-1], strict=True)
        for level, lateral, decoder in steps:
            height, width = static_shape(level)[-2:]
            x = decoder(level + restride(lateral(x), 2, 1, (height, width)))
        return [x]

    def head(self, levels: Sequence[Tensor]) -> tuple[list[Tensor]]:
        """Map one unzoomed map to one group of one tensor, logits (B, classes, H, W)."""
        (level,) = levels
        logits: Tensor = self.classify(level)
        return ([logits],)


def parameters(network: torch.nn.Module) -> int:
    """Return the number of a network's weights."""
    return sum(each.numel() for each in network.parameters())


register_model(NAME, lambda recipe: StreetNet(recipe.model.num_classes))
