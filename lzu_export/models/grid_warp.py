"""Modules of non-separable warps, at sampling grids that are constant or computed from a saliency.

fixed     frame -> zoom at a constant grid -> ... -> unzoom at constant grids -> ...
adaptive  boxes -> saliency (B, h, w) -> knots (B, h, w, 2) -> zoom, inverse -> ...

An adaptive warp is computed by plain tensor operations, which are traced to plain ONNX operators,
and one `lzu::InvertWarp`, all in float32. Sums of products are not written as matrix products,
since a target may round those to TF32.
"""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from lzu_export.models.adaptive_warp import AdaptiveWarp, BoxPull
from lzu_export.ops.box_knots import FARTHEST, LARGEST
from lzu_export.ops.torch_ops import run
from lzu_export.warp.box_saliency import KERNEL_SUM_FLOOR
from lzu_export.warp.forward import pixel_centres
from lzu_export.warp.geometry import Level
from lzu_export.warp.grids import PLANE_KNOTS, GridTable
from lzu_export.warp.knots import attraction_matrices
from lzu_export.warp.saliency import BOX_INPUTS, Array

NOWHERE = -1000.0
"""Position, in [-1, 1] units, of cells beyond the outermost knots: far outside every level."""


class GridResample(nn.Module):
    """Resampling at a constant grid, by `lzu::GridResample`."""

    whole: Tensor
    fraction: Tensor

    def __init__(self, table: GridTable) -> None:
        """Store the positions (see `lzu_export.warp.grids`)."""
        super().__init__()
        # Not persistent: a checkpoint carries the network, the warp comes from the recipe.
        for name, values in table._asdict().items():
            self.register_buffer(name, torch.from_numpy(values)[None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C, rows, columns) of the grid."""
        y: Tensor = run("GridResample", x, self.whole, self.fraction)
        return y


class BoxSaliency(nn.Module):
    """Saliency (B, h, w) of the previous frame's boxes: their density, mixed with a fixed one.

    The formula is that of `lzu_export.warp.box_saliency.box_saliency`; boxes are valid as in
    `lzu::BoxKnots`. `amplitude` and `bandwidth` are parameters, so that a checkpoint can carry
    learned ones.
    """

    fixed: Tensor
    corner: Tensor
    points_x: Tensor
    points_y: Tensor

    def __init__(self, fixed: Array, picture: tuple[int, int], pull: BoxPull) -> None:
        """Store the constants and make the parameters.

        Args:
            fixed: (h, w) fixed saliency on the lattice of the warp; its sum does not matter.
            picture: (height, width) in pixels of the part of the frame that the canvas shows.
            pull: attraction of the boxes.
        """
        super().__init__()
        self.amplitude = nn.Parameter(torch.tensor(float(pull.amplitude)))
        self.bandwidth = nn.Parameter(torch.tensor(float(pull.bandwidth)))
        height, width = np.shape(fixed)
        self.floor = 1.0 / (2 * (min(height, width) - 1) + 1) ** 2
        self.mix, self.min_side = float(pull.mix), float(pull.min_side)
        for name, values in (
            ("fixed", fixed / np.sum(fixed) * (1 - self.mix)),
            ("corner", pull.origin),
            ("points_x", np.linspace(0, picture[1], width)),
            ("points_y", np.linspace(0, picture[0], height)),
        ):
            self.register_buffer(name, _float32(values), persistent=False)

    def forward(self, boxes: Tensor, valid: Tensor) -> Tensor:
        """Map boxes (B, N, 4) in frame pixels and flags (B, N) to (B, h, w), summing to 1."""
        # A comparison with NaN is false.
        finite = boxes.abs() <= LARGEST
        counts = finite.float().amin(dim=-1) * (valid > 0.5).float()
        places = torch.where(finite, boxes, 0.0).clamp(-FARTHEST, FARTHEST) - self.corner
        low, high = places[..., :2], places[..., 2:]
        centres = (low + high) * 0.5
        variance = (high - low).clamp(min=self.min_side) * self.bandwidth
        columns, rows = (
            torch.exp((points - centres[..., k, None]) ** 2 / (-2 * variance[..., k, None]))
            for k, points in enumerate((self.points_x, self.points_y))
        )
        mass = columns.sum(dim=-1) * rows.sum(dim=-1) + KERNEL_SUM_FLOOR
        weight = counts * self.amplitude / mass
        density = ((weight[..., None] * rows)[..., None] * columns[..., None, :]).sum(dim=1)
        number = counts.sum(dim=-1)[:, None, None]
        # Without a box the density is 0; make it uniform.
        density = density + number * self.floor + (1 - number).clamp(min=0)
        share = density / density.sum(dim=(1, 2), keepdim=True)
        return share if self.mix == 1 else self.fixed + self.mix * share


class SaliencyKnots(nn.Module):
    """Module from a saliency (B, h, w) to the knots (B, h, w, 2) of its warp, borders reflected.

    The formulas are LZU eqs. (1) and (2), as in `lzu_export.warp.knots.nonseparable_knots`. The
    Gaussian is a product, so the plane is summed along x, then along y.
    """

    names: ClassVar[tuple[str, ...]] = PLANE_KNOTS
    even: Tensor

    def __init__(self, lattice: tuple[int, int], fwhm: float) -> None:
        """Store the constant matrices of the sums.

        Args:
            lattice: (h, w) of the saliency.
            fwhm: full width of the attraction at half maximum, in lattice cells.
        """
        super().__init__()
        for axis, count in zip("yx", lattice, strict=True):
            matrices = attraction_matrices(count, fwhm, pad=min(lattice) - 1)
            for name, matrix in zip(("weight", "moment"), matrices, strict=True):
                self.register_buffer(f"{name}_{axis}", _float32(matrix), persistent=False)
        y, x = (pixel_centres(count) for count in lattice)
        even = np.stack(np.meshgrid(x, y), axis=-1)
        self.register_buffer("even", _float32(even), persistent=False)

    def forward(self, saliency: Tensor) -> tuple[Tensor]:
        """Map positive saliencies, of any sum, to positions in [-1, 1], order x, y, in a tuple."""
        # Only ratios count; this keeps tiny saliencies from underflow.
        plane = saliency / saliency.amax(dim=(1, 2), keepdim=True)
        weighted, moved = (self._along_x(plane, name) for name in ("weight", "moment"))
        total = self._along_y(weighted, "weight")
        shift_x = self._along_y(moved, "weight") / total
        shift_y = self._along_y(weighted, "moment") / total
        return ((self.even + torch.stack([shift_x, shift_y], dim=-1)).clamp(-1.0, 1.0),)

    def _along_x(self, plane: Tensor, name: str) -> Tensor:
        matrix: Tensor = getattr(self, f"{name}_x")
        return (plane[:, :, None, :] * matrix).sum(dim=-1)

    def _along_y(self, plane: Tensor, name: str) -> Tensor:
        matrix: Tensor = getattr(self, f"{name}_y")
        return (matrix[:, :, None] * plane[:, None]).sum(dim=2)


class BoxGridWarp(AdaptiveWarp):
    """Warp from the previous frame's boxes to each image's non-separable knots."""

    inputs = BOX_INPUTS
    knot_names = PLANE_KNOTS

    def __init__(self, saliency: BoxSaliency, knots: SaliencyKnots) -> None:
        """Chain a saliency of boxes and the knots of that saliency."""
        super().__init__()
        self.saliency, self.knots = saliency, knots

    def forward(self, boxes: Tensor, valid: Tensor) -> tuple[Tensor]:
        """Map boxes (B, N, 4) and flags (B, N) to a tuple of the knots (B, h, w, 2) alone."""
        knots: tuple[Tensor] = self.knots(self.saliency(boxes, valid))
        return knots


class GridZoom(nn.Module):
    """Zoom of an image at the forward warp of knots, upsampled with align_corners: LZU eq. (5).

    Only the displacement of each canvas pixel is computed, in pixels of the image. The pixel's
    position without a warp is a constant, whole and fraction apart, so that positions keep their
    precision in wide images.
    """

    even: Tensor
    extent: Tensor
    whole: Tensor
    fraction: Tensor

    def __init__(
        self, lattice: tuple[int, int], picture: tuple[int, int], canvas: tuple[int, int]
    ) -> None:
        """Store the constants.

        Args:
            lattice: (h, w) of the knots.
            picture: (height, width) of the image.
            canvas: (height, width) of the result.
        """
        super().__init__()
        y, x = (pixel_centres(count) for count in lattice)
        self.register_buffer("even", _float32(np.stack(np.meshgrid(x, y), axis=-1)), False)
        extent = (np.array(picture[::-1]) - 1) / 2
        self.register_buffer("extent", _float32(extent), persistent=False)
        starts = []
        for axis, knots, size, pixels in zip("yx", lattice, picture, canvas, strict=True):
            centres = (pixel_centres(pixels) + 1) / 2
            starts.append(centres * (size - 1))
            place = centres * (knots - 1)
            piece = np.floor(place).clip(0, knots - 2)
            shape = (-1, 1, 1) if axis == "y" else (-1, 1)
            share = _float32((place - piece).reshape(shape))
            self.register_buffer(f"piece_{axis}", torch.from_numpy(piece.astype(np.int64)), False)
            self.register_buffer(f"share_{axis}", share, persistent=False)
        start = np.stack(np.meshgrid(*starts[::-1]), axis=-1)
        self.register_buffer("whole", _float32(np.floor(start)), persistent=False)
        self.register_buffer("fraction", _float32(start - np.floor(start)), persistent=False)

    def forward(self, image: Tensor, knots: Tensor) -> Tensor:
        """Map images (B, C, picture) and knots (B, h, w, 2) to (B, C, canvas)."""
        moves = (knots - self.even) * self.extent
        moves = self._between(self._between(moves, 1, "y"), 2, "x")
        steps = moves.floor()
        rest = (moves - steps) + self.fraction
        carry = rest.floor()
        whole = self.whole + steps + carry
        zoomed: Tensor = run("GridResample", image, whole, rest - carry)
        return zoomed

    def _between(self, values: Tensor, dim: int, axis: str) -> Tensor:
        """Interpolate values on the lattice at each canvas pixel of an axis."""
        piece: Tensor = getattr(self, f"piece_{axis}")
        share: Tensor = getattr(self, f"share_{axis}")
        first, second = (values.index_select(dim, piece + step) for step in (0, 1))
        return first + share * (second - first)


class GridUnzoom(nn.Module):
    """Unzoom of all levels at the inverse warp of knots, in true pixel coordinates.

    The inverse is computed once, for the cells of the finest level (or `upscale` times as many on
    each axis). The cells of a coarser level of the same phase coincide with every n-th of these, so
    picking them is as exact as inverting again. A level of another phase has its own inverse. Cells
    beyond the outermost knots sample zeros.
    """

    def __init__(
        self, levels: Sequence[Level], canvas: tuple[int, int], *, upscale: int = 1
    ) -> None:
        """Store the levels' places on the canvas (height, width), and `upscale`, cells per cell.

        The strides must be multiples of the finest level's.
        """
        super().__init__()
        self.levels, self.canvas, self.upscale = list(levels), canvas, upscale
        self.finest = min(levels, key=lambda level: level.stride)
        for i, level in enumerate(levels):
            # From [-1, 1] over the canvas to cells; an axis of one cell is not moved.
            last = np.array([n - 1 for n in canvas[::-1]]) / level.stride
            moves = np.array(level.size[::-1]) > 1
            start = np.array(level.phase[::-1]) / level.stride
            self.register_buffer(
                f"factor_{i}", _float32(np.where(moves, last / 2, 0.0)), persistent=False
            )
            self.register_buffer(
                f"start_{i}", _float32(np.where(moves, start, 0.0)), persistent=False
            )

    def forward(self, levels: Sequence[Tensor], knots: Tensor) -> list[Tensor]:
        """Map levels (B, C, H_l, W_l) to (B, C, upscale H_l, upscale W_l) each."""
        shared = self._inverse(knots, self.finest)
        unzoomed = []
        for i, (x, level) in enumerate(zip(levels, self.levels, strict=True)):
            step = level.stride // self.finest.stride
            grid = shared
            if level.phase != self.finest.phase:
                step, grid = 1, self._inverse(knots, level)
            factor: Tensor = getattr(self, f"factor_{i}")
            rows, columns = (n * self.upscale for n in level.size)
            cells = (grid[:, ::step, ::step][:, :rows, :columns] + 1) * factor
            if any(level.phase):
                cells = cells - getattr(self, f"start_{i}")
            whole = cells.floor()
            unzoomed.append(run("GridResample", x, whole, cells - whole))
        return unzoomed

    def _inverse(self, knots: Tensor, level: Level) -> Tensor:
        """Return the inverse warp at the cells of a level, (B, rows, columns, 2) in [-1, 1]."""
        affine = []
        for pixels, phase in zip(self.canvas, level.phase, strict=True):
            span = max(pixels - 1, 1)
            affine += [2 * level.stride / self.upscale / span, -1.0 + 2 * phase / span]
        size = [count * self.upscale for count in level.size]
        grid: Tensor = torch.ops.lzu.invert_warp(knots, size, *affine, NOWHERE)
        return grid


def _float32(values: Array) -> Tensor:
    return torch.from_numpy(np.asarray(values, np.float32))
