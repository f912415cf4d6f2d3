"""The early-stopping criterion: MLPerf's known counts, and what it promises."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lzu_benchmarks.harness.early_stopping import (
    estimate,
    nearest_rank,
    slow_allowed,
)


@pytest.mark.parametrize(("percentile", "least"), [(0.9, 64), (0.97, 219), (0.99, 662)])
def test_least_queries_are_mlperf_s(percentile: float, least: int) -> None:
    assert slow_allowed(least, percentile) == 1
    assert slow_allowed(least - 1, percentile) == 0


@given(
    queries=st.integers(1, 400),
    percentile=st.sampled_from([0.5, 0.9, 0.97]),
    confidence=st.sampled_from([0.9, 0.99]),
)
@settings(max_examples=40)
def test_the_criterion_is_the_binomial_s(
    queries: int, percentile: float, confidence: float
) -> None:
    """Held against whole-number binomial coefficients."""
    slow = slow_allowed(queries, percentile, confidence)

    def likelihood(most: int) -> float:
        return math.fsum(
            math.comb(queries, k) * (1 - percentile) ** k * percentile ** (queries - k)
            for k in range(most + 1)
        )

    assert slow < 0 or likelihood(slow) < 1 - confidence + 1e-12
    assert likelihood(slow + 1) >= 1 - confidence - 1e-12


def test_too_few_queries_give_no_estimate() -> None:
    assert estimate(range(63), 0.9) is None
    assert estimate(range(64), 0.9) == 63  # the largest


@given(values=st.lists(st.floats(0.1, 1e4), min_size=64, max_size=300))
@settings(max_examples=40)
def test_the_estimate_is_measured_and_never_below_the_percentile(values: list[float]) -> None:
    found = estimate(values, 0.9)
    assert found in values
    assert found is not None
    assert found >= nearest_rank(values, 0.9)


def test_the_estimate_holds_as_often_as_it_says() -> None:
    """Of many runs of 100 queries fewer than 1 % estimate a p90 below the true one."""
    runs = np.random.default_rng(0).exponential(size=(20_000, 100))
    true = -math.log(0.1)
    slow = slow_allowed(100, 0.9)
    missed = float((np.sort(runs, axis=1)[:, 100 - slow] < true).mean())
    assert slow == 3
    # It is too low where at most two of 100 are slower than the true p90: 0.19 %.
    assert 0.001 < missed < 0.003


def test_more_queries_bring_it_closer() -> None:
    latencies = np.random.default_rng(1).normal(10, 1, 20_000)
    few, many = estimate(latencies[:64], 0.9), estimate(latencies, 0.9)
    plain = nearest_rank(latencies, 0.9)
    assert few is not None
    assert many is not None
    assert plain < many < few
    assert many - plain < 0.05


def test_nearest_rank() -> None:
    assert nearest_rank([3, 1, 2], 0.5) == 2
    assert nearest_rank(range(1, 101), 0.9) == 90
    assert nearest_rank([5], 0.99) == 5


@pytest.mark.parametrize(("percentile", "confidence"), [(0, 0.99), (1, 0.99), (0.9, 1)])
def test_shares_beyond_their_range_are_refused(percentile: float, confidence: float) -> None:
    with pytest.raises(ValueError, match="must be in"):
        slow_allowed(10, percentile, confidence)
