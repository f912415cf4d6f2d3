"""Sampling near semantic boundaries (ES): a network predicts where a lattice samples the frame.

`python benchmarks/examples/es_segmenter.py --out build/segmenters`. Places near boundaries minimise
an energy; a small network learns them by regression, then the segmentation network is trained
behind it. The lattice's quadrilateral tiles are a warp of the plane, whose exact inverse maps the
logits back, where the publication interpolates scattered ones.

Source: Marin et al., "Efficient segmentation: learning downsampling near semantic boundaries", ICCV
2019, with its code, github.com/dmitrii-marin/adaptive-sampling, whose network predicts shifts of
places. Here it predicts the gaps between neighbours, so places keep their order, without which a
warp has no inverse; the targets keep it, too.
"""

from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from streets import images_of
from systems import Scenes, command
from torch import Tensor, nn
from zoomed_segmenters import low_resolution, zoomed_system

from lzu_benchmarks.train.schedule import Picks, Schedule, learn
from lzu_export.evaluation.metrics.segmentation import boundary_zone
from lzu_export.warp.forward import pixel_centres

LATTICE = (8, 14)
"""Size (rows, columns) of the lattice of places."""
SMOOTHNESS = 1.0
"""Weight of the distance of neighbours beside the distance to the nearest boundary."""
RATE = 2e-3
"""Highest learning rate of the regression."""
LEAST_GAP = 0.1
"""Least gap between neighbours, as a share of that of even spacing."""

Array = NDArray[np.float64]


class Places(nn.Module):
    """Module from normalised images (B, 3, 360, 640) to places (B, 8, 14, 2) in [-1, 1], x, y."""

    def __init__(self, channels: int = 24) -> None:
        """Build with random weights and `channels` channels."""
        super().__init__()
        layers: list[nn.Module] = []
        for inner in (3, channels, channels):
            layers += [nn.Conv2d(inner, channels, 3, 2, 1), nn.ReLU()]
        for reach in (1, 2):
            layers += [nn.Conv2d(channels, channels, 3, 1, reach, reach), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Conv2d(channels, 2, 1))
        self.mean = nn.Parameter(torch.zeros(2, *LATTICE))

    def forward(self, images: Tensor) -> Tensor:
        """Return places that increase along rows and columns, from edge to edge of the frame."""
        low = low_resolution(images, (8 * LATTICE[0], 8 * LATTICE[1]))
        x, y = (self.layers(low) + self.mean).unbind(1)
        return torch.stack([_running(x, 2), _running(y, 1)], dim=-1)


def _running(logits: Tensor, dim: int) -> Tensor:
    """Return places (B, h, w) along an axis, by the gaps that logits (B, h, w) give."""
    gaps = logits.shape[dim] - 1
    share = torch.softmax(logits.narrow(dim, 0, gaps), dim)
    share = LEAST_GAP / gaps + (1 - LEAST_GAP) * share
    first = torch.zeros_like(share.narrow(dim, 0, 1))
    return 2 * torch.cat([first, torch.cumsum(share, dim)], dim) - 1


def nearest_boundary(labels: NDArray[np.integer], lattice: tuple[int, int] = LATTICE) -> Array:
    """Return each lattice point's nearest boundary pixel (h, w, 2) in [-1, 1], order x, y.

    A pixel is boundary if one of its 8 neighbours has another label. Distances are in pixels.
    Without a boundary, the points themselves are returned.
    """
    y, x = (pixel_centres(count) for count in lattice)
    points = np.stack(np.meshgrid(x, y), axis=-1)
    pixels = np.argwhere(boundary_zone(labels, 1))[:, ::-1]
    if not len(pixels):
        return points
    extent = (np.array(labels.shape[::-1]) - 1) / 2
    places = ((points + 1) * extent).reshape(-1, 2)
    # |a - b|^2 without |a|^2, which is the same for all b.
    distance = (pixels**2).sum(1) - 2 * places @ pixels.T
    return np.asarray(pixels[distance.argmin(1)] / extent - 1).reshape(points.shape)


@lru_cache(maxsize=4)
def _energy(shape: tuple[int, int], smoothness: float) -> tuple[Array, Array]:
    """Return the energy's matrix (n, n) over points row by row, and its inverse inside (m, m)."""
    down, across = (np.diff(np.eye(count), axis=0) for count in shape)
    matrix = np.eye(shape[0] * shape[1]) + smoothness * (
        np.kron(down.T @ down, np.eye(shape[1])) + np.kron(np.eye(shape[0]), across.T @ across)
    )
    inside = np.arange(len(matrix)).reshape(shape)[:, 1:-1].ravel()
    return matrix, np.linalg.inv(matrix[np.ix_(inside, inside)])


def target_places(nearest: Array, smoothness: float = SMOOTHNESS) -> Array:
    """Return the places (h, w, 2) in [-1, 1] that minimise the energy of nearest boundary pixels.

    The energy is the sum of |p_ij - nearest_ij|^2 over points, and of `smoothness` |p_ij - p_kl|^2
    over pairs of neighbours. Points on the frame's edges stay on them.
    """
    found = nearest.copy()
    for plane in (found[..., 0], found[..., 1].T):  # views, whose first and last columns are edges
        matrix, inverse = _energy((plane.shape[0], plane.shape[1]), smoothness)
        edges = np.zeros_like(plane)
        edges[:, 0], edges[:, -1] = -1, 1
        pulled = (plane.ravel() - matrix @ edges.ravel()).reshape(plane.shape)[:, 1:-1]
        plane[...] = edges
        plane[:, 1:-1] = (inverse @ pulled.ravel()).reshape(pulled.shape)
    return found


def learn_places(module: Places, scenes: Scenes, schedule: Schedule) -> None:
    """Train the module alone, to return the target places, and freeze it."""
    targets = np.stack([target_places(nearest_boundary(each.labels)) for each in scenes])
    targets = torch.from_numpy(targets).float()

    def losses(_step: int, picks: Picks) -> Tensor:
        wanted = targets[picks.places]
        flipped = wanted.flip(2) * torch.tensor([-1.0, 1.0])
        wanted = torch.where(torch.from_numpy(picks.flips)[:, None, None, None], flipped, wanted)
        return (module(images_of(scenes, picks)) - wanted).square().sum(-1).mean()[None]

    learn(module, losses, len(scenes), replace(schedule, rate=RATE))
    module.requires_grad_(False)


if __name__ == "__main__":
    command(zoomed_system("es", Places, prepare=learn_places), __doc__)
