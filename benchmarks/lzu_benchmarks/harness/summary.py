"""Summarise timings: percentiles and stages, in milliseconds."""

from collections.abc import Sequence
from statistics import fmean

from lzu_benchmarks.harness.early_stopping import CONFIDENCE, estimate, nearest_rank
from lzu_export.support.interleave import Timings
from lzu_export.support.machine import Section

MILLISECOND = 1e6
"""In nanoseconds."""


class Percentiles(Section):
    """Milliseconds of a query."""

    queries: int
    mean: float
    minimum: float
    p50: float
    p90: float
    p99: float
    """Nearest rank; with fewer than 100 queries the largest."""
    p90_estimate: float | None
    """MLPerf's early-stopping estimate: p90 is at most this, at 99 % confidence; none where fewer
    than 64 queries were timed."""
    p99_estimate: float | None
    """The same of p99; takes 662 queries."""


class StageTime(Section):
    """Milliseconds of a stage of a query."""

    p50: float
    p90: float


def percentiles(nanoseconds: Sequence[int]) -> Percentiles:
    """Summarise the timed queries of one subject."""
    values = [each / MILLISECOND for each in nanoseconds]
    return Percentiles(
        queries=len(values),
        mean=fmean(values),
        minimum=min(values),
        p50=nearest_rank(values, 0.5),
        p90=nearest_rank(values, 0.9),
        p99=nearest_rank(values, 0.99),
        p90_estimate=estimate(values, 0.9, CONFIDENCE),
        p99_estimate=estimate(values, 0.99, CONFIDENCE),
    )


def stage_times(timings: Timings) -> dict[str, StageTime]:
    """Summarise every stage."""
    found = {}
    for name, spent in timings.stages.items():
        values = [each / MILLISECOND for each in spent]
        found[name] = StageTime(p50=nearest_rank(values, 0.5), p90=nearest_rank(values, 0.9))
    return found
