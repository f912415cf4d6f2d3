"""Percentile bootstrap over sequences (Efron and Tibshirani, 1993, chapter 13)."""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from lzu_export.errors import LzuError

Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True)
class Interval:
    """A difference of two models in points (0..100), with its bootstrap interval."""

    difference: float
    low: float
    high: float
    resamples: int
    groups: int
    """Number of sequences."""

    def __str__(self) -> str:
        """Return the difference and its interval in the form used in reports."""
        return f"{self.difference:+.2f} [{self.low:+.2f}, {self.high:+.2f}]"


def intervals(
    differences: Callable[[NDArray[np.int64]], Mapping[Name, float]],
    sequences: int,
    *,
    resamples: int,
    seed: int,
    level: float,
) -> dict[Name, Interval]:
    """Return the uncertainty of differences that is due to the choice of sequences.

    Frames of one sequence resemble each other, so whole sequences are drawn, with replacement.

    Args:
        differences: values by name, of the sequences with these indices (n,), repeated ones
            counted as often as they are given. It is called once with all sequences in order.
        sequences: number of sequences.
        resamples: number of drawn sets.
        seed: seed of the draws.
        level: share of the drawn differences that an interval holds.

    Returns:
        Intervals by name, in the order of `differences`. Sets without a value, nan, are left out of
        an interval.

    Raises:
        LzuError: there are fewer than two sequences.
    """
    drawn = [differences(each) for each in draws(sequences, resamples=resamples, seed=seed)]
    return {
        name: interval(value, [each[name] for each in drawn], sequences, level=level)
        for name, value in differences(np.arange(sequences)).items()
    }


def draws(sequences: int, *, resamples: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """Yield sets of as many sequences, by their indices, drawn with replacement.

    Raises:
        LzuError: there are fewer than two sequences.
    """
    if sequences < 2:
        raise LzuError("a bootstrap needs frames of at least two sequences; evaluate more frames")
    random = np.random.Generator(np.random.PCG64(seed))
    for _ in range(resamples):
        yield random.integers(sequences, size=sequences)


def interval(value: float, drawn: Sequence[float], sequences: int, *, level: float) -> Interval:
    """Return the percentile interval of a value from its values in the drawn sets.

    Sets without a value, nan, are left out.
    """
    known = [each for each in drawn if not np.isnan(each)]
    tail = 100 * (1 - level) / 2
    low, high = np.percentile(known, [tail, 100 - tail]) if known else (np.nan, np.nan)
    return Interval(float(value), float(low), float(high), len(drawn), sequences)


def draw_sequences(sequences: int, resamples: int, seed: int = 0) -> NDArray[np.int64]:
    """Return the sets of `draws`, for values that are computed once per set.

    Returns:
        How often each sequence counts (1 + resamples, sequences). In the first row each counts
        once.

    Raises:
        LzuError: there are fewer than two sequences.
    """
    drawn = draws(sequences, resamples=resamples, seed=seed)
    times = [np.bincount(each, minlength=sequences) for each in (np.arange(sequences), *drawn)]
    return np.stack(times)


def interval_over_runs(
    gains: NDArray[np.floating], sequences: int, *, seed: int = 0, level: float = 0.95
) -> Interval:
    """Return the uncertainty of a mean gain that is due to the choice of sequences and of runs.

    Sets of sequences and of runs are drawn independently, so the interval also holds the luck of
    single trainings. With one run it holds the choice of sequences alone.

    Args:
        gains: (1 + resamples, runs) gain of each pair of runs: over all sequences, then over each
            set of `draw_sequences`. Sets without a value are nan.
        sequences: number of sequences.
        seed: seed of the draws of runs.
        level: share of the drawn differences that the interval holds.
    """
    whole, drawn = gains[0], gains[1:]
    random = np.random.Generator(np.random.PCG64([seed, 1]))
    picked = random.integers(gains.shape[1], size=drawn.shape)
    means = np.take_along_axis(drawn, picked, axis=1).mean(axis=1)
    return interval(float(whole.mean()), means.tolist(), sequences, level=level)
