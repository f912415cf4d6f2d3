"""Learned saliencies of one warp for all frames, for segmentation, beside those that are computed.

`python benchmarks/examples/learned_saliency.py --out build/learned_saliency`. The loss trains the
warp with the network: `logits`, whose softmax over a lattice is the saliency, or the amplitude and
bandwidth of the training boxes' density (`density`). Neither depends on the image, so after the
training the warp is a fixed one, and costs an engine nothing more.

Source: logits in place of the saliency network of Recasens et al., ECCV 2018, as LZU's fixed warps;
amplitude and bandwidth as in FOVEA (Thavamani et al., ICCV 2021), there of each frame's boxes.
"""

from abc import ABC, abstractmethod

import numpy as np
import torch
from numpy.typing import NDArray
from segmenters import CANVAS, segmentation
from systems import Scenes, command
from torch import Tensor, nn
from torch.nn.utils import parametrize

import lzu_export as lzu
from lzu_benchmarks.scenes.camera import SOURCE_SIZE
from lzu_export.models.adaptive_warp import BoxPull
from lzu_export.models.grid_warp import BoxSaliency
from lzu_export.models.saliency_network import SeparableKnots
from lzu_export.warp.fixed_warp import FWHM, LATTICE

GAIN = 5.0
"""Factor of the logits: steps of the optimiser are as large as its rate, whatever the gradient."""
BANDWIDTH = 32.0
"""Bandwidth in pixels of the boxes' density, at the beginning where it is learned."""
BOXES = 500
"""Largest number of training boxes whose density is computed."""


class Constant(nn.Module, ABC):
    """Module that gives all images the knots of one saliency, symmetric for mirrored frames."""

    def __init__(self) -> None:
        """Make the attraction."""
        super().__init__()
        self.attraction = SeparableKnots(LATTICE, FWHM)

    @abstractmethod
    def saliency(self) -> Tensor:
        """Return the saliency (1, 31, 51)."""

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return knots_x (B, 51) and knots_y (B, 31) for images (B, C, H, W)."""
        saliency = self.saliency()
        knots = self.attraction((saliency + saliency.flip(2)) / 2)
        return tuple(each.expand(len(images), -1) for each in knots)


class Logits(Constant):
    """Softmax of learned logits, which begins as the identity warp."""

    def __init__(self) -> None:
        """Begin with equal logits."""
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(LATTICE))

    def saliency(self) -> Tensor:
        """Return the shares of all cells, (1, 31, 51)."""
        return torch.softmax(GAIN * self.logits.flatten(), dim=0).reshape(1, *LATTICE)


class Density(Constant):
    """Density of boxes, whose amplitude and bandwidth are learned as logarithms."""

    boxes: Tensor

    def __init__(self, boxes: NDArray[np.float64]) -> None:
        """Take boxes (n, 4) in pixels of the frame."""
        super().__init__()
        pull = BoxPull(amplitude=1.0, bandwidth=BANDWIDTH)
        self.density = BoxSaliency(np.ones(LATTICE), SOURCE_SIZE, pull)
        for name in ("amplitude", "bandwidth"):
            parametrize.register_parametrization(self.density, name, Exponential())
        self.register_buffer("boxes", torch.from_numpy(boxes)[None].float(), persistent=False)

    def saliency(self) -> Tensor:
        """Return the density (1, 31, 51)."""
        density: Tensor = self.density(self.boxes, torch.ones(self.boxes.shape[:2]))
        return density


class Exponential(nn.Module):
    """A positive parameter as the exponential of a stored one."""

    def forward(self, stored: Tensor) -> Tensor:
        """Return the parameter."""
        return stored.exp()

    def right_inverse(self, parameter: Tensor) -> Tensor:
        """Return what is stored of a parameter."""
        return parameter.log()


def boxes_of(scenes: Scenes) -> NDArray[np.float64]:
    """Return some of the boxes (n, 4) of the scenes, evenly chosen."""
    boxes = np.concatenate([each.boxes[~each.ignore] for each in scenes])
    return boxes[:: -(-len(boxes) // BOXES)]


def boxes_warp(scenes: Scenes) -> lzu.FixedWarp:
    """Make the warp of the density that `density` begins with."""
    return lzu.FixedWarp.from_boxes(
        boxes_of(scenes), SOURCE_SIZE, canvas=CANVAS, bandwidth=BANDWIDTH, symmetric=True
    )


def learned(module: nn.Module) -> lzu.LearnedWarp:
    """Make the warp of a module."""
    return lzu.LearnedWarp.of(module, SOURCE_SIZE, canvas=CANVAS)


SYSTEM = segmentation(
    "learned_saliency",
    {
        "boxes": boxes_warp,
        "density": lambda scenes: learned(Density(boxes_of(scenes))),
        "logits": lambda _: learned(Logits()),
    },
    {"boxes": ("uniform",), "density": ("uniform", "boxes"), "logits": ("uniform", "fixed")},
    constant=True,
)

if __name__ == "__main__":
    command(SYSTEM, __doc__)
