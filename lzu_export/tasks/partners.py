"""Match the detections of an engine with those of a reference. No torch."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lzu_export.tasks.base import Sums

OVERLAP = 0.5
"""Intersection over union from which on two boxes are of one object."""


def sums_of_scores(mine: Any, theirs: Any, nearness: NDArray[np.float64], least: float) -> Sums:
    """The agreement of two sets of detections with `scores` and `labels`.

    Args:
        mine: m detections of the engine.
        theirs: n detections of the reference, the surest first.
        nearness: (n, m), the larger the nearer.
        least: nearness from which on two detections of one class may be one object.
    """
    equal = np.asarray(theirs.labels)[:, None] == np.asarray(mine.labels)
    partner = partners(np.where(equal & (nearness >= least), nearness, -np.inf))
    found = partner >= 0
    scores = np.asarray(theirs.scores, np.float64)
    own = np.asarray(mine.scores, np.float64)[partner[found]]
    return Sums(own.sum(), scores[found].sum(), scores.sum(), len(scores))


def partners(nearness: NDArray[np.float64]) -> NDArray[np.intp]:
    """For each of n the place of its partner among m, or -1; each of the m has one partner at most.

    Args:
        nearness: (n, m), the larger the nearer; -inf where two cannot be partners. Of the n, those
            that come first choose first.
    """
    left = np.array(nearness, np.float64)
    found = np.full(len(left), -1, np.intp)
    for i, row in enumerate(left):
        if row.size and row.max() > -np.inf:
            found[i] = row.argmax()
            left[:, found[i]] = -np.inf
    return found


def overlaps(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, m) intersections over unions of (n, 4) and (m, 4) boxes x1, y1, x2, y2."""
    low = np.maximum(first[:, None, :2], second[:, :2])
    high = np.minimum(first[:, None, 2:], second[:, 2:])
    both = (high - low).clip(0).prod(axis=-1)
    areas = [(each[:, 2:] - each[:, :2]).prod(axis=-1) for each in (first, second)]
    union = areas[0][:, None] + areas[1] - both
    return np.asarray(both / np.maximum(union, 1e-12))
