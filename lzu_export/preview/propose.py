"""Propose settings by which a warp has a wanted magnification."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from lzu_export.errors import LzuError
from lzu_export.preview.measure import box_sizes
from lzu_export.preview.subject import Subject
from lzu_export.warp.grids import AXIS_KNOTS, PLANE_KNOTS
from lzu_export.warp.magnification import axis_extremes
from lzu_export.warp.saliency import Array
from lzu_export.warp.warp import Knots

BOUNDS: dict[str, tuple[float, float]] = {
    "warp.bandwidth": (0.25, 16384.0),
    "warp.background": (1e-6, 1.0),
}
"""Least and largest value of a key that are tried. Of others than these and fwhm, values are tried
up to `FACTOR` times the present one, and down to as small a share of it."""
FACTOR = 64.0
LEAST_FWHM = 1.0
CUT = 1.5
"""Reach of the attraction, min(h, w) - 1 cells of the lattice, over the largest fwhm that is tried:
wider Gaussians are cut off, and the end of the reach shapes the warp."""
TRIED = 33
"""Number of values of a key, evenly spaced in their logarithms, between which a root is sought."""
HALVINGS = 24
"""Number of times that the interval around a root is halved."""
DIGITS = 3
"""Number of digits of a proposed value."""
CLOSE = 0.01
"""Relative distance from the wanted magnification that rounding a value may leave."""


class Proposal(NamedTuple):
    """Values of recipe keys, and what the warp does with them."""

    values: dict[str, float]
    """Values by recipe key, such as `{"warp.fwhm": 14.2}`."""
    largest: float
    """Largest magnification along either axis."""
    smallest: float
    """Smallest magnification along either axis."""
    small: float | None
    """Share of small boxes on the zoomed canvas, 0 to 1; None without boxes."""
    reaches: bool
    """Whether the wanted magnification is reached; otherwise these values come nearest to it."""


def propose(subject: Subject, wanted: float, small: float) -> list[Proposal]:
    """Find values of a warp's settings at which its largest magnification is the wanted one.

    Each key is changed by itself, to the value nearest to the present one. If no key reaches the
    magnification alone, fwhm is sought again at the best value of each other key.

    Args:
        subject: the warp.
        wanted: wanted largest magnification along either axis.
        small: size in canvas pixels below which a box counts as small.

    Raises:
        LzuError: the magnification is not above 1, or the warp has no settings.
    """
    if not (np.isfinite(wanted) and wanted > 1):
        raise LzuError(f"--magnification is {wanted:g}; give a number above 1")
    if subject.retuned is None:
        raise LzuError(
            f"the warp of {subject.name} has no settings to propose; give a recipe with a "
            "saliency, boxes or label maps, or leave --magnification out"
        )
    retuned = subject.retuned
    reach = min(len(each) for each in _axes(subject.knots)) - 1
    bounds = {key: (now / FACTOR, now * FACTOR) for key, now in subject.tunable.items()}
    bounds |= {**BOUNDS, "warp.fwhm": (LEAST_FWHM, max(reach / CUT, LEAST_FWHM))}

    def largest(values: Mapping[str, float]) -> float:
        """Magnification at other values; 0 where they have no warp."""
        try:
            return max(each.largest for each in axis_extremes(retuned(values), subject.sizes.span))
        except LzuError:
            return 0.0

    def judged(values: dict[str, float]) -> Proposal:
        knots = retuned(values)
        extremes = axis_extremes(knots, subject.sizes.span)
        most = max(each.largest for each in extremes)
        least = min(each.smallest for each in extremes)
        sizes = box_sizes(subject, knots, small)
        share = sizes.small_shares[1] if sizes is not None else None
        return Proposal(values, most, least, share, abs(most / wanted - 1) <= CLOSE)

    def alone(key: str, others: Mapping[str, float]) -> Proposal:
        value = _nearest(
            lambda each: largest({**others, key: each}), wanted, bounds[key], subject.tunable[key]
        )
        return judged({**others, key: value})

    found = [alone(key, {}) for key in subject.tunable]
    if any(each.reaches for each in found) or len(found) == 1:
        return found
    rest = [each.values for each in found if "warp.fwhm" not in each.values]
    return [*found, *(alone("warp.fwhm", values) for values in rest)]


def _nearest(
    function: Callable[[float], float], wanted: float, bounds: tuple[float, float], now: float
) -> float:
    """Return the place nearest to `now` at which a function of a positive number is `wanted`.

    If it is nowhere, return the place tried at which it comes nearest: of places that come as near
    within `CLOSE`, the one nearest to `now`. Distances between places are those of their
    logarithms. Places have `DIGITS` digits.
    """
    low, high = min(bounds[0], now), max(bounds[1], now)
    places = np.unique(np.append(np.geomspace(low, high, TRIED), now))
    values = np.array([function(float(place)) for place in places])
    crossing = np.flatnonzero((values[:-1] - wanted) * (values[1:] - wanted) <= 0)
    # Where a value has no warp, its 0 is no crossing.
    crossing = crossing[(values[crossing] > 0) & (values[crossing + 1] > 0)]
    if not len(crossing):
        off = np.abs(np.log(np.maximum(values, 1e-9) / wanted))
        best = places[off <= off.min() + CLOSE]
        return _rounded(float(best[np.abs(np.log(best / now)).argmin()]))
    roots = [_root(function, wanted, places[i : i + 2], values[i] < wanted) for i in crossing]
    return _rounded(min(roots, key=lambda root: abs(np.log(root / now))))


def _axes(knots: Knots) -> tuple[Any, ...]:
    """Return one array per axis, of the length of the lattice along it."""
    if PLANE_KNOTS[0] in knots:
        plane = knots[PLANE_KNOTS[0]]
        return plane[0], plane[:, 0]
    return tuple(knots[name] for name in AXIS_KNOTS)


def _root(function: Callable[[float], float], wanted: float, ends: Array, rises: bool) -> float:
    low, high = (float(end) for end in ends)
    for _ in range(HALVINGS):
        middle = float(np.sqrt(low * high))
        if (function(middle) < wanted) == rises:
            low = middle
        else:
            high = middle
    return float(np.sqrt(low * high))


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
