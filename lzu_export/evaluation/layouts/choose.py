"""Choose some of many items, evenly or in whole sequences."""

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any, TypeVar

import numpy as np

Item = TypeVar("Item")


def evenly(items: Sequence[Item], most: int | None) -> list[Item]:
    """At most so many items, evenly taken; all if None."""
    if most is None or most >= len(items):
        return list(items)
    return [items[i] for i in np.linspace(0, len(items) - 1, most).round().astype(int)]


def whole_sequences(
    items: Sequence[Item], most: int | None, sequence_of: Callable[[Item], Any]
) -> list[Item]:
    """At most so many items, in whole sequences that are evenly taken; all if None.

    Where not even one sequence is that short, the beginning of one: what follows what it saw in
    the frame before needs frames that follow one another.

    Args:
        items: the items of a sequence stand side by side.
        most: number of items.
        sequence_of: an item's sequence.
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
