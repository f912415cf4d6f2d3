"""Take some of many."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

Item = TypeVar("Item")


def evenly(items: Sequence[Item], most: int | None) -> list[Item]:
    """At most so many items, evenly taken; all if None."""
    if most is None or most >= len(items):
        return list(items)
    return [items[i] for i in np.linspace(0, len(items) - 1, most).round().astype(int)]
