"""Interface of every engine: a Session with named, statically shaped inputs and outputs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lzu_export.errors import LzuError

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class TensorSpec:
    """Name, NumPy dtype name and static shape of an engine's input or output."""

    name: str
    dtype: str
    shape: tuple[int, ...]


class Session(Protocol):
    """Interface of an opened engine; a target's session inherits from it."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    graph_note: str = ""
    """Reason why a device's session replays no CUDA graph; empty otherwise."""
    graph_requested: bool = False
    """Whether the engine's library was asked for a CUDA graph, could capture one, and does not
    report whether it replays one. False if the session replays one itself, or there is none."""
    feedback_note: str = ""
    """Reason why boxes go through the host from frame to frame; empty if they do not."""
    device: int | None = None
    """Number of the GPU that executes, as CUDA counts them; None on a CPU."""
    memory_note: str = ""
    """Times by which the memory of a device's session was chosen; empty if none were taken."""
    pixel_format: str = "bgr"
    """Format of the frames that the input of the source takes, see `inputs.pixel_formats`."""
    zoom_note: str = ""
    """Reason why the host zooms for a device's session; empty if it does not."""
    concurrent: bool = False
    """Whether `run` may be called in any thread while other sessions run, one call at a time."""

    @property
    def provider(self) -> str:
        """Name of the provider that actually executes, such as `CPUExecutionProvider`."""

    def host(self, name: str) -> NDArray[Any]:
        """Return the array of an input to fill in place and to give to `run`, which saves a copy.

        On a device it is the memory from which the engine's input is sent, or which the engine
        reads itself. Each call returns the same array. It must not change during a run; a run on
        other arrays may overwrite it. It may be used after the session is closed.

        Args:
            name: name of an input, see `inputs`.

        Raises:
            LzuError: the engine has no such input, or the session is closed.
        """
        arrays: dict[str, NDArray[Any]] = vars(self).setdefault("_host_inputs", {})
        if name not in arrays:
            spec = find_spec(self.inputs, name)
            arrays[name] = np.zeros(spec.shape, spec.dtype)
        return arrays[name]

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """Run once on inputs by name and return outputs by name.

        Raises:
            LzuError: an input is missing, unknown, or of another dtype or shape, or the session is
                closed.
        """

    def close(self) -> None:
        """Release the engine's resources; a second call does nothing."""


CLOSED = "the session is closed; open another"
"""Message of the error of a run on a session that was closed."""


class StatefulSession(Session, Protocol):
    """Session that keeps its state itself, and takes only the other tensors as inputs."""

    def set_state(self, values: Arrays) -> None:
        """Replace the whole state, given by name.

        Raises:
            LzuError: a value is missing, unknown, or of another dtype or shape.
        """


def check_inputs(specs: tuple[TensorSpec, ...], inputs: Arrays) -> None:
    """Refuse inputs that do not match the engine's specs, in one sentence.

    Raises:
        LzuError: an input is missing, unknown, or of another dtype or shape.
    """
    for spec in specs:
        if spec.name not in inputs:
            raise LzuError(
                f"the engine's input {spec.name} is missing; give {spec.dtype} of shape "
                f"{spec.shape}"
            )
        value = inputs[spec.name]
        if value.dtype != np.dtype(spec.dtype):
            raise LzuError(
                f"input {spec.name} is {value.dtype} but the engine takes {spec.dtype}; convert it"
            )
        if value.shape != spec.shape:
            raise LzuError(
                f"input {spec.name} has shape {value.shape} but the engine takes {spec.shape}; "
                "bring it to that size"
            )
    for name in inputs:
        find_spec(specs, name)


def find_spec(specs: tuple[TensorSpec, ...], name: str) -> TensorSpec:
    """Return the spec of an input.

    Raises:
        LzuError: the engine has no such input; the message lists those it has.
    """
    for spec in specs:
        if spec.name == name:
            return spec
    known = ", ".join(spec.name for spec in specs)
    raise LzuError(f"the engine has no input {name}; its inputs are {known}")


def same_memory(one: NDArray[Any], other: NDArray[Any]) -> bool:
    """Return whether two contiguous arrays of one type and size lie in the same place."""
    return (
        one.ctypes.data == other.ctypes.data
        and one.nbytes == other.nbytes
        and one.flags.c_contiguous
        and other.flags.c_contiguous
    )
