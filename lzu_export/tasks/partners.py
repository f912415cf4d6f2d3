"""Match the detections of an engine with those of a reference. No torch."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lzu_export.tasks.base import Sums

OVERLAP = 0.5
"""Lowest intersection over union of two boxes that count as one object."""


def sums_of_scores(mine: Any, theirs: Any, nearness: NDArray[np.float64], least: float) -> Sums:
    """Sum up the agreement of two sets of detections with `scores` and `labels`.

    Args:
        mine: m detections of the engine.
        theirs: n detections of the reference, highest score first.
        nearness: (n, m) nearness of each pair, larger for nearer detections.
        least: lowest nearness at which two detections of one class may be one object.
    """
    equal = np.asarray(theirs.labels)[:, None] == np.asarray(mine.labels)
    partner = partners(np.where(equal & (nearness >= least), nearness, -np.inf))
    found = partner >= 0
    scores = np.asarray(theirs.scores, np.float64)
    own, weights = np.asarray(mine.scores, np.float64)[partner[found]], scores[found]
    ratios = np.stack([own / np.maximum(weights, 1e-12), weights])
    return Sums(own.sum(), weights.sum(), scores.sum(), len(scores), ratios)


def partners(nearness: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return for each of n the index of its partner among m, or -1; no partner is used twice.

    Args:
        nearness: (n, m) nearness of each pair, larger for nearer; -inf if two cannot be partners.
            The n choose in their order.
    """
    left = np.array(nearness, np.float64)
    found = np.full(len(left), -1, np.intp)
    for i, row in enumerate(left):
        if row.size and row.max() > -np.inf:
            found[i] = row.argmax()
            left[:, found[i]] = -np.inf
    return found


def overlaps(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute the (n, m) intersections over unions of (n, 4) and (m, 4) boxes x1, y1, x2, y2."""
    low = np.maximum(first[:, None, :2], second[:, :2])
    high = np.minimum(first[:, None, 2:], second[:, 2:])
    both = (high - low).clip(0).prod(axis=-1)
    areas = [(each[:, 2:] - each[:, :2]).prod(axis=-1) for each in (first, second)]
    union = areas[0][:, None] + areas[1] - both
    return np.asarray(both / np.maximum(union, 1e-12))
