"""State shared by the stand-ins: one machine with memory, streams and a record of all calls."""

import ctypes
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Compute = Callable[[dict[str, NDArray[Any]]], dict[str, NDArray[Any]]]


def table(name: str) -> dict[str, Any]:
    """Read a table of names and parameters, see README.md."""
    data: dict[str, Any] = json.loads((Path(__file__).parent / f"{name}.json").read_text())
    return data


def twice(inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Compute `y` as twice `x`, the default computation of a plan."""
    return {"y": inputs["x"] * 2}


@dataclass
class World:
    """A simulated machine with a GPU."""

    gpu: str = "Orin"
    capability: tuple[int, int] = (8, 7)
    integrated: bool = False
    multiprocessors: int = 8
    memory: int = 1 << 30
    """Free memory of the device in bytes."""
    compute: Compute = twice
    capture_fails: bool = False
    calls: list[tuple[Any, ...]] = field(default_factory=list)
    capturing: list[Callable[[], None]] | None = None
    """Work enqueued since a graph capture began; None without a capture."""
    blocks: dict[int, Any] = field(default_factory=dict)
    """Allocated memory by address."""
    streams: set[int] = field(default_factory=set)
    plugins: list[str] = field(default_factory=list)
    """Paths of the registered plugin libraries."""
    numbers: Any = field(default_factory=lambda: itertools.count(1000))

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

    def allocate(self, size: int) -> int | None:
        """Allocate `size` bytes and return their address, or None if too few are free."""
        if size > self.memory:
            return None
        self.memory -= size
        block = ctypes.create_string_buffer(size)
        address = ctypes.addressof(block)
        self.blocks[address] = block
        return address

    def free(self, address: int) -> None:
        """Free a block; freeing it twice raises KeyError."""
        self.memory += len(self.blocks.pop(address))

    def enqueue(self, work: Callable[[], None]) -> None:
        """Run work at once, or add it to the graph that is being captured."""
        if self.capturing is None:
            work()
        else:
            self.capturing.append(work)

    def array(self, address: int, shape: Sequence[int], dtype: str) -> NDArray[Any]:
        """Return the device's memory at an address as an array."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        assert address in self.blocks, "the address was never allocated, or freed"
        assert len(self.blocks[address]) >= size, "the tensor is larger than its memory"
        bytes_ = (ctypes.c_ubyte * size).from_address(address)
        return np.frombuffer(bytes_, dtype).reshape(shape)


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
