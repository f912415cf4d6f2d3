"""Anchor boxes as mmdet's AnchorGenerator places them (centre offset 0). NumPy only.

PyTorch's decode and the runtime's post-processing of a network's own outputs both place them.
"""

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lzu_export.errors import LzuError

MAX_LOG_RATIO = abs(math.log(16 / 1000))
"""Bound on predicted log width and height ratios (mmdet's wh_ratio_clip)."""


class AnchorSpec(Protocol):
    """Scales and ratios of a cell's anchors, see `recipes.networks.AnchorSpec`."""

    @property
    def octave_base_scale(self) -> float:
        """Side of the smallest anchor over the stride."""

    @property
    def scales_per_octave(self) -> int:
        """Number of anchor sizes between one level and the next."""

    @property
    def ratios(self) -> Sequence[float]:
        """Aspect ratios (height / width) of the anchors."""


def base_anchors(stride: int, spec: AnchorSpec) -> NDArray[np.float32]:
    """Compute the anchors of the cell at the origin.

    Args:
        stride: pixels per cell, also the side of the anchor of scale 1 and ratio 1.
        spec: scales and ratios.

    Returns:
        (A, 4) float32 x1, y1, x2, y2 in pixels, centred on (0, 0); scales vary fastest.
    """
    scales = spec.octave_base_scale * 2.0 ** (
        np.arange(spec.scales_per_octave) / spec.scales_per_octave
    )
    tall = np.sqrt(np.asarray(spec.ratios, np.float64))
    widths = (stride * scales[None, :] / tall[:, None]).reshape(-1)
    heights = (stride * scales[None, :] * tall[:, None]).reshape(-1)
    return (0.5 * np.stack([-widths, -heights, widths, heights], axis=1)).astype(np.float32)


def grid_anchors(
    level_sizes: Sequence[tuple[int, int]], strides: Sequence[int], spec: AnchorSpec
) -> list[NDArray[np.float32]]:
    """Compute the anchors of levels; those of cell (i, j) centre on pixel (stride * i, stride * j).

    Args:
        level_sizes: (height, width) of every level in cells.
        strides: pixels per cell of every level.
        spec: scales and ratios.

    Returns:
        For every level (H * W * A, 4) float32 x1, y1, x2, y2 in pixels of the network input, not
        clipped; rows vary slowest, then columns, then the cell's anchors.

    Raises:
        LzuError: the numbers of sizes and strides differ.
    """
    check_levels(level_sizes, strides)
    levels = []
    for (height, width), stride in zip(level_sizes, strides, strict=True):
        rows, columns = np.meshgrid(
            np.arange(height) * stride, np.arange(width) * stride, indexing="ij"
        )
        shifts = np.stack([columns, rows, columns, rows], axis=-1).astype(np.float32)
        levels.append((shifts[:, :, None] + base_anchors(stride, spec)).reshape(-1, 4))
    return levels


def check_levels(level_sizes: Sequence[tuple[int, int]], strides: Sequence[int]) -> None:
    """Check that there are as many level sizes as strides."""
    if len(level_sizes) != len(strides):
        raise LzuError(
            f"{len(level_sizes)} level sizes but {len(strides)} strides; give one stride per level"
        )
