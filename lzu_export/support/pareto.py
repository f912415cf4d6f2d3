"""Find the Pareto front: the trade-offs that no other trade-off beats."""

import math
from collections.abc import Sequence


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Return the indices of the points (cost, gain) on the Pareto front, by rising cost.

    A point is on the front if no other point costs at most as much, gains at least as much and is
    better in one of the two. Of equal points only the first is on the front. Points with NaN never
    are.
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
