"""Sums of numbers that depend neither on the order nor on a division into parts."""

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

DIGITS = 1074
"""Binary digits behind the point of the smallest float64: each float64 is a multiple of its unit,
2^-1074, so that integers hold all sums without rounding."""


class ExactSums:
    """Several sums of float64 numbers, which are rounded only when they are read."""

    def __init__(self, size: int) -> None:
        """Start `size` sums at zero."""
        self._units = [0] * size
        self._others = np.zeros(size)  # sums of what is no finite number

    def add(self, places: Iterable[int], values: Iterable[float]) -> None:
        """Add each value to the sum at its place."""
        for place, value in zip(places, values, strict=True):
            if math.isfinite(value):
                self._units[place] += _in_units(value)
            else:
                self._others[place] += value

    def merge(self, state: NDArray[np.str_]) -> None:
        """Add the sums whose `state` is given.

        Raises:
            ValueError: it belongs to another number of sums, or to none at all.
        """
        for place, (text, units) in enumerate(zip(state.tolist(), self._units, strict=True)):
            whole, _, rest = text.partition("p")
            zeros, _, other = rest.partition(" ")
            self._units[place] = units + (int(whole, 16) << int(zeros))
            self._others[place] += float(other or 0)

    def state(self) -> NDArray[np.str_]:
        """Return the sums exactly, as texts; equal sums have equal texts."""
        return np.array(
            [_told(*pair) for pair in zip(self._units, self._others.tolist(), strict=True)], np.str_
        )

    def values(self) -> NDArray[np.float64]:
        """Return the sums, each rounded once."""
        return np.array([_rounded(each) for each in self._units]) + self._others


def _in_units(value: float) -> int:
    numerator, denominator = value.as_integer_ratio()
    return numerator << (DIGITS + 1 - denominator.bit_length())


def _rounded(units: int) -> float:
    try:
        return units / (1 << DIGITS)
    except OverflowError:  # beyond the largest float64
        return math.inf if units > 0 else -math.inf


def _told(units: int, other: float) -> str:
    """Return a sum as text: an odd hexadecimal number, its number of binary zeros, the rest."""
    zeros = (units & -units).bit_length() - 1 if units else 0
    return f"{units >> zeros:x}p{zeros}" + (f" {other!r}" if other else "")
