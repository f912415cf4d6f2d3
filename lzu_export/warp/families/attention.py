"""Warp by the cumulative distribution of an attention map's marginals.

The more attention a column or row of cells gets, the more of the canvas it fills: the canvas
position of a place is the cumulative marginal attention up to it, so knots are the inverse of the
cumulative distribution. Source: AttWarp (attention-guided image warping, arXiv 2510.09741, 2025),
whose released code takes the root of the attention before it sums the marginals.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from lzu_export.errors import LzuError
from lzu_export.warp.families.arguments import check_positive, check_share
from lzu_export.warp.grids import AXIS_KNOTS
from lzu_export.warp.saliency import Array, as_real, check_lattice


def attention_knots(
    attention: ArrayLike,
    *,
    power: float = 0.5,
    floor: float = 0.1,
    lattice: tuple[int, int] = (31, 51),
) -> dict[str, Array]:
    """Return `knots_x` (w,) and `knots_y` (h,) of an attention map, ends at -1 and 1.

    Attention that is 0 everywhere gives the identity, as in the released code. That code adds 1e-9
    to the attention; here a share of the canvas is spread evenly instead, so that nothing is
    squeezed below it. Between knots the warp is linear, which follows the cumulative distribution
    the closer the more knots there are.

    Args:
        attention: (rows, columns) of cells that tile the frame, not negative; any sum.
        power: exponent of the attention before it is summed; 1 takes it as it is.
        floor: share of the canvas that is spread evenly, above 0; 1 gives the identity.
        lattice: (h, w), the number of knots along y and x.

    Raises:
        LzuError: the attention is not such a map, or a setting is out of range.
    """
    array = as_real(attention, "attention")
    if array.ndim != 2 or not array.size:
        raise LzuError(f"attention has shape {array.shape}; give (rows, columns) of cells")
    if not np.isfinite(array).all() or (array < 0).any():
        raise LzuError("attention holds values that are negative, NaN or infinite; give shares")
    check_positive(power, "power")
    check_share(floor, "floor")
    height, width = check_lattice(lattice)
    peak = array.max()
    shaped = (array / peak) ** power if peak > 0 else np.ones_like(array)
    profiles = (shaped.sum(axis=0), shaped.sum(axis=1))
    return {
        name: _inverse_distribution(profile, floor, count)
        for name, profile, count in zip(AXIS_KNOTS, profiles, (width, height), strict=True)
    }


def distribution(profile: Array, floor: float) -> Array:
    """Return the cumulative distribution (n + 1,) at the edges of cells, from exactly 0 to 1.

    Args:
        profile: (n,) marginal attention of the cells along an axis; its sum is above 0.
        floor: share that is spread evenly.
    """
    density = (1 - floor) * profile / profile.sum() + floor / len(profile)
    cumulative = np.concatenate([[0.0], density.cumsum()])
    return np.asarray(cumulative / cumulative[-1])


def _inverse_distribution(profile: Array, floor: float, count: int) -> Array:
    edges = np.linspace(-1.0, 1.0, len(profile) + 1)
    return np.interp(np.linspace(0.0, 1.0, count), distribution(profile, floor), edges)
