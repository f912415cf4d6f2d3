"""Choose some of many items, evenly spread or in whole sequences."""

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import Any, TypeVar

import numpy as np

Item = TypeVar("Item")


def evenly(items: Sequence[Item], most: int | None) -> list[Item]:
    """Return at most `most` items, evenly spread; all if None."""
    if most is None or most >= len(items):
        return list(items)
    return [items[i] for i in np.linspace(0, len(items) - 1, most).round().astype(int)]


def whole_sequences(
    items: Sequence[Item], most: int | None, sequence_of: Callable[[Item], Any]
) -> list[Item]:
    """Return at most `most` items, in whole sequences that are evenly spread; all if None.

    Where not even one sequence is that short, return the beginning of one: a model that depends on
    the previous frame needs consecutive frames.

    Args:
        items: items to choose from; those of a sequence must be adjacent.
        most: largest number of items.
        sequence_of: returns an item's sequence.
    """
    if most is None or most >= len(items):
        return list(items)
    groups = [list(each) for _, each in groupby(items, sequence_of)]
    shortest = min(map(len, groups))
    for count in range(min(len(groups), most // shortest), 1, -1):
        chosen = [item for group in evenly(groups, count) for item in group]
        if len(chosen) <= most:
            return chosen
    return groups[0][:most]


def lengths(sequences: Iterable[Any]) -> list[int]:
    """Return the number of items of each sequence, from the sequence of each item in order."""
    return [len(list(group)) for _, group in groupby(sequences)]
