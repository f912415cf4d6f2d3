"""What timings come to: percentiles, stages, ratios with their uncertainty. Milliseconds."""

from collections.abc import Sequence
from statistics import fmean, median

import numpy as np
from pydantic import BaseModel, ConfigDict

from lzu_benchmarks.harness.early_stopping import CONFIDENCE, estimate, nearest_rank
from lzu_benchmarks.harness.turns import Timings

RESAMPLES = 1000
MILLISECOND = 1e6
"""In nanoseconds."""


class Section(BaseModel):
    """A part of a result: immutable, and unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


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


class Ratio(Section):
    """A subject's time over another's: the median over rounds, with the bootstrap's 95 % interval.

    Rounds hold both within moments of each other.
    """

    value: float
    low: float
    high: float
    rounds: int


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


def ratio(timings: Timings, base: Timings, *, seed: int = 0) -> Ratio:
    """How much slower than `base`, which took turns with it."""
    pairs = zip(timings.turns, base.turns, strict=True)
    rounds = np.array([median(mine) / median(theirs) for mine, theirs in pairs])
    drawn = np.random.default_rng(seed).choice(rounds, (RESAMPLES, len(rounds)))
    low, high = np.percentile(np.median(drawn, axis=1), [2.5, 97.5])
    return Ratio(
        value=float(np.median(rounds)), low=float(low), high=float(high), rounds=len(rounds)
    )


def drift(timings: Timings) -> float:
    """The last quarter's median over the first one's, less 1: above 0 it became slower."""
    quarter = max(1, len(timings.totals) // 4)
    return median(timings.totals[-quarter:]) / median(timings.totals[:quarter]) - 1
