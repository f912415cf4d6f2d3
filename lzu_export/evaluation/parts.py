"""Cut an evaluation set into parts that are counted apart, and add their counts up again.

The result is that of the whole set, to the bit: parts end where sequences do if the model goes by
the previous frame, and with a full batch if the engine's batch is larger than one frame.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Protocol

from lzu_export.evaluation.datasets import EvaluationSet, MergingScorer, State
from lzu_export.recipes import Recipe


class Merging(Protocol):
    """A counter that adds the state of another one of its kind."""

    def merge(self, state: State) -> object:
        """Count what another counter counted over the frames that come next."""


def divisible(dataset: EvaluationSet, recipe: Recipe) -> bool:
    """Return whether a set can be scored in parts for a recipe.

    Its scorer must add up counts. For a model that goes by the previous frame, the set must have
    `sequence_lengths`: the number of frames of each sequence, in order.
    """
    known = not recipe.follows_boxes or bool(_sequence_lengths(dataset))
    return known and isinstance(dataset.scorer(), MergingScorer)


def cut(dataset: EvaluationSet, recipe: Recipe, count: int, least: int) -> list[range]:
    """Cut a set into parts, see `cut_at`.

    Args:
        dataset: set for which `divisible` is true. `frames_together`, if it has that, is the
            number of consecutive frames that are scored as one, such as those of a rig.
        recipe: recipe of the model.
        count: largest number of parts.
        least: fewest frames of a part.
    """
    if recipe.follows_boxes:
        return cut_at(list(accumulate(_sequence_lengths(dataset))), count, least)
    together: int = getattr(dataset, "frames_together", 1)
    return cut_at(multiples(math.lcm(recipe.batch, together), len(dataset)), count, least)


def cut_at(ends: Sequence[int], count: int, least: int) -> list[range]:
    """Cut frames into parts of about equal size, in order.

    Args:
        ends: positions behind which frames may be cut; the last one is behind the last frame.
        count: largest number of parts.
        least: fewest frames of a part, unless all frames are fewer.

    Returns:
        Positions of the frames of each part; none is empty.
    """
    frames = ends[-1]
    size = max(least, math.ceil(frames / count))
    parts, start = [], 0
    for end in ends[:-1]:
        if end - start >= size and frames - end >= least:
            parts.append(range(start, end))
            start = end
    return [*parts, range(start, frames)]


def multiples(step: int, frames: int) -> list[int]:
    """Return the positions behind each `step` of some frames, and behind the last frame."""
    return [*range(step, frames, step), frames]


def merge(counters: Mapping[str, Merging], parts: Sequence[Mapping[str, State]]) -> None:
    """Add the states of all parts, in order, to counters that have counted nothing.

    Raises:
        LzuError: a counter refuses a state, such as one that it has counted before.
    """
    for states in parts:
        for name, counter in counters.items():
            counter.merge(states[name])


def _sequence_lengths(dataset: EvaluationSet) -> Sequence[int]:
    found: Sequence[int] = getattr(dataset, "sequence_lengths", ())
    return found
