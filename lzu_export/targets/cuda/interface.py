"""The part of CUDA that device sessions need, over cuda-python or over PyCUDA.

cuda-python is preferred: it has plain wheels and captures graphs. PyCUDA is what JetPack containers
carry; it captures none. Either uses the device's primary context, as TensorRT does.
"""

import importlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, ClassVar

from numpy.typing import DTypeLike, NDArray

from lzu_export.errors import ElsewhereError, LzuError

VARIABLE = "LZU_CUDA"
"""Environment variable that forces a back end."""
BACK_ENDS = {
    "cuda-python": "lzu_export.targets.cuda.cuda_python",
    "pycuda": "lzu_export.targets.cuda.pycuda",
}
"""Modules by name, the preferred one first. Each has `open_device(number) -> Cuda`."""


class CudaError(LzuError):
    """A call of CUDA failed."""


@dataclass(frozen=True)
class Device:
    """A GPU."""

    number: int
    name: str
    capability: str
    """Such as `8.7`."""
    integrated: bool
    """Whether it shares the host's memory, as on a Jetson."""
    multiprocessors: int = 0
    """0 where they are not known."""

    @property
    def model(self) -> str:
        """What tells it from other models: CUDA calls every module of a Jetson family the same."""
        counted = f", {self.multiprocessors} multiprocessors" if self.multiprocessors else ""
        return f"{self.name}{counted}"


@dataclass(frozen=True)
class HostArray:
    """Page-locked host memory."""

    array: NDArray[Any]
    address: int | None
    """The device's address of it, where it is mapped."""
    owner: Any = field(default=None, repr=False)


@dataclass(frozen=True)
class DeviceMemory:
    """Memory of the device."""

    address: int
    size: int
    """Bytes."""
    owner: Any = field(default=None, repr=False)


class Stream(ABC):
    """A queue of work on the device; calls return before the work is done."""

    handle: int
    """The cudaStream_t, for other libraries."""

    @abstractmethod
    def to_device(self, memory: DeviceMemory, host: HostArray) -> None:
        """Copy the whole host array."""

    @abstractmethod
    def to_host(self, host: HostArray, memory: DeviceMemory) -> None:
        """Fill the whole host array."""

    @abstractmethod
    def event(self) -> Any:
        """An event, which lives as long as the stream."""

    @abstractmethod
    def record(self, event: Any) -> None:
        """Let the event mark this place of the queue."""

    @abstractmethod
    def milliseconds(self, start: Any, end: Any) -> float:
        """Time between two recorded events that have passed."""

    @abstractmethod
    def capture(self, enqueue: Callable[[], None]) -> Any:
        """The graph of what `enqueue` puts into this stream; nothing of it runs.

        Raises:
            CudaError: the back end captures none, or the work cannot be captured.
        """

    @abstractmethod
    def launch(self, graph: Any) -> None:
        """Run a captured graph."""

    @abstractmethod
    def release(self, graph: Any) -> None:
        """Free a captured graph."""

    @abstractmethod
    def synchronize(self) -> None:
        """Wait for all work of this stream."""

    @abstractmethod
    def close(self) -> None:
        """Free the stream."""


class Cuda(ABC):
    """One device through one back end."""

    name: ClassVar[str]
    captures: ClassVar[bool]
    """Whether its streams capture graphs."""
    device: Device

    @abstractmethod
    def current(self) -> AbstractContextManager[None]:
        """Make the device the calling thread's while the block runs."""

    @abstractmethod
    def stream(self) -> Stream:
        """A stream that does not wait for the default one."""

    @abstractmethod
    def host_array(
        self, shape: tuple[int, ...], dtype: DTypeLike, *, mapped: bool = False
    ) -> HostArray:
        """Page-locked memory, which the device reads itself where it is `mapped`."""

    @abstractmethod
    def memory(self, size: int) -> DeviceMemory:
        """So many bytes of the device."""

    @abstractmethod
    def free(self, memory: HostArray | DeviceMemory) -> None:
        """Give memory back; nothing may use it any more."""


def open_cuda(back_end: str | None = None, number: int = 0) -> Cuda:
    """The device of this number.

    Args:
        back_end: `cuda-python` or `pycuda`; by default what `LZU_CUDA` says, else the first of both
            that imports.
        number: of the device, as CUDA counts them.

    Raises:
        LzuError: no such back end or GPU.
        ElsewhereError: no back end is installed, or there is no driver or GPU at all.
    """
    wanted = back_end or os.environ.get(VARIABLE)
    if wanted and wanted not in BACK_ENDS:
        raise LzuError(f"there is no CUDA back end {wanted}; use {' or '.join(BACK_ENDS)}")
    for name in [wanted] if wanted else BACK_ENDS:
        try:
            module = importlib.import_module(BACK_ENDS[name])
        except ModuleNotFoundError:
            continue
        except ImportError as error:  # of PyCUDA, where its own libraries do not load
            raise ElsewhereError(
                f"no NVIDIA GPU can be used: {name} does not load ({error}); install the driver"
            ) from error
        opened: Cuda = module.open_device(number)
        return opened
    missing = f"{wanted} is not" if wanted else f"neither {' nor '.join(BACK_ENDS)} is"
    raise ElsewhereError(
        f"{missing} installed, and device sessions need it; pip install 'lzu-export[cuda]', or "
        "'lzu-export[pycuda]' where the container has no other"
    )


def out_of_memory(device: Device, size: int) -> CudaError:
    """The error of an allocation of so many bytes that failed."""
    return CudaError(
        f"{device.name} is out of memory: {size / 1e6:.1f} MB were asked for; end other programs "
        "on it, open fewer sessions, or run a smaller engine"
    )
