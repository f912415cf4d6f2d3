"""Attention knots: places of equal cumulative marginal attention, and their limits."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from lzu_export.errors import LzuError
from lzu_export.warp.families.attention import attention_knots
from lzu_export.warp.fixed_warp import FixedWarp

maps = arrays.arrays(
    np.float64, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.floats(0, 1e6)
)


def cumulative(attention: np.ndarray, power: float, floor: float, place: float) -> float:
    """Share of the canvas left of a place in [-1, 1], summed cell by cell."""
    columns = attention.shape[1]
    mass = [sum(value**power for value in attention[:, i]) for i in range(columns)]
    total, cells = 0.0, (place + 1) / 2 * columns
    for i, each in enumerate(mass):
        covered = min(max(cells - i, 0.0), 1.0)
        total += covered * ((1 - floor) * each / sum(mass) + floor / columns)
    return total


@settings(max_examples=60, deadline=None)
@given(attention=maps, floor=st.floats(0.01, 1), power=st.floats(0.25, 2))
def test_knots_increase_from_edge_to_edge(
    attention: np.ndarray, floor: float, power: float
) -> None:
    knots = attention_knots(attention, floor=floor, power=power, lattice=(6, 13))
    for axis in knots.values():
        assert (np.diff(axis) > 0).all()
        assert (axis[0], axis[-1]) == (-1.0, 1.0)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 999), floor=st.floats(0.01, 1), power=st.sampled_from([0.5, 1.0]))
def test_each_step_gets_the_same_share_of_the_attention(
    seed: int, floor: float, power: float
) -> None:
    attention = np.random.default_rng(seed).uniform(0, 5, (4, 7))
    found = attention_knots(attention, floor=floor, power=power, lattice=(3, 11))["knots_x"]
    shares = [cumulative(attention, power, floor, place) for place in found]
    np.testing.assert_allclose(shares, np.linspace(0, 1, 11), atol=1e-12)


def test_rows_are_warped_by_the_marginal_of_rows() -> None:
    attention = np.random.default_rng(1).uniform(0, 5, (4, 7))
    turned = attention_knots(attention.T, lattice=(9, 9))
    np.testing.assert_array_equal(
        attention_knots(attention, lattice=(9, 9))["knots_y"], turned["knots_x"]
    )


@pytest.mark.parametrize("attention", [np.zeros((3, 4)), np.ones((3, 4)), np.full((1, 1), 1e300)])
def test_no_attention_is_the_identity(attention: np.ndarray) -> None:
    knots = attention_knots(attention)
    assert FixedWarp.from_knots(knots=knots, source=(60, 80), scale=0.5).is_identity


def test_a_floor_of_one_is_the_identity() -> None:
    knots = attention_knots(np.random.default_rng(0).random((5, 5)), floor=1)
    assert FixedWarp.from_knots(knots=knots, source=(60, 80), scale=0.5).is_identity


@pytest.mark.parametrize(
    ("attention", "changed", "message"),
    [
        (np.ones(3), {}, "attention has shape"),
        (np.ones((0, 3)), {}, "attention has shape"),
        (-np.ones((2, 3)), {}, "negative, NaN"),
        (np.full((2, 3), np.nan), {}, "negative, NaN"),
        (np.ones((2, 3)), {"floor": 0}, "floor is 0"),
        (np.ones((2, 3)), {"power": -1}, "power is -1"),
    ],
)
def test_unfit_arguments_are_refused(attention: Any, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(LzuError, match=message):
        attention_knots(attention, **changed)
