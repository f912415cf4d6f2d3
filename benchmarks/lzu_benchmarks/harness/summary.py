"""Summarise timings as percentiles and stage times in milliseconds."""

from collections.abc import Sequence
from statistics import fmean

from lzu_benchmarks.harness.early_stopping import CONFIDENCE, estimate, nearest_rank
from lzu_export.support.interleave import Timings
from lzu_export.support.section import Section

MILLISECOND = 1e6
"""One millisecond in nanoseconds."""
FEWEST_FOR_P99 = 100
"""Fewest queries whose 99th percentile by nearest rank is not the maximum."""


class Percentiles(Section):
    """Percentiles of the duration of a query, in milliseconds."""

    queries: int
    """Number of timed queries."""
    mean: float
    """Mean duration."""
    minimum: float
    """Shortest duration."""
    p50: float
    """Median by nearest rank."""
    p90: float
    """90th percentile by nearest rank."""
    p99: float | None
    """99th percentile by nearest rank; None if fewer than 100 queries were timed, of
    which it is the maximum."""
    p90_estimate: float | None
    """MLPerf's early-stopping estimate: p90 is at most this, at 99 % confidence. None if fewer
    than 64 queries were timed."""
    p99_estimate: float | None
    """MLPerf's early-stopping estimate of p99; None if fewer than 662 queries were timed."""


class StageTime(Section):
    """Percentiles of the duration of one stage of a query, in milliseconds."""

    p50: float
    """Median by nearest rank."""
    p90: float
    """90th percentile by nearest rank."""


def percentiles(nanoseconds: Sequence[int]) -> Percentiles:
    """Summarise the timed queries of one subject.

    Args:
        nanoseconds: duration of each query, at least one.
    """
    values = [each / MILLISECOND for each in nanoseconds]
    return Percentiles(
        queries=len(values),
        mean=fmean(values),
        minimum=min(values),
        p50=nearest_rank(values, 0.5),
        p90=nearest_rank(values, 0.9),
        p99=nearest_rank(values, 0.99) if len(values) >= FEWEST_FOR_P99 else None,
        p90_estimate=estimate(values, 0.9, CONFIDENCE),
        p99_estimate=estimate(values, 0.99, CONFIDENCE),
    )


def stage_times(timings: Timings) -> dict[str, StageTime]:
    """Summarise every stage of one subject by its name.

    Args:
        timings: timings of the subject, with at least one query.
    """
    found = {}
    for name, spent in timings.stages.items():
        values = [each / MILLISECOND for each in spent]
        found[name] = StageTime(p50=nearest_rank(values, 0.5), p90=nearest_rank(values, 0.9))
    return found
