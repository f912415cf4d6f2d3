"""Tests of the bootstrap over sequences."""

import math

import numpy as np
import pytest

from lzu_export.errors import LzuError
from lzu_export.evaluation.metrics.bootstrap import (
    Interval,
    draw_sequences,
    interval_over_runs,
    intervals,
)

SETTINGS = {"resamples": 400, "seed": 2, "level": 0.95}


def test_the_interval_of_a_mean_is_that_of_its_standard_error():
    values = np.random.default_rng(0).normal(3.0, 2.0, 200)
    found = intervals(lambda drawn: {"mean": values[drawn].mean()}, len(values), **SETTINGS)
    mean = found["mean"]
    assert mean.difference == pytest.approx(values.mean())
    half = 1.96 * values.std() / math.sqrt(len(values))
    assert mean.low == pytest.approx(values.mean() - half, abs=0.15 * half)
    assert mean.high == pytest.approx(values.mean() + half, abs=0.15 * half)
    assert (mean.resamples, mean.groups) == (400, 200)


def test_all_names_see_the_same_draws():
    seen = []

    def differences(drawn):
        seen.append(drawn)
        return {"a": float(drawn.sum()), "b": 2.0 * drawn.sum()}

    found = intervals(differences, 7, **SETTINGS)
    assert len(seen) == SETTINGS["resamples"] + 1
    assert all(len(each) == 7 and each.min() >= 0 and each.max() < 7 for each in seen)
    np.testing.assert_array_equal(seen[-1], np.arange(7))
    assert (found["b"].low, found["b"].high) == (2 * found["a"].low, 2 * found["a"].high)
    assert intervals(differences, 7, **SETTINGS) == found, "the seed decides"


def test_sets_without_a_value_are_left_out():
    def differences(drawn):
        return {"some": math.nan if 0 in drawn else 1.0, "none": math.nan}

    found = intervals(differences, 5, **SETTINGS)
    assert (found["some"].low, found["some"].high) == (1.0, 1.0)
    assert math.isnan(found["some"].difference)
    assert math.isnan(found["none"].low)
    assert math.isnan(found["none"].high)


@pytest.mark.parametrize("sequences", [0, 1])
def test_one_sequence_is_refused(sequences):
    with pytest.raises(LzuError, match="at least two sequences; evaluate more frames"):
        intervals(lambda _: {"AP": 1.0}, sequences, **SETTINGS)


def test_an_interval_is_shown_with_its_sign():
    assert str(Interval(1.234, -0.5, 3.0, 10, 4)) == "+1.23 [-0.50, +3.00]"


def test_sets_that_are_drawn_in_advance_are_those_of_the_intervals():
    times = draw_sequences(7, 50, seed=2)
    assert times[0].tolist() == [1] * 7
    assert (times.sum(axis=1) == 7).all()
    values = np.arange(7.0) ** 2
    found = intervals(
        lambda drawn: {"mean": values[drawn].mean()}, 7, resamples=50, seed=2, level=0.9
    )
    low, high = np.percentile(times[1:] @ values / 7, [5, 95])
    assert (found["mean"].low, found["mean"].high) == pytest.approx((low, high))
    with pytest.raises(LzuError, match="at least two sequences"):
        draw_sequences(1, 10)


def test_an_interval_over_runs_holds_the_luck_of_both():
    gains = np.full((1001, 2), [1.0, 3.0])  # the same over every set of sequences
    two = interval_over_runs(gains, 12)
    assert (two.difference, two.low, two.high) == (2, 1, 3)
    assert (two.resamples, two.groups) == (1000, 12)
    random = np.random.default_rng(0)
    runs, sets = random.normal(0, 2, 50), random.normal(0, 1, 1000)
    both = interval_over_runs(np.vstack([runs, runs + sets[:, None]]), 12)
    half = 1.96 * math.sqrt(2**2 / 50 + 1)
    assert both.difference == pytest.approx(runs.mean())
    assert (both.high - both.low) / 2 == pytest.approx(half, rel=0.1)
    one = interval_over_runs(np.append(5.0, sets)[:, None], 12)
    assert (one.low, one.high) == pytest.approx(tuple(np.percentile(sets, [2.5, 97.5])))


def test_sets_without_a_value_are_left_out_of_an_interval_over_runs():
    gains = np.array([[1.0], [2.0], [np.nan], [2.0]])
    assert interval_over_runs(gains, 3) == Interval(1.0, 2.0, 2.0, 3, 3)
    nothing = interval_over_runs(np.full((4, 1), np.nan), 3)
    assert np.isnan([nothing.difference, nothing.low, nothing.high]).all()
