"""A CUDA device and its memory, whichever back end reaches them."""

from dataclasses import dataclass, field
from typing import Any, Literal

from numpy.typing import NDArray

Shape = tuple[int, ...]
"""Lengths of an array's axes."""
HostKind = Literal["pinned", "mapped", "managed"]
"""Memory of the host: page-locked; page-locked with an address on the device; or managed by CUDA,
so that one address is for both, one at a time unless `Device.concurrent`."""


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
    managed: bool = False
    """Whether CUDA can manage memory for the host and the device."""
    concurrent: bool = False
    """Whether the host may access managed memory at any time, whatever the device works on."""

    @property
    def model(self) -> str:
        """Name of the model: CUDA names all modules of a Jetson family alike, so this counts,
        too.
        """
        counted = f", {self.multiprocessors} multiprocessors" if self.multiprocessors else ""
        return f"{self.name}{counted}"


@dataclass(frozen=True)
class HostArray:
    """Array in memory of the host that the device copies from or accesses itself."""

    array: NDArray[Any]
    address: int | None
    """Device address of the array, if it is mapped or managed."""
    owner: Any = field(default=None, repr=False)
    kind: HostKind = "pinned"


@dataclass(frozen=True)
class DeviceMemory:
    """Memory on the device."""

    address: int
    size: int
    """Size in bytes."""
    owner: Any = field(default=None, repr=False)
