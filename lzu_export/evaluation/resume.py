"""The stored state of an interrupted evaluation."""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from lzu_export.errors import LzuError, readable_os_errors
from lzu_export.evaluation.datasets import State
from lzu_export.support.files import read_npz, replacing

SECONDS = 30.0
"""Time in seconds between two writes of the counts."""


def key_of(*parts: Any) -> str:
    """Return the hash of plain data that a result depends on."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def packed(states: Mapping[str, State]) -> State:
    """Return the arrays of several counters' states by unique names, for one file."""
    return {
        f"{place}.{field}": array
        for place, state in enumerate(states.values())
        for field, array in state.items()
    }


def unpacked(file: Mapping[str, Any], names: Sequence[str]) -> dict[str, State]:
    """Return the states by counter that `packed` joined; `names` are the counters' in order.

    Raises:
        ValueError, IndexError: the arrays belong to other counters.
    """
    states: dict[str, State] = {name: {} for name in names}
    for entry, values in file.items():
        place, dot, field = entry.partition(".")
        if dot:
            states[names[int(place)]][field] = values
    return states


class Unfinished:
    """File of an unfinished evaluation: the number of frames done, and the counts so far."""

    def __init__(self, path: Path, *parts: Any) -> None:
        """Use the file `path`, ending in .npz; `parts` are plain data that results depend on."""
        self.path, self.key = path, key_of(*parts)
        self._written = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether it is time to write the counts again."""
        return time.monotonic() - self._written > SECONDS

    def read(self, names: Sequence[str]) -> tuple[int, dict[str, State]]:
        """Read the number of frames done and each counter's state; 0 and nothing without a file of
        the same counters and parts.
        """
        try:
            file = read_npz(self.path)
            if str(file["key"]) != self.key or file["names"].tolist() != list(names):
                return 0, {}
            done = int(file["done"])
            return (done, unpacked(file, names)) if done > 0 else (0, {})
        except (LzuError, ValueError, TypeError, KeyError, IndexError):
            return 0, {}  # there is no file, or it was cut off

    def write(self, done: int, states: Mapping[str, State]) -> None:
        """Write the state after `done` frames, atomically.

        Raises:
            LzuError: the file cannot be written.
        """
        arrays: dict[str, Any] = packed(states)
        arrays |= {"key": np.array(self.key), "names": np.array([*states]), "done": np.array(done)}
        with readable_os_errors(f"the unfinished evaluation {self.path}"):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(self.path) as new, new.open("wb") as stream:
                np.savez(stream, **arrays)
        self._written = time.monotonic()

    def remove(self) -> None:
        """Remove the file of a finished evaluation."""
        with suppress(OSError):
            self.path.unlink()
