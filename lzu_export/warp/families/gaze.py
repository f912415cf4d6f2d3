"""Foveated warp: samples get sparser with the distance from a gaze point.

The density of samples follows the cortical magnification of human vision, M(E) = M0 / (1 + E / E2),
where E is the distance from the gaze point (the eccentricity) and E2 the distance at which M has
halved. Source: Horton and Hoyt, "The representation of the visual field in human striate cortex",
Archives of Ophthalmology 1991, M = 17.3 / (E + 0.75), thus E2 = 0.75 degrees. They give M along
one radius; applying it to each axis of the frame, so that the warp is separable, is this package's.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from lzu_export.warp.families.arguments import check_inside, check_positive
from lzu_export.warp.forward import pixel_centres
from lzu_export.warp.grids import AXIS_KNOTS
from lzu_export.warp.saliency import Array, check_lattice


def gaze_knots(
    point: ArrayLike,
    source: Sequence[int],
    *,
    halving: float = 0.25,
    lattice: tuple[int, int] = (31, 51),
) -> dict[str, Array]:
    """Return `knots_x` (w,) and `knots_y` (h,) of the warp that is densest at a point.

    Along an axis the position on the canvas is, up to a shift and a factor, the integral of the
    density, L(d) = sign(d) E2 ln(1 + |d| / E2) for the distance d from the point. Its inverse,
    d = sign(L) E2 (exp(|L| / E2) - 1), gives the knots in closed form. The end knots are -1 and 1.

    Args:
        point: (x, y) in pixels of the frame; 0 is the centre of the first pixel.
        source: (height, width) of the frame in pixels.
        halving: E2, the distance from the point at which the density has halved, over the length
            of the axis. The larger it is, the nearer the warp is to the identity.
        lattice: (h, w), the number of knots along y and x.

    Raises:
        LzuError: the point is not in the frame, or `halving` is not above 0.
    """
    place = check_inside(point, source, "gaze point")
    reach = 2 * check_positive(halving, "halving")  # axes are 2 long
    height, width = check_lattice(lattice)
    return {
        name: _axis_knots(place[axis], reach, count)
        for axis, (name, count) in enumerate(zip(AXIS_KNOTS, (width, height), strict=True))
    }


def _axis_knots(centre: float, reach: float, count: int) -> Array:
    """Return the knots (count,) of an axis for a gaze at `centre` and E2 = `reach`."""
    low, high = -np.log1p((1 + centre) / reach), np.log1p((1 - centre) / reach)
    along = low + (pixel_centres(count) + 1) / 2 * (high - low)  # L / E2
    knots = np.asarray(centre + np.sign(along) * reach * np.expm1(np.abs(along)))
    knots[[0, -1]] = -1.0, 1.0  # exact but for rounding
    return knots
