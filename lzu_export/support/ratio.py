"""Ratio of the times of two subjects that took turns, with its confidence interval."""

from collections.abc import Sequence

import numpy as np

from lzu_export.support.section import Section

RESAMPLES = 1000
"""Number of bootstrap samples for a ratio's confidence interval."""


class Ratio(Section):
    """Ratio of two subjects' times: the median over rounds, with the bootstrap's 95 % interval.

    Each round times both subjects shortly after each other.
    """

    value: float
    """Median over the rounds."""
    low: float
    """Lower end of the 95 % interval."""
    high: float
    """Upper end of the 95 % interval."""
    rounds: int
    """Number of rounds."""


def ratio_of(times: Sequence[float], base: Sequence[float], *, seed: int = 0) -> Ratio:
    """Return the ratio of times to the base's times, given one value per round."""
    rounds = np.array([mine / theirs for mine, theirs in zip(times, base, strict=True)])
    drawn = np.random.default_rng(seed).choice(rounds, (RESAMPLES, len(rounds)))
    low, high = np.percentile(np.median(drawn, axis=1), [2.5, 97.5])
    return Ratio(
        value=float(np.median(rounds)), low=float(low), high=float(high), rounds=len(rounds)
    )
