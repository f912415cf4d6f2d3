"""Warp by a vanishing point: the prior of a ground plane and of a plane above it.

Source: Ghosh et al., "Learned Two-Plane Perspective Prior based Image Resampling for Efficient
Object Detection", CVPR 2023. The formula is that of its released code, `CuboidLayerGlobal`. Each
plane is a quadrilateral between the vanishing point and an edge of the frame. A ramp,
exp(-p row) with row 0 at the first row and 1 at the last, is mapped onto it by a homography. The
saliency is that of the ground plus (1 - lambda) that of the upper plane.

As in the released code, the ramp of the upper plane also begins at its first row: it is 1 at the
top of the frame and falls towards the vanishing point, while that of the ground is 1 near the
vanishing point. The ramp is evaluated at each lattice point, where the code resizes an image of it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from lzu_export.errors import LzuError
from lzu_export.warp.families.arguments import check_inside, check_positive
from lzu_export.warp.saliency import Array, check_lattice
from lzu_export.warp.warp import saliency_knots

THETA = (115.0, 115.0)
"""Initial angles, left and right, in degrees; the released code learns them."""
ALPHA = (0.3, 0.3)
"""Initial place of a quadrilateral's corners between vanishing point (0) and frame edge (1)."""


def two_plane_knots(
    vanishing_point: ArrayLike,
    source: Sequence[int],
    *,
    theta: tuple[float, float] = THETA,
    alpha: tuple[float, float] = ALPHA,
    alpha_top: tuple[float, float] = ALPHA,
    steepness: tuple[float, float] = (3.0, 3.0),
    share: float = 0.97,
    floor: float = 1e-3,
    fwhm: float = 13.0,
    lattice: tuple[int, int] = (31, 51),
) -> dict[str, Array]:
    """Return `knots_x` (w,) and `knots_y` (h,) of the prior, ends at -1 and 1.

    See `two_plane_saliency` for the other arguments and errors; their defaults are the values from
    which the released code learns.

    Args:
        vanishing_point: (x, y) in pixels of the frame; 0 is the centre of the first pixel.
        source: (height, width) of the frame in pixels.
        theta: angles in degrees of the horizon's left and right half.
        alpha: places of the ground's left and right corner.
        alpha_top: places of the upper plane's left and right corner.
        steepness: p of the ground's and of the upper plane's ramp.
        share: lambda.
        floor: saliency that is added everywhere.
        fwhm: full width of the attraction at half maximum, in lattice cells.
        lattice: (h, w) of the saliency and of its knots.
    """
    saliency = two_plane_saliency(
        vanishing_point,
        source,
        theta=theta,
        alpha=alpha,
        alpha_top=alpha_top,
        steepness=steepness,
        share=share,
        floor=floor,
        lattice=lattice,
    )
    return saliency_knots(saliency, fwhm)


