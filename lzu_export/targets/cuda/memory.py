"""A CUDA device and its memory, whichever back end reaches them."""

from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

Shape = tuple[int, ...]
"""Lengths of an array's axes."""


@dataclass(frozen=True)
class Device:
    """A GPU."""

    number: int
    """Number of the device, as CUDA counts them."""
    name: str
    capability: str
    """Compute capability, such as `8.7`."""
    integrated: bool
    """Whether the device shares the host's memory, as on a Jetson."""
    multiprocessors: int = 0
    """Number of multiprocessors; 0 if it is unknown."""

    @property
    def model(self) -> str:
        """Name of the model: CUDA names all modules of a Jetson family alike, so this counts,
        too.
        """
        counted = f", {self.multiprocessors} multiprocessors" if self.multiprocessors else ""
        return f"{self.name}{counted}"


@dataclass(frozen=True)
class HostArray:
    """Array in page-locked host memory."""

    array: NDArray[Any]
    address: int | None
    """Device address of the array, if it is mapped."""
    owner: Any = field(default=None, repr=False)


@dataclass(frozen=True)
class DeviceMemory:
    """Memory on the device."""

    address: int
    size: int
    """Size in bytes."""
    owner: Any = field(default=None, repr=False)
