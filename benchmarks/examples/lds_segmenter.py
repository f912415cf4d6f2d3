"""Learned downsampling for segmentation (LDS): a density of samples, trained end to end.

`python benchmarks/examples/lds_segmenter.py --out build/segmenters`. A small network computes a
density from the low-resolution frame, whose attraction gives the knots. The segmentation's loss on
zoomed labels trains it through the zoom, together with an edge loss. Logits are mapped back by the
exact inverse of the warp, where the publication fills the holes of scattered ones.

Source: Jin et al., "Learning to downsample for segmentation of ultra-high resolution images", ICLR
2022, with its code, github.com/lxasqjc/Deformation-Segmentation. There the edge target is computed
from the numbers of classes, whose distances mean nothing, and normalised over the batch; here from
the masks of classes, and for each frame. Borders are reflected, as in LZU, so nothing is cropped.
"""

import torch
from systems import command
from torch import Tensor, nn
from torch.nn import functional
from zoomed_segmenters import low_resolution, zoomed_system

from lzu_benchmarks.scenes import LABELS
from lzu_export.models.grid_warp import SaliencyKnots
from lzu_export.models.saliency_network import LEAST

LATTICE = (31, 51)
"""Size (rows, columns) of the density and the knots."""
FWHM = 10.0
"""Full width of the attraction at half maximum, in lattice cells."""
EDGE_WEIGHT = 100.0
"""Weight of the edge loss beside the segmentation's, the published code's default."""


class Density(nn.Module):
    """Module from normalised images (B, 3, 360, 640) to the knots (B, 31, 51, 2) of a density."""

    def __init__(self, channels: int = 16) -> None:
        """Build with random weights and `channels` channels."""
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, channels, 3, 2, 1), nn.ReLU()]
        for reach in (1, 2, 4):
            layers += [nn.Conv2d(channels, channels, 3, 1, reach, reach), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Conv2d(channels, 1, 1))
        self.attraction = SaliencyKnots(LATTICE, FWHM)

    def density(self, images: Tensor) -> Tensor:
        """Return the density of samples (B, 31, 51), positive and summing to 1."""
        low = low_resolution(images, (2 * LATTICE[0], 2 * LATTICE[1]))
        logits = self.layers(low).flatten(1)
        return torch.softmax(logits, dim=1).reshape(-1, *LATTICE).clamp(min=LEAST)

    def forward(self, images: Tensor) -> Tensor:
        """Return the knots that the density attracts, in [-1, 1], order x, y."""
        (knots,) = self.attraction(self.density(images))
        return knots


def normalised(maps: Tensor) -> Tensor:
    """Scale each of the maps (B, h, w) to 0..1; one without contrast becomes 0."""
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    return (maps - low) / (high - low).clamp(min=LEAST)


def edge_target(labels: Tensor, classes: int = len(LABELS)) -> Tensor:
    """Return the density of edges d_t = f_edge(f_gauss(Y_lr)), (B, 31, 51) in 0..1.

    Each class's mask is averaged over the cells of the lattice, blurred with a standard deviation
    of one cell, and filtered by eight times the cell minus its neighbours, without what is below
    zero. The largest response of the classes counts.

    Args:
        labels: label maps (B, H, W), integers.
        classes: number of classes; other labels belong to none.
    """
    masks = torch.stack([labels == each for each in range(classes)], dim=1).float()
    low = functional.adaptive_avg_pool2d(masks, LATTICE).flatten(0, 1)[:, None]
    steps = torch.arange(-2.0, 3.0)
    bell = torch.exp(-steps.square() / 2)
    blur = (bell[:, None] * bell / bell.sum() ** 2)[None, None]
    smooth = functional.conv2d(functional.pad(low, (2, 2, 2, 2), mode="replicate"), blur)
    edge = -torch.ones(1, 1, 3, 3)
    edge[..., 1, 1] = 8.0
    found = functional.conv2d(functional.pad(smooth, (1, 1, 1, 1), mode="replicate"), edge)
    return normalised(found.clamp(min=0).reshape(len(labels), classes, *LATTICE).amax(1))


def edge_loss(module: Density, images: Tensor, labels: Tensor) -> Tensor:
    """Return the weighted mean square of density minus edge target, both scaled to 0..1."""
    wanted = edge_target(labels[:, ::2, ::2])
    return EDGE_WEIGHT * functional.mse_loss(normalised(module.density(images)), wanted)


if __name__ == "__main__":
    command(zoomed_system("lds", Density, loss=edge_loss), __doc__)
