"""Find the Pareto front: trade-offs that no other one beats."""

import math
from collections.abc import Sequence


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Return the places of points (cost, gain) on the Pareto front, by rising cost.

    A point is on it where no other one costs at most as much and gains at least as much, being
    better in one of the two; of equal points the first is. Points with NaN are never on it.
    """
    order = sorted(
        (i for i, point in enumerate(points) if not any(map(math.isnan, point))),
        key=lambda i: (points[i][0], -points[i][1], i),
    )
    kept: list[int] = []
    for i in order:
        if not kept or points[i][1] > points[kept[-1]][1]:
            kept.append(i)
    return kept
