"""Measures of deviation: what they count as a difference, and what as rounding."""

import numpy as np
import pytest

from lzu_export.runtime.compare import Scale, relative_difference, signal_to_noise


def test_relative_difference_is_of_the_largest_value() -> None:
    """The relative difference is max|a - b| / max|b|, exactly."""
    a, b = np.array([1.0, -7.0, 3.5]), np.array([1.0, -8.0, 3.0])
    assert relative_difference(a, b) == 1 / 8
    assert relative_difference(b, b) == 0
    assert relative_difference(np.array([0.25]), np.array([0.0])) == 0.25
    assert relative_difference(np.zeros(0), np.zeros(0)) == 0


def test_small_integers_do_not_wrap_around() -> None:
    """Bytes are subtracted as floating-point numbers."""
    a, b = np.array([0], np.uint8), np.array([200], np.uint8)
    assert relative_difference(a, b) == 1.0


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_never_pass(bad: float) -> None:
    """A NaN or infinity on either side is an infinite difference."""
    broken, sound = np.array([1.0, bad]), np.array([1.0, 2.0])
    assert relative_difference(broken, sound) == np.inf
    assert relative_difference(sound, broken) == np.inf
    assert relative_difference(broken, broken) == np.inf


def test_another_shape_never_passes() -> None:
    """A shape that would broadcast does not pass, either."""
    assert relative_difference(np.ones((1, 3)), np.ones(3)) == np.inf


def test_next_to_nothing_is_held_against_what_is_usual() -> None:
    """Where a covered lens gives almost zero, rounding is measured against usual values."""
    reference = np.full((2, 8), 1e-9)
    value = reference + np.linspace(0, 2e-9, 16).reshape(2, 8)
    usual = Scale.over([np.array([3.0, -4.0]), np.array([[0.0, 5.0]]), np.array([np.nan])])
    assert (usual.largest, usual.root_mean_square) == (5.0, np.sqrt(12.5))
    assert relative_difference(value, reference) == pytest.approx(2.0)
    assert relative_difference(value, reference, usual) == pytest.approx(4e-10)
    assert signal_to_noise(value, reference) < 0
    assert signal_to_noise(value, reference, usual) > 180
    strong = np.full((2, 8), 10.0)
    assert relative_difference(strong + 1, strong, usual) == pytest.approx(0.1)
    assert signal_to_noise(strong + 1, strong, usual) == signal_to_noise(strong + 1, strong)
    assert Scale.over([np.array([])]) == (0.0, 0.0)
