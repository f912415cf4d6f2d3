"""Tests of the bootstrap over sequences."""

import math

import numpy as np
import pytest

from lzu_export.errors import LzuError
from lzu_export.evaluation.metrics.bootstrap import Interval, intervals

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
