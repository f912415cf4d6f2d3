"""Part of CUDA that device sessions need, through cuda-python or PyCUDA.

cuda-python is preferred: it has plain wheels and captures graphs. JetPack containers have PyCUDA,
which captures none. Both use the device's primary context, as TensorRT does.
"""

import importlib
import logging
import os
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike

from lzu_export.errors import ElsewhereError, LzuError
from lzu_export.support.cuda_errors import FATAL, LOST
from lzu_export.support.device import device_number
from lzu_export.targets.cuda.memory import Device, DeviceMemory, HostArray, HostKind, Shape

log = logging.getLogger(__name__)

VARIABLE = "LZU_CUDA"
"""Environment variable that selects a back end."""
BACK_ENDS = {
    "cuda-python": "lzu_export.targets.cuda.cuda_python",
    "pycuda": "lzu_export.targets.cuda.pycuda",
}
"""Module by name of the back end, the preferred one first. Each module has
`open_device(number) -> Cuda`."""


class CudaError(LzuError):
    """Failure of a CUDA call."""


class FatalCudaError(CudaError):
    """Failure of work on the GPU after which CUDA runs nothing more in this process."""


class Failures:
    """Failed calls of a back end.

    After work on the GPU has failed, every call returns an error, and only the first says why.
    """

    def __init__(self) -> None:
        """Begin without a failure."""
        self._first: str | None = None

    @property
    def first(self) -> FatalCudaError | None:
        """Error of the work that failed first; None if none has failed."""
        return None if self._first is None else FatalCudaError(f"{self._first}; {LOST}")

    def error(self, call: str, text: str, number: int | None) -> CudaError:
        """Make the error of a failed call, or that of the work that failed before.

        Args:
            call: name of the call.
            text: CUDA's text of the error.
            number: CUDA's number of the error, if it is known.
        """
        if self._first is None and number in FATAL:
            self._first = f"work on the GPU failed: {text} (error {number}, reported by {call})"
        return self.first or CudaError(
            f"CUDA refused {call}: {text}" + (f" (error {number})" if number is not None else "")
        )


class Stream(ABC):
    """Queue of work on the device; calls return before the work is done."""

    handle: int
    """Value of the cudaStream_t, for other libraries."""

    @abstractmethod
    def to_device(self, memory: DeviceMemory, host: HostArray) -> None:
        """Copy the whole host array to the device."""

    @abstractmethod
    def to_host(self, host: HostArray, memory: DeviceMemory) -> None:
        """Fill the whole host array from the device."""

    @abstractmethod
    def hand_over(self, host: HostArray, *, to_device: bool) -> None:
        """Let the device access managed memory from here on, or else the host.

        The host may access it when this stream has got there, whatever other streams do.
        """

    @abstractmethod
    def event(self) -> Any:
        """Create an event, which lives as long as the stream."""

    @abstractmethod
    def record(self, event: Any) -> None:
        """Let the event mark the current place in the queue."""

    @abstractmethod
    def milliseconds(self, start: Any, end: Any) -> float:
        """Return the milliseconds between two recorded events that have passed."""

    @abstractmethod
    def capture(self, enqueue: Callable[[], None]) -> Any:
        """Capture the work that `enqueue` puts into this stream as a graph, without running it.

        Raises:
            CudaError: the back end captures no graphs, or the work cannot be captured.
        """

    @abstractmethod
    def launch(self, graph: Any) -> None:
        """Run a captured graph."""

    @abstractmethod
    def release(self, graph: Any) -> None:
        """Free a captured graph."""

    @abstractmethod
    def synchronize(self) -> None:
        """Wait until all work of this stream is done."""

    @abstractmethod
    def close(self) -> None:
        """Free the stream."""


class Cuda(ABC):
    """One device through one back end."""

    name: ClassVar[str]
    captures: ClassVar[bool]
    """Whether its streams capture graphs."""
    device: Device
    failures: Failures
    """Failed calls of the back end in this process."""

    @abstractmethod
    def current(self) -> AbstractContextManager[None]:
        """Make the device current in the calling thread while the block runs.

        Afterwards the context that was current before is current again, whoever made it.
        """

    def freeing(self) -> AbstractContextManager[None]:
        """Make the device current, as `current` does, in a block that frees resources.

        The block may run in the middle of other work of its thread, such as the capture of a graph,
        when Python drops objects.
        """
        return self.current()

    @abstractmethod
    def stream(self) -> Stream:
        """Create a stream that does not wait for the default stream."""

    def host_array(self, shape: Shape, dtype: DTypeLike, *, kind: HostKind = "pinned") -> HostArray:
        """Allocate memory of the host; if it is managed, the host has it at first.

        Raises:
            CudaError: there is too little memory, or none of this kind.
        """
        of = np.dtype(dtype)
        return self._host_array(shape, of, int(np.prod(shape)) * of.itemsize, kind)

    @abstractmethod
    def _host_array(
        self, shape: Shape, dtype: np.dtype[Any], size: int, kind: HostKind
    ) -> HostArray:
        """Allocate an array of `size` bytes, see `host_array`."""

    @abstractmethod
    def memory(self, size: int) -> DeviceMemory:
        """Allocate this many bytes on the device."""

    @abstractmethod
    def free(self, memory: HostArray | DeviceMemory) -> None:
        """Free memory; nothing may use it any more."""

    def free_later(self, host: HostArray) -> None:
        """Free memory of the host when the last array in it is dropped, in whatever thread."""
        root = host.array
        while isinstance(root.base, np.ndarray):  # on which all arrays in this memory depend
            root = root.base
        memory = replace(host, array=np.empty(0))
        weakref.finalize(root, self._free_dropped, memory).atexit = False

    def _free_dropped(self, memory: HostArray) -> None:
        try:
            with self.freeing():
                self.free(memory)
        except CudaError as error:
            log.info("memory of the host cannot be freed: %s", error)

    def out_of_memory(self, size: int) -> CudaError:
        """Make the error of a failed allocation of this many bytes."""
        return CudaError(
            f"{self.device.name} is out of memory: {size / 1e6:.1f} MB were asked for; end other "
            "programs on it, open fewer sessions, or run a smaller engine"
        )


def open_cuda(back_end: str | None = None, number: int | None = None) -> Cuda:
    """Open the device of this number.

    Args:
        back_end: `cuda-python` or `pycuda`; by default the value of `LZU_CUDA`, else the first of
            both that imports.
        number: number of the GPU, as CUDA counts them; by default see `device_number`.

    Raises:
        LzuError: there is no such back end or GPU, or work on a GPU has failed in this process.
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
        except ImportError as error:  # PyCUDA raises it if its own libraries do not load
            raise ElsewhereError(
                f"no NVIDIA GPU can be used: {name} does not load ({error}); install the driver"
            ) from error
        opened: Cuda = module.open_device(device_number(number))
        return opened
    missing = f"{wanted} is not" if wanted else f"neither {' nor '.join(BACK_ENDS)} is"
    raise ElsewhereError(
        f"{missing} installed, and device sessions need it; pip install 'lzu-export[cuda]', or "
        "'lzu-export[pycuda]' where the container has no other"
    )
