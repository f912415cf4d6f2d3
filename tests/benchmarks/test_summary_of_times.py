"""What nanoseconds come to."""

import numpy as np
import pytest

from lzu_benchmarks.harness.summary import drift, percentiles, ratio, stage_times
from lzu_benchmarks.harness.turns import Timings


def timings(totals: list[int], block: int = 8) -> Timings:
    return Timings(totals=totals, stages={"engine": totals}, block=block)


def test_percentiles_are_milliseconds() -> None:
    found = percentiles([n * 1_000_000 for n in range(1, 101)])
    assert (found.queries, found.minimum, found.mean) == (100, 1, 50.5)
    assert (found.p50, found.p90, found.p99) == (50, 90, 99)
    assert found.p90_estimate is not None
    assert found.p90 < found.p90_estimate <= 100
    assert found.p99_estimate is None
    assert stage_times(timings([2_000_000] * 3))["engine"].p50 == 2


def test_a_ratio_is_of_neighbours_and_knows_how_sure_it_is() -> None:
    """Drift that hits both does not change it."""
    noise = np.random.default_rng(0).normal(1, 0.02, (2, 128))
    slowing = np.linspace(1, 3, 128)
    base = timings([int(1e6 * each) for each in noise[0] * slowing])
    mine = timings([int(1.1e6 * each) for each in noise[1] * slowing])
    found = ratio(mine, base)
    assert found.rounds == 16
    assert found.low < found.value < found.high
    assert found.value == pytest.approx(1.1, abs=0.03)
    assert found.high - found.low < 0.06
    assert ratio(base, base).value == ratio(base, base).high == 1


def test_drift_is_the_last_quarter_against_the_first() -> None:
    assert drift(timings([100] * 30 + [120] * 10)) == pytest.approx(0.2)
    assert drift(timings([100])) == 0
