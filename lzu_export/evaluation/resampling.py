"""Intervals of differences between models that were scored on the same frames.

Each model's metric is computed on the same resampled sets; the difference of two models is taken
set by set. So models may be scored by different commands, and no frame is evaluated again.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from lzu_export.evaluation.metrics.bootstrap import Interval, draws, interval
from lzu_export.manifest.resampled import Resampled

RESAMPLES, SEED, LEVEL = 400, 0, 0.95
FEWEST = 8
"""Fewest sequences that are drawn as a whole; of fewer, an interval would be arbitrary."""


@runtime_checkable
class ResamplingScorer(Protocol):
    """A scorer that knows the sequence of each thing it counted."""

    def owners(self) -> Sequence[Hashable]:
        """Return the sequence of each image, or an entry per sequence; empty for no resampling."""

    def resampled(self, places: NDArray[np.int64]) -> float:
        """Return the metric of the set of these entries of `owners`, repeated ones included."""


def resample(scorer: object, *, resamples: int = RESAMPLES) -> Resampled | None:
    """Return a scorer's metric on resampled sets.

    Args:
        scorer: scorer that counted all frames.
        resamples: number of drawn sets.

    Returns:
        None if the scorer cannot resample, or counted too little for it.
    """
    if not isinstance(scorer, ResamplingScorer):
        return None
    owners = list(scorer.owners())
    names = list(dict.fromkeys(owners))
    whole = len(names) >= FEWEST
    if not whole and len(owners) < FEWEST:
        return None
    index = {name: i for i, name in enumerate(names)}
    group = np.array([index[each] for each in owners]) if whole else np.arange(len(owners))
    members = [np.flatnonzero(group == i) for i in range(group.max() + 1)]
    values = [
        scorer.resampled(np.concatenate([members[i] for i in drawn]))
        for drawn in draws(len(members), resamples=resamples, seed=SEED)
    ]
    return Resampled(
        unit="sequences" if whole else "images",
        groups=len(members),
        values=tuple(round(each, 3) for each in values),
    )


def resampled_first(scorers: Mapping[str, object]) -> dict[str, Resampled]:
    """Return the resampled metric of the first engine, `target/precision`, by its name."""
    name = next((each for each in scorers if "/" in each), None)
    found = resample(scorers[name]) if name is not None else None
    return {} if name is None or found is None else {name: found}


def own_interval(value: float, resampled: Resampled) -> Interval:
    """Return a model's metric on the whole set, in points, with its own interval."""
    return interval(value, resampled.values, resampled.groups, level=LEVEL)


def difference(value: float, mine: Resampled | None, base: Resampled | None) -> Interval | None:
    """Return the difference of two models with its interval.

    Args:
        value: difference of the models' metrics on the whole set, in points.
        mine: resampled metric of the first model.
        base: that of the model that is subtracted, scored on the same frames.

    Returns:
        None if one of them is missing, or they are of different sets.
    """
    if mine is None or base is None:
        return None
    if (mine.unit, mine.groups, len(mine.values)) != (base.unit, base.groups, len(base.values)):
        return None
    drawn = [a - b for a, b in zip(mine.values, base.values, strict=True)]
    return interval(value, drawn, mine.groups, level=LEVEL)


def certain(found: Interval | None) -> bool:
    """Return whether a difference has an interval, and that does not hold 0."""
    return found is not None and not found.low <= 0 <= found.high


def told_difference(
    value: float, metric: str, mine: Resampled | None, base: Resampled | None
) -> str:
    """Return a difference in words; one that its interval does not tell from 0 is said to be so."""
    found = difference(value, mine, base)
    if found is None:
        return f"{value:+.2f} {metric} (no interval)"
    told = f"{value:+.2f} {metric} [{found.low:+.2f}, {found.high:+.2f}]"
    return told if certain(found) else f"{told}, no certain difference"
