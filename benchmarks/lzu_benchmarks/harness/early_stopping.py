"""MLPerf Inference's early stopping: a bound on a percentile from few queries.

Let t of n queries be slower than a latency x. Then x is at least the true percentile p, at
confidence c, if so few slow queries would be unlikely had more than 1 - p of all queries been
slower: P[Binomial(n, 1 - p) <= t] < 1 - c. The estimate is the t-th largest latency for the
largest t that satisfies this. LoadGen does the same: it counts the estimate itself among the slow
queries. The estimate is never below the plain percentile and approaches it with more queries.
Source: MLPerf Inference Rules, appendix on early stopping (tolerance 0, confidence 0.99). An
estimate needs at least 64 queries for p = 0.9, and 662 for p = 0.99.
"""

import math
from collections.abc import Sequence

CONFIDENCE = 0.99


def slow_allowed(queries: int, percentile: float, confidence: float = CONFIDENCE) -> int:
    """Return the largest number t of slow queries that passes the test, -1 if t = 0 fails.

    Args:
        queries: number n of timed queries.
        percentile: p in 0..1.
        confidence: c in 0..1.
    """
    _check(percentile, confidence)
    likelihood = 0.0
    for slow in range(queries + 1):
        likelihood += math.exp(
            math.lgamma(queries + 1)
            - math.lgamma(slow + 1)
            - math.lgamma(queries - slow + 1)
            + slow * math.log1p(-percentile)
            + (queries - slow) * math.log(percentile)
        )
        if not likelihood < 1 - confidence:
            return slow - 1
    return queries  # never reached: the percentile is below 1


def estimate(
    latencies: Sequence[float], percentile: float, confidence: float = CONFIDENCE
) -> float | None:
    """Return the early-stopping estimate of a percentile, None if there are too few queries.

    Args:
        latencies: latency of every timed query, in any order and unit.
        percentile: p in 0..1.
        confidence: c in 0..1.
    """
    slow = slow_allowed(len(latencies), percentile, confidence)
    return sorted(latencies)[len(latencies) - slow] if slow >= 1 else None


def nearest_rank(latencies: Sequence[float], percentile: float) -> float:
    """Return the percentile by nearest rank: the least latency that this share does not exceed."""
    place = math.ceil(percentile * len(latencies) - 1e-9)
    return sorted(latencies)[max(place, 1) - 1]


def _check(percentile: float, confidence: float) -> None:
    if not (0 < percentile < 1 and 0 < confidence < 1):
        raise ValueError(f"percentile {percentile} and confidence {confidence} must be in 0..1")
