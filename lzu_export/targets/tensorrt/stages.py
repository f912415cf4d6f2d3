"""Work on the device before and after an engine, on its stream."""

from collections.abc import Mapping
from typing import Protocol

from lzu_export.support.session import Arrays, TensorSpec


class Prologue(Protocol):
    """Work on the device before the engine, on its stream, for every frame.

    A prologue holds no memory, so several sessions can share it.
    """

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Specs of the inputs that the host sends in place of inputs of the engine."""

    @property
    def pixel_format(self) -> str:
        """Format of the frames that the host sends."""

    @property
    def writes(self) -> tuple[str, ...]:
        """Names of the engine's inputs that the prologue writes."""

    @property
    def constants(self) -> Arrays:
        """Other arrays that the prologue reads, the same for all frames, by names of its own."""

    def enqueue(self, addresses: Mapping[str, int], stream: int) -> None:
        """Put the work into the stream, given the device addresses of all tensors by name.

        Raises:
            LzuError: the work cannot be launched.
        """


class Epilogue(Protocol):
    """Work on the device after the engine, on its stream, for every frame.

    An epilogue holds no memory, so several sessions can share it.
    """

    @property
    def state(self) -> tuple[str, ...]:
        """Names of the engine's inputs that it writes for the next frame; they stay on the
        device.
        """

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Specs of the outputs that the host gets in place of the engine's."""

    @property
    def workspace(self) -> int:
        """Bytes of device memory that the epilogue works in."""

    def enqueue(self, addresses: Mapping[str, int], workspace: int, stream: int) -> None:
        """Put the work into the stream, given the device addresses of all tensors by name.

        Raises:
            LzuError: the work cannot be launched.
        """
