"""Edits of files, by chance but the same in every run: JSON by its structure, arrays, bytes."""

import copy
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

VALUES: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    1,
    2**31,
    2**63,
    10**30,
    1e308,
    1e-320,
    0.5,
    "",
    "x",
    "../../x",
    "nan",
    "-inf",
    "\u202e",
    "x" * 10_000,
    [],
    {},
    [[]],
    [1, 2, 3],
    {"a": 1},
    "fp16",
    "uniform",
    "seg",
    "tensorrt",
    [100_000, 100_000],
    [-1, -1],
)
"""What takes the place of a value."""


def places(data: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where the values of plain data are: keys and numbers, from the outside in."""
    if at:
        yield at
    inner = data.items() if isinstance(data, dict) else enumerate(data)
    for key, value in inner:
        if isinstance(value, (dict, list)):
            yield from places(value, (*at, key))
        else:
            yield (*at, key)


def edit_json(
    data: Any, generator: random.Random, values: Sequence[Any] = VALUES
) -> tuple[Any, str]:
    """Return a copy of plain data with one value changed, and a note of what was done.

    The value is removed, doubled, renamed, or replaced by one of `values`.
    """
    changed = copy.deepcopy(data)
    kinds: dict[tuple[Any, ...], list[tuple[Any, ...]]] = {}
    for each in places(data):  # lists of a thousand tensors are no more than one kind
        kinds.setdefault(tuple("#" if isinstance(k, int) else k for k in each), []).append(each)
    *outside, key = generator.choice(generator.choice(list(kinds.values())))
    parent = changed
    for each in outside:
        parent = parent[each]
    how = generator.randrange(6)
    if how == 0:
        del parent[key]
    elif how == 1 and isinstance(parent, list):
        parent.append(copy.deepcopy(parent[key]))
    elif how == 2 and isinstance(parent, dict):
        parent[f"{key}x"] = parent.pop(key)
    else:
        parent[key] = copy.deepcopy(generator.choice(values))
    return changed, f"{'.'.join(map(str, [*outside, key]))} by {how}"


def edit_arrays(
    arrays: Mapping[str, NDArray[Any]], generator: random.Random
) -> tuple[dict[str, NDArray[Any]], str]:
    """A copy with one array removed, renamed, or of other values, type or shape; what was done."""
    changed = dict(arrays)
    name, how = generator.choice(list(arrays)), generator.randrange(12)
    array = changed[name]
    odd = generator.choice([np.nan, np.inf, -np.inf, 1e30, -1e30, -1, 2.0**31, 0])
    if how == 0:
        del changed[name]
    elif how == 1:
        changed[f"{name}/x"] = changed.pop(name)
    elif how < 8:
        shapes = [array[:0] if array.ndim else array, array.reshape(-1), array.T, array[None]]
        shapes += [np.stack([array, array]), np.zeros((), array.dtype)]
        changed[name] = shapes[how - 2]
    elif how == 8 and array.dtype.kind != "U":
        with np.errstate(all="ignore"):
            changed[name] = array.astype(generator.choice(["f8", "f2", "i4", "u1", "U3", "?"]))
    elif array.size and array.dtype.kind in "fiu":
        values = array.astype(np.float64).reshape(-1)
        values[slice(None) if how == 9 else generator.randrange(values.size)] = odd
        with np.errstate(all="ignore"):
            changed[name] = values.reshape(array.shape).astype(array.dtype)
    return changed, f"{name} by {how}"


def edit_bytes(content: bytes, generator: random.Random) -> bytes:
    """Other bytes at one place, fewer, or more."""
    changed = bytearray(content)
    at, how = generator.randrange(len(content)), generator.randrange(4)
    if how == 0:
        changed[at] ^= 1 << generator.randrange(8)
    elif how == 1:
        changed[at : at + 16] = generator.randbytes(16)
    elif how == 2:
        del changed[at : at + generator.randrange(1, 1000)]
    else:
        del changed[at:]
    return bytes(changed)
