"""The interface of every engine: a Session with named, statically shaped inputs and outputs."""

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
    """An opened engine."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @property
    def provider(self) -> str:
        """The provider that really executes, such as `CPUExecutionProvider`."""

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """Run once; arrays by name in, arrays by name out.

        Raises:
            LzuError: an input is missing, unknown, or of another dtype or shape.
        """

    def close(self) -> None:
        """Give back what it holds; a second call does nothing."""


class StatefulSession(Session, Protocol):
    """A session that keeps what it has to remember, and takes only the rest as inputs."""

    def set_state(self, values: Arrays) -> None:
        """Replace what it remembers; all of it, by name.

        Raises:
            LzuError: a value is missing, unknown, or of another dtype or shape.
        """


def check_inputs(specs: tuple[TensorSpec, ...], inputs: Arrays) -> None:
    """Refuse what the engine would misread, in one sentence."""
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
    known = [spec.name for spec in specs]
    for name in inputs:
        if name not in known:
            raise LzuError(f"the engine has no input {name}; its inputs are {', '.join(known)}")
