"""State shared by the stand-ins: one machine and a record of all calls."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from fakes.machine import Context, Machine

Compute = Callable[[dict[str, NDArray[Any]]], dict[str, NDArray[Any]]]


def table(name: str) -> dict[str, Any]:
    """Read a table of names and parameters, see README.md."""
    data: dict[str, Any] = json.loads((Path(__file__).parent / f"{name}.json").read_text())
    return data


def twice(inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Compute `y` as twice `x`, the default computation of a plan."""
    return {"y": inputs["x"] * 2}


@dataclass
class World(Machine):
    """A simulated machine with GPUs, TensorRT and a record of all calls."""

    compute: Compute = twice
    calls: list[tuple[Any, ...]] = field(default_factory=list)
    plugins: list[str] = field(default_factory=list)
    """Paths of the registered plugin libraries."""
    unloaded: list[Context | None] = field(default_factory=list)
    """What was current when each engine and each execution context was destroyed."""

    def record(self, name: str, *arguments: Any) -> None:
        """Record a call."""
        self.calls.append((name, *arguments))

    def names(self) -> list[str]:
        """Return the names of all recorded calls."""
        return [call[0] for call in self.calls]

    def check_order(self, *names: str) -> None:
        """Check that calls of these names were made, the first call of each in this order."""
        first = [self.names().index(name) for name in names]
        assert first == sorted(first)

    def captured(self) -> list[str]:
        """Return the names of the calls that the first CUDA graph recorded."""
        names = self.names()
        first = names.index("cudaStreamBeginCapture") + 1
        return names[first : names.index("cudaStreamEndCapture")]


def check_call(
    name: str, overloads: Sequence[str], arguments: Any, named: Mapping[str, Any]
) -> None:
    """Raise a TypeError, as compiled modules do, unless one overload accepts the arguments."""
    for overload in overloads:
        parameters = [each for each in overload.split(", ") if each]
        known = [each.rstrip("=") for each in parameters]
        needed = [each for each in parameters if not each.endswith("=")]
        if len(arguments) > len(known) or not set(named) <= set(known[len(arguments) :]):
            continue
        if all(each in named for each in needed[len(arguments) :]):
            return
    raise TypeError(f"{name}{tuple(arguments)} {dict(named)}: incompatible function arguments")