def two_plane_saliency(
    vanishing_point: ArrayLike,
    source: Sequence[int],
    *,
    theta: tuple[float, float] = THETA,
    alpha: tuple[float, float] = ALPHA,
    alpha_top: tuple[float, float] = ALPHA,
    steepness: tuple[float, float] = (3.0, 3.0),
    share: float = 0.97,
    floor: float = 1e-3,
    lattice: tuple[int, int] = (31, 51),
) -> Array:
    """Return the saliency (h, w) of the two planes, positive.

    The horizon's halves are the lines from the vanishing point to the frame's left and right edge
    at the angles `theta` to the downward vertical: above 90 degrees they rise. A quadrilateral's
    corners lie on them, and on the two corners of the frame's bottom or top edge.

    Args:
        vanishing_point: (x, y) in pixels of the frame; 0 is the centre of the first pixel.
        source: (height, width) of the frame in pixels.
        theta: angles in degrees, left and right, above 0 and below 180.
        alpha: places of the ground's left and right corner between the vanishing point (0) and the
            frame's edge (1).
        alpha_top: the same for the upper plane.
        steepness: p of the ground's and of the upper plane's ramp, above 0.
        share: lambda, 0 to 1; the upper plane has the weight 1 - lambda.
        floor: saliency that is added everywhere, above 0. It is this package's: rows that neither
            plane covers would have none.
        lattice: (h, w) of the saliency.

    Raises:
        LzuError: the vanishing point is not in the frame, a setting is out of range, or a plane's
            quadrilateral is not convex.
    """
    height, width = check_lattice(lattice)
    half = (np.array([source[1], source[0]], np.float64) - 1) / 2
    point = (check_inside(vanishing_point, source, "vanishing point") + 1) * half
    last_x, last_y = half * 2
    if not all(0 < angle < 180 for angle in theta):
        raise LzuError(f"theta is {tuple(theta)}; give angles above 0 and below 180 degrees")
    if not 0 <= share <= 1:
        raise LzuError(f"share is {share}; give lambda as a number from 0 to 1")
    rise = 1 / np.tan(np.deg2rad(theta))
    edges = np.array(
        [[0, point[1] + point[0] * rise[0]], [last_x, point[1] + (last_x - point[0]) * rise[1]]]
    )
    bottom, top = (np.array([[last_x, y], [0, y]], np.float64) for y in (last_y, 0))
    ground, upper = (
        (1 - np.array(place)[:, None]) * point + np.array(place)[:, None] * edges
        for place in (alpha, alpha_top)
    )
    points = np.stack(
        np.meshgrid(np.linspace(0, last_x, width), np.linspace(0, last_y, height)), axis=-1
    )
    below = _ramp(points, np.concatenate([ground, bottom]), steepness[0])
    above = _ramp(points, np.concatenate([top[::-1], upper[::-1]]), steepness[1])
    return below + (1 - share) * above + check_positive(floor, "floor")


def _ramp(points: Array, corners: Array, steepness: float) -> Array:
    """Return the ramp at points (..., 2) within a quadrilateral, 0 outside.

    Args:
        points: x, y.
        corners: (4, 2) of the quadrilateral: first row from left to right, last row from right to
            left.
        steepness: p of the ramp exp(-p row).
    """
    steep = check_positive(steepness, "steepness")
    sides = np.roll(corners, -1, axis=0) - corners
    following = np.roll(sides, -1, axis=0)
    turns = sides[:, 0] * following[:, 1] - sides[:, 1] * following[:, 0]
    if not (turns > 0).all():
        raise LzuError(
            "a plane between the vanishing point and the frame's edge is not convex; move the "
            "vanishing point inwards or change theta and alpha"
        )
    matrix = np.linalg.inv(_from_unit_square(corners))
    places = np.concatenate([points, np.ones_like(points[..., :1])], axis=-1) @ matrix.T
    depth = places[..., 2]
    front = depth > 0  # a point beyond the horizon is in no plane
    across, row = (places[..., axis] / np.where(front, depth, 1) for axis in (0, 1))
    edge = 1e-9  # so that rounding keeps the points of the frame's own edges
    inside = front & (np.maximum(abs(across - 0.5), abs(row - 0.5)) <= 0.5 + edge)
    return np.where(inside, np.exp(-steep * row.clip(0, 1)), 0.0)


def _from_unit_square(corners: Array) -> Array:
    """Return the homography (3, 3) from (0, 0), (1, 0), (1, 1), (0, 1) to corners (4, 2)."""
    equations, right = [], []
    for (u, v), (x, y) in zip(((0, 0), (1, 0), (1, 1), (0, 1)), corners, strict=True):
        equations += [[u, v, 1, 0, 0, 0, -u * x, -v * x], [0, 0, 0, u, v, 1, -u * y, -v * y]]
        right += [x, y]
    return np.append(np.linalg.solve(np.array(equations, np.float64), right), 1.0).reshape(3, 3)
