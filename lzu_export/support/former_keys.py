"""Rename keys of files that had another name in an earlier release."""

from collections.abc import Mapping
from typing import Any


def with_todays_keys(data: Any, former: Mapping[str, str]) -> Any:
    """Rename former keys, at any depth.

    Args:
        data: nested dictionaries; anything else is returned unchanged.
        former: current key by former key, both dotted, with the same parents.

    Raises:
        ValueError: a section has both the former and the current key.
    """
    for before, now in former.items():
        *parents, last = before.split(".")
        data = _renamed(data, parents, last, now.rpartition(".")[2])
    return data


def _renamed(data: Any, parents: list[str], before: str, now: str) -> Any:
    if not isinstance(data, Mapping):
        return data
    if parents:
        first, *others = parents
        if first not in data:
            return data
        return {**data, first: _renamed(data[first], others, before, now)}
    if before not in data:
        return data
    if now in data:
        raise ValueError(f"{before} is the former name of {now}, and both are given; leave one out")
    return {(now if key == before else key): value for key, value in data.items()}
