"""Sums that neither order nor parts change."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lzu_export.support.exact_sums import ExactSums

numbers = st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=12)


def summed(values: list[float]) -> ExactSums:
    sums = ExactSums(2)
    sums.add([1] * len(values), values)
    return sums


@given(st.lists(numbers, max_size=4), st.randoms())
def test_neither_order_nor_parts_matter(parts: list[list[float]], random: Any) -> None:
    """The result is the exact sum, rounded once."""
    values = [value for part in parts for value in part]
    whole = summed(values)
    states = [summed(part).state() for part in parts]
    random.shuffle(states)
    merged = ExactSums(2)
    for state in states:
        merged.merge(state)
    assert merged.state().tolist() == whole.state().tolist()
    try:
        exact = math.fsum(values)
    except OverflowError:  # in between, where the sum itself may be finite
        return
    assert whole.values().tolist() == merged.values().tolist() == [0.0, exact]


def test_order_would_change_plain_sums() -> None:
    values = [1.0, 1e100, 1.0, -1e100]
    assert sum(values) == 0.0
    assert summed(values).values()[1] == summed(values[::-1]).values()[1] == 2.0


@pytest.mark.parametrize(("values", "told"), [([math.nan, 1.0], "nan"), ([math.inf, 1.0], "inf")])
def test_what_is_no_number_stays_so(values: list[float], told: str) -> None:
    again = ExactSums(2)
    again.merge(summed(values).state())
    assert str(again.values()[1]) == told
    assert again.values()[0] == 0


def test_a_sum_beyond_the_largest_number_is_infinite() -> None:
    largest = float(np.finfo(np.float64).max)
    assert summed([-largest, -largest]).values()[1] == -math.inf
    assert summed([-largest, -largest, largest]).values()[1] == -largest


def test_states_of_other_sums_are_refused() -> None:
    with pytest.raises(ValueError, match="longer"):
        ExactSums(3).merge(summed([1.0]).state())
    with pytest.raises(ValueError, match="invalid literal"):
        ExactSums(1).merge(np.array(["half"]))
