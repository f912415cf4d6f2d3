"""What nanoseconds come to."""

from lzu_benchmarks.harness.summary import percentiles, stage_times
from lzu_export.support.interleave import Timings


def timings(totals: list[int], block: int = 8) -> Timings:
    return Timings(totals=totals, stages={"engine": totals}, block=block)


def test_percentiles_are_milliseconds() -> None:
    found = percentiles([n * 1_000_000 for n in range(1, 101)])
    assert (found.queries, found.minimum, found.mean) == (100, 1, 50.5)
    assert (found.p50, found.p90, found.p99) == (50, 90, 99)
    assert found.p90_estimate is not None
    assert found.p90 < found.p90_estimate <= 100
    assert found.p99_estimate is None
    assert percentiles(range(1, 100)).p99 is None, "it could not be told from the maximum"
    assert stage_times(timings([2_000_000] * 3))["engine"].p50 == 2
