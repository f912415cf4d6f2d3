"""CUDA through PyCUDA (2022 or later), which captures no graphs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, ClassVar

import numpy as np
from pycuda import driver

from lzu_export.errors import ElsewhereError
from lzu_export.support.cuda_errors import fatal_error
from lzu_export.support.device import refuse_absent
from lzu_export.targets.cuda.interface import Cuda, CudaError, Failures, Stream
from lzu_export.targets.cuda.memory import Device, DeviceMemory, HostArray, HostKind, Shape

_NON_BLOCKING = 1
"""Value of CU_STREAM_NON_BLOCKING in cuda.h, for which PyCUDA has no name."""
_failures = Failures()


@contextmanager
def _readable() -> Iterator[None]:
    """Raise CudaError for PyCUDA's errors, whose text is `CALL failed: TEXT`."""
    try:
        yield
    except driver.Error as error:
        call, _, text = str(error).partition(" failed: ")
        raise _failures.error(call, text or "no reason", fatal_error(text)) from error


class PyCudaStream(Stream):
    """Stream of PyCUDA."""

    def __init__(self) -> None:
        """Create a stream; use `PyCuda.stream`."""
        with _readable():
            self._stream = driver.Stream(_NON_BLOCKING)
        self.handle = int(self._stream.handle)
        self._events: list[Any] = []

    def to_device(self, memory: DeviceMemory, host: HostArray) -> None:
        """Copy the whole host array to the device."""
        with _readable():
            driver.memcpy_htod_async(memory.address, host.array, self._stream)

    def to_host(self, host: HostArray, memory: DeviceMemory) -> None:
        """Fill the whole host array from the device."""
        with _readable():
            driver.memcpy_dtoh_async(host.array, memory.address, self._stream)

    def hand_over(self, host: HostArray, *, to_device: bool) -> None:
        """Let the device access managed memory from here on, or else the host."""
        flags = driver.mem_attach_flags
        with _readable():
            host.owner.attach(flags.GLOBAL if to_device else flags.HOST, self._stream)

    def event(self) -> Any:
        """Create an event, which lives as long as the stream."""
        with _readable():
            self._events.append(driver.Event())
        return self._events[-1]

    def record(self, event: Any) -> None:
        """Let the event mark the current place in the queue."""
        with _readable():
            event.record(self._stream)

    def milliseconds(self, start: Any, end: Any) -> float:
        """Return the milliseconds between two recorded events that have passed."""
        with _readable():
            return float(start.time_till(end))

    def capture(self, enqueue: Callable[[], None]) -> Any:
        """Raise CudaError, since PyCUDA captures no graphs."""
        raise CudaError("PyCUDA captures no CUDA graphs; pip install 'lzu-export[cuda]'")

    def launch(self, graph: Any) -> None:
        """Raise CudaError, since there is never a graph."""
        raise CudaError("PyCUDA launches no CUDA graphs")

    def release(self, graph: Any) -> None:
        """Do nothing, since there is never a graph."""

    def synchronize(self) -> None:
        """Wait until all work of this stream is done."""
        with _readable():
            self._stream.synchronize()

    def close(self) -> None:
        """Drop the objects of the stream and its events, with which PyCUDA frees them.

        PyCUDA frees them only where their context is current, or in the thread that opened it.
        """
        self._events.clear()
        del self._stream


class PyCuda(Cuda):
    """Device through PyCUDA."""

    name: ClassVar[str] = "pycuda"
    captures: ClassVar[bool] = False

    def __init__(self, device: Device, context: Any) -> None:
        """Take a device and its context; use `open_device`."""
        self.device, self._context, self.failures = device, context, _failures

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make the device current in the calling thread while the block runs.

        The context is popped afterwards: PyCUDA aborts a program that ends with one pushed. A
        context of another library that was made current above one of PyCUDA's is lost in PyCUDA.
        """
        with _readable():
            self._context.push()
        try:
            yield
        except BaseException:
            with suppress(driver.Error):  # the first error counts
                driver.Context.pop()
            raise
        with _readable():
            driver.Context.pop()

    def stream(self) -> PyCudaStream:
        """Create a stream that does not wait for the default stream."""
        return PyCudaStream()

    def _host_array(
        self, shape: Shape, dtype: np.dtype[Any], size: int, kind: HostKind
    ) -> HostArray:
        with _readable(), self._fits(size):
            if kind == "managed":
                flags = driver.mem_attach_flags.HOST
                array = driver.managed_empty(shape, dtype, mem_flags=flags)
            else:
                flags = driver.host_alloc_flags.DEVICEMAP if kind == "mapped" else 0
                array = driver.pagelocked_empty(shape, dtype, mem_flags=flags)
            address = int(array.base.get_device_pointer()) if kind != "pinned" else None
        return HostArray(array, address, array.base, kind)

    def memory(self, size: int) -> DeviceMemory:
        """Allocate this many bytes on the device."""
        with _readable(), self._fits(size):
            owner = driver.mem_alloc(size)
        return DeviceMemory(int(owner), size, owner)

    def free(self, memory: HostArray | DeviceMemory) -> None:
        """Free memory."""
        with _readable():
            memory.owner.free()

    @contextmanager
    def _fits(self, size: int) -> Iterator[None]:
        try:
            yield
        except driver.MemoryError as error:
            raise self.out_of_memory(size) from error


def open_device(number: int) -> PyCuda:
    """Open the device of this number; see `targets.cuda.interface.open_cuda`."""
    if _failures.first is not None:
        raise _failures.first
    try:
        driver.init()
        count = driver.Device.count()
    except driver.Error as error:
        raise ElsewhereError(f"no NVIDIA GPU can be used ({error}); install its driver") from error
    with _readable():
        devices = [driver.Device(each) for each in range(count)]
        refuse_absent(number, [each.name() for each in devices])
        found = devices[number]
        context = found.retain_primary_context()
        major, minor = found.compute_capability()
        integrated = bool(found.get_attribute(driver.device_attribute.INTEGRATED))
        count = found.get_attribute(driver.device_attribute.MULTIPROCESSOR_COUNT)
        managed, concurrent = (
            bool(found.get_attribute(each))
            for each in (
                driver.device_attribute.MANAGED_MEMORY,
                driver.device_attribute.CONCURRENT_MANAGED_ACCESS,
            )
        )
        device = Device(
            number, found.name(), f"{major}.{minor}", integrated, count, managed, concurrent
        )
    return PyCuda(device, context)
