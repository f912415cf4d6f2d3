"""Segmenter whose warp is learned with its weights, as logits of a saliency on the lattice.

It samples as the recipes' fixed warps do, antialiased, but by matrices that pass gradients on to
the logits. After the training the logits are a tensor of the checkpoint, and the recipe's key
`warp.logits` makes a fixed warp of them.
"""

import torch
from torch import Tensor

from lzu_benchmarks.train.seg import Segmenter
from lzu_export.models.zoom import LevelModel
from lzu_export.ops.differentiable import forward_axis, invert_axis, separable_knots
from lzu_export.recipes.schema import SegRecipe
from lzu_export.warp.geometry import Level

GAIN = 5.0
"""Factor of the logits: steps of the optimiser are as large as its rate, whatever the gradient."""

Matrices = tuple[Tensor, Tensor]


class LearnedSegmenter(Segmenter):
    """Segmenter from whole frames to logits, with one learned warp for all frames."""

    def __init__(self, recipe: SegRecipe, network: LevelModel | None = None) -> None:
        """Begin with equal logits, that is with the warp of the recipe, which is `uniform`."""
        super().__init__(recipe, network)
        self.recipe = recipe
        # One axis, since the optimiser decays weights of more.
        height, width = recipe.warp.lattice
        self.logits = torch.nn.Parameter(torch.zeros(height * width))

    def saliency(self) -> Tensor:
        """Return the saliency (h, w), which sums to 1 and is symmetric for mirrored frames."""
        found = torch.softmax(GAIN * self.logits, dim=0).reshape(self.recipe.warp.lattice)
        return (found + found.flip(1)) / 2

    def stored_logits(self) -> Tensor:
        """Return logits (h, w) whose softmax is the saliency."""
        logs = self.saliency().detach().log()
        return logs - logs.mean()

    def matrices(self) -> tuple[Matrices, Matrices]:
        """Return the rows and columns of the zoom, and those of the unzoom of the one level."""
        recipe = self.recipe
        knots = separable_knots(self.saliency(), recipe.warp.fwhm)[::-1]  # y, x
        (level,) = recipe.levels
        pairs = zip(knots, recipe.source, recipe.canvas, strict=True)
        zoom = [zoom_matrix(each, n_in, n_out) for each, n_in, n_out in pairs]
        unzoom = [
            unzoom_matrix(each, level, axis, recipe.canvas[axis], recipe.unzoom_scale)
            for axis, each in enumerate(knots)
        ]
        return (zoom[0], zoom[1]), (unzoom[0], unzoom[1])

    def forward(self, frames: Tensor) -> Tensor:
        """Map frames (B, H, W, 3) uint8 BGR to logits (B, classes, h, w)."""
        (rows, columns), unzoom = self.matrices()
        self.unzoom = [unzoom]
        canvases = rows @ (frames.permute(0, 3, 1, 2).float() @ columns.T)
        return super().forward(canvases.permute(0, 2, 3, 1))


def zoom_matrix(knots: Tensor, n_in: int, n_out: int) -> Tensor:
    """Return the matrix (n_out, n_in) that samples an axis antialiased at the forward warp.

    It equals `warp.sampling.axis_weights` with `antialias_support`.
    """
    pixels = (forward_axis(knots, n_out) + 1) / 2 * (n_in - 1)
    (spacing,) = torch.gradient(pixels)
    weights = _hats(pixels, n_in, spacing.abs().clamp(min=1.0))
    return weights / weights.sum(dim=1, keepdim=True)


def unzoom_matrix(knots: Tensor, level: Level, axis: int, pixels: int, scale: int) -> Tensor:
    """Return the matrix that unzooms an axis of a level, (scale * cells, cells).

    Args:
        knots: (m,) source positions in [-1, 1].
        level: level of phase 0, in the `consistent` geometry.
        axis: 0 for rows, 1 for columns.
        pixels: canvas pixels of the axis.
        scale: output cells per cell.
    """
    cells = level.size[axis]
    step = 2 * level.stride / (pixels - 1)
    places = torch.arange(cells * scale, dtype=knots.dtype) * (step / scale) - 1
    found = (invert_axis(knots, places) + 1) / step
    return _hats(found, cells, torch.ones_like(found))


def _hats(pixels: Tensor, n_in: int, support: Tensor) -> Tensor:
    """Return linear weights (n_out, n_in) around positions in pixels, not normalised."""
    distance = (pixels[:, None] - torch.arange(n_in)).abs()
    return (1 - distance / support[:, None]).clamp(min=0)
