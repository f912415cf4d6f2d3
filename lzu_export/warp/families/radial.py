"""Radial warp: a disc around a point is magnified, all beyond it stays as it is.

Source: Telescope (arXiv 2604.06332, 2026). The formula was read in a reimplementation that is not
the authors' (VictorEscribano/telescope-hyperbolic-foveation, `telescope/geometry.py`). At the
distance r from the centre o, a place x of the frame is shown at

    Phi(x) = (1 - w) x + w (o + tanh(alpha r) / r (x - o)),    w = (1 - min(r / R, 1))^p

on the canvas, magnified alpha times at the centre. The zoom samples at the inverse of Phi, which
has no closed form, and the unzoom at Phi, which has.

Here the zoom's positions are knots on a lattice, so it is a non-separable warp like any other: the
unzoom is the exact inverse of the bilinear tiles between the knots, which approach Phi as the
lattice gets finer. The frame is kept only if the disc lies within it, which is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from lzu_export.errors import LzuError
from lzu_export.warp.families.arguments import check_inside, check_positive
from lzu_export.warp.forward import pixel_centres
from lzu_export.warp.grids import PLANE_KNOTS
from lzu_export.warp.saliency import Array, check_lattice

SAMPLES = 2048
"""Number of radii at which the map of radii is checked to increase."""


def radial_knots(
    centre: ArrayLike,
    source: Sequence[int],
    *,
    radius: float = 0.5,
    alpha: float = 2.0,
    power: float = 2.0,
    lattice: tuple[int, int] = (31, 51),
) -> dict[str, Array]:
    """Return `knots` (h, w, 2), order x, y, of the warp that magnifies a disc.

    Distances are in [-1, 1] units, as in the source: half the frame's width along x, half its
    height along y. A disc is an ellipse in pixels unless the frame is square.

    Args:
        centre: o, (x, y) in pixels of the frame; 0 is the centre of the first pixel.
        source: (height, width) of the frame in pixels.
        radius: R in [-1, 1] units, at most the distance of the centre from the nearest edge.
        alpha: magnification at the centre, above 1.
        power: p, above 0.
        lattice: (h, w), the number of knots along y and x.

    Raises:
        LzuError: the centre is not in the frame, a setting is out of range, the disc is not within
            the frame, or the map of radii does not increase, so that it has no inverse.
    """
    place = check_inside(centre, source, "centre")
    height, width = check_lattice(lattice)
    check_positive(power, "power")
    if not (np.isfinite(alpha) and alpha > 1):
        raise LzuError(f"alpha is {alpha}; give a magnification above 1")
    room = float((1 - np.abs(place)).min())
    if check_positive(radius, "radius") > room:
        raise LzuError(f"radius {radius:g} reaches beyond the frame; give at most {room:.4g}")
    inside = np.linspace(0, radius, SAMPLES)
    if not (np.diff(_shown_radius(inside, radius, alpha, power)) > 0).all():
        raise LzuError(
            f"radii do not increase with radius {radius:g}, alpha {alpha:g} and power {power:g}; "
            "lower alpha or raise power"
        )
    even = np.stack(np.meshgrid(pixel_centres(width), pixel_centres(height)), axis=-1)
    offset = even - place
    shown = np.linalg.norm(offset, axis=-1)
    low, high = np.zeros_like(shown), np.full_like(shown, radius)
    for _ in range(60):  # bisection, down to float64's rounding
        middle = (low + high) / 2
        beyond = _shown_radius(middle, radius, alpha, power) > shown
        low, high = np.where(beyond, low, middle), np.where(beyond, middle, high)
    factor = np.where((shown < radius) & (shown > 0), high / np.where(shown > 0, shown, 1), 1.0)
    moved = place + offset * factor[..., None]
    return {PLANE_KNOTS[0]: np.where((factor == 1.0)[..., None], even, moved)}


def radial_map(points: Array, centre: Array, radius: float, alpha: float, power: float) -> Array:
    """Return Phi of points (..., 2): where the canvas shows places of the frame, in [-1, 1].

    Args:
        points: x, y in [-1, 1].
        centre: o, x and y in [-1, 1].
        radius: R.
        alpha: magnification at the centre.
        power: p.
    """
    offset = points - centre
    r = np.linalg.norm(offset, axis=-1)
    shown = _shown_radius(r, radius, alpha, power)
    factor = np.where(r > 0, shown / np.where(r > 0, r, 1), alpha)
    return np.asarray(centre + offset * factor[..., None])


def _shown_radius(r: Array, radius: float, alpha: float, power: float) -> Array:
    """Return the distance from the centre at which the canvas shows distances `r`."""
    weight = (1 - np.minimum(r / radius, 1)) ** power
    return np.asarray(r + weight * (np.tanh(alpha * r) - r))
