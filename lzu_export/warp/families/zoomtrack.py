"""Warp of a tracker: grid spacings by a quadratic programme that magnifies the target.

Source: ZoomTrack (Kou et al., "ZoomTrack: Target-aware Non-uniform Resizing for Efficient Visual
Tracking", NeurIPS 2023). The formula is that of its released code, class `QPGrid` with the loss
`asap_ts_weight`. A grid of m x n cells has the row heights y_k and column widths x_l, in pixels of
the frame, that minimise

    sum_kl S_kl^2 (a ((y_k - H / (m z))^2 + (x_l - W / (n z))^2) + b (m / H y_k - n / W x_l)^2)

with sum y = H and sum x = W. S is the saliency of the target, z the wanted magnification. The first
term wants salient cells magnified z times, the second wants them undistorted. The code solves it by
an interior-point solver; since the only constraints are the two sums, one linear system does.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from lzu_export.errors import LzuError
from lzu_export.warp.box_saliency import KERNEL_SUM_FLOOR, MIN_BOX_SIDE
from lzu_export.warp.families.arguments import check_positive
from lzu_export.warp.grids import AXIS_KNOTS
from lzu_export.warp.saliency import Array, as_real, check_lattice


def zoomtrack_knots(
    box: ArrayLike | None,
    source: Sequence[int],
    *,
    zoom: float = 1.5,
    bandwidth: float = 64.0,
    weights: tuple[float, float] = (1.0, 1.0),
    lattice: tuple[int, int] = (17, 17),
) -> dict[str, Array]:
    """Return `knots_x` (w,) and `knots_y` (h,) of the warp that magnifies a target.

    The defaults are those of the released configuration, for search windows of 320 pixels. The end
    knots are -1 and 1.

    Args:
        box: the target's x1, y1, x2, y2 in pixels of the frame; None gives the identity.
        source: (height, width) of the frame in pixels.
        zoom: z, the magnification wanted for the target, at least 1.
        bandwidth: bandwidth in pixels: the variance of the target's Gaussian along an axis is this
            times the box's side.
        weights: a and b, the weights of magnification and of rigidity; a above 0, b at least 0.
        lattice: (h, w), the number of knots along y and x.

    Raises:
        LzuError: the box is not four finite numbers with x1 <= x2 and y1 <= y2, or a setting is out
            of range.
    """
    height, width = check_lattice(lattice)
    if box is None:
        cells = np.ones((height - 1, width - 1))
    else:
        points = _target_saliency(
            box, source, (height, width), check_positive(bandwidth, "bandwidth")
        )
        cells = (points[:-1, :-1] + points[1:, 1:] + points[:-1, 1:] + points[1:, :-1]) / 4
    rows, columns = zoomtrack_spacings(cells, source, zoom=zoom, weights=weights)
    return {
        name: _knots(spacings) for name, spacings in zip(AXIS_KNOTS, (columns, rows), strict=True)
    }


def zoomtrack_spacings(
    saliency: Array, source: Sequence[int], *, zoom: float, weights: tuple[float, float]
) -> tuple[Array, Array]:
    """Return the row heights (m,) and column widths (n,) of the programme, in pixels.

    Args:
        saliency: S (m, n) of the cells, above 0.
        source: (height, width) of the frame in pixels.
        zoom: z, the magnification wanted for salient cells, at least 1.
        weights: a and b, the weights of magnification and of rigidity.

    Raises:
        LzuError: a setting is out of range, or a spacing of the solution is not above 0.
    """
    if not (np.isfinite(zoom) and zoom >= 1):
        raise LzuError(f"zoom is {zoom}; give a magnification of at least 1")
    size, rigid = check_positive(weights[0], "weights[0]"), weights[1]
    if not (np.isfinite(rigid) and rigid >= 0):
        raise LzuError(f"weights[1] is {rigid}; give a number of at least 0")
    m, n = saliency.shape
    even = np.repeat([source[0] / m, source[1] / n], [m, n])  # spacings of the identity
    square = saliency**2
    total = np.concatenate([square.sum(axis=1), square.sum(axis=0)])
    hessian = np.diag(2 * total * (size + rigid / even**2))
    hessian[:m, m:] = -2 * rigid * square / (even[0] * even[-1])
    hessian[m:, :m] = hessian[:m, m:].T
    sums = np.zeros((2, m + n))
    sums[0, :m] = sums[1, m:] = 1
    # The solution has zero gradient, up to a multiple of each constraint.
    system = np.block([[hessian, sums.T], [sums, np.zeros((2, 2))]])
    right = np.concatenate([2 * size * total * even / zoom, np.asarray(source, np.float64)])
    spacings = np.linalg.solve(system, right)[: m + n]
    if not (spacings > 0).all():
        raise LzuError("the spacings of the warp are not all above 0; lower zoom or weights[1]")
    return spacings[:m], spacings[m:]


def _target_saliency(
    box: ArrayLike, source: Sequence[int], lattice: tuple[int, int], bandwidth: float
) -> Array:
    """Return the target's saliency (h, w) on the lattice, at most 1."""
    ends = as_real(box, "box")
    if ends.shape != (4,) or not np.isfinite(ends).all() or (ends[2:] < ends[:2]).any():
        raise LzuError(f"box is {box!r}; give x1, y1, x2, y2 with x1 <= x2 and y1 <= y2")
    axes = []
    for axis, count in enumerate(lattice[::-1]):
        low, high = ends[axis], ends[axis + 2]
        variance = bandwidth * max(high - low, MIN_BOX_SIDE)
        points = np.linspace(0, source[1 - axis], count)
        axes.append(np.exp(-((points - (low + high) / 2) ** 2) / (2 * variance)))
    density = np.outer(axes[1], axes[0])
    share = density / (KERNEL_SUM_FLOOR + density.sum()) + 1 / density.size
    return np.asarray(share / share.max())


def _knots(spacings: Array) -> Array:
    ends = np.concatenate([[0.0], spacings.cumsum()])
    return np.asarray(2 * ends / ends[-1] - 1)
