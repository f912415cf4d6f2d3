"""CUDA through cuda-python (`cuda.bindings`, 12.8 to 13.x)."""

import ctypes
import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, ClassVar

import numpy as np
from cuda.bindings import driver, runtime

from lzu_export.errors import ElsewhereError
from lzu_export.support.device import refuse_absent
from lzu_export.targets.cuda.interface import Cuda, CudaError, Failures, Stream
from lzu_export.targets.cuda.memory import Device, DeviceMemory, HostArray, HostKind, Shape

_failures = Failures()


def _call(name: str, *arguments: Any) -> Any:
    """Call a function of the CUDA runtime, check its status and return its value."""
    return _value(name, *getattr(runtime, name)(*arguments))


def _value(name: str, status: Any, *values: Any) -> Any:
    """Check what a function of the CUDA runtime returned and return its value."""
    if int(status) != 0:
        runtime.cudaGetLastError()  # so that the next call does not report this error again
        text = runtime.cudaGetErrorString(status)[1].decode()
        raise _failures.error(name, text, int(status))
    return values[0] if values else None


def _call_driver(name: str, *arguments: Any) -> Any:
    """Call a function of the CUDA driver, check its status and return its value."""
    status, *values = getattr(driver, name)(*arguments)
    if int(status) != 0:
        text = (driver.cuGetErrorString(status)[1] or b"unknown error").decode()
        raise _failures.error(name, text, int(status))
    return values[0] if values else None


@functools.cache
def _primary_context(number: int) -> Any:
    """Retain the primary context of a device, which this process then keeps.

    The CUDA runtime, and TensorRT with it, work in the same context.
    """
    _call_driver("cuInit", 0)
    return _call_driver("cuDevicePrimaryCtxRetain", _call_driver("cuDeviceGet", number))


class PythonStream(Stream):
    """Stream that captures graphs."""

    def __init__(self) -> None:
        """Create a stream; use `PythonCuda.stream`."""
        self._stream = _call("cudaStreamCreateWithFlags", runtime.cudaStreamNonBlocking)
        self.handle = int(self._stream)
        self._kinds = runtime.cudaMemcpyKind
        self._events: list[Any] = []

    def to_device(self, memory: DeviceMemory, host: HostArray) -> None:
        """Copy the whole host array to the device."""
        place, kind = host.array.ctypes.data, self._kinds.cudaMemcpyHostToDevice
        _call("cudaMemcpyAsync", memory.address, place, host.array.nbytes, kind, self._stream)

    def to_host(self, host: HostArray, memory: DeviceMemory) -> None:
        """Fill the whole host array from the device."""
        place, kind = host.array.ctypes.data, self._kinds.cudaMemcpyDeviceToHost
        _call("cudaMemcpyAsync", place, memory.address, host.array.nbytes, kind, self._stream)

    def hand_over(self, host: HostArray, *, to_device: bool) -> None:
        """Let the device access managed memory from here on, or else the host."""
        flags = runtime.cudaMemAttachGlobal if to_device else runtime.cudaMemAttachHost
        _call("cudaStreamAttachMemAsync", self._stream, host.owner, 0, flags)

    def event(self) -> Any:
        """Create an event, which lives as long as the stream."""
        self._events.append(_call("cudaEventCreate"))
        return self._events[-1]

    def record(self, event: Any) -> None:
        """Let the event mark the current place in the queue."""
        _call("cudaEventRecord", event, self._stream)

    def milliseconds(self, start: Any, end: Any) -> float:
        """Return the milliseconds between two recorded events that have passed."""
        return float(_call("cudaEventElapsedTime", start, end))

    def capture(self, enqueue: Callable[[], None]) -> Any:
        """Capture the work that `enqueue` puts into this stream as a graph."""
        mode = runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        _call("cudaStreamBeginCapture", self._stream, mode)
        try:
            enqueue()
        except BaseException:
            with suppress(CudaError):  # it leaves capture mode; an error would repeat the first
                _call("cudaGraphDestroy", _call("cudaStreamEndCapture", self._stream))
            raise
        graph = _call("cudaStreamEndCapture", self._stream)
        try:
            return _call("cudaGraphInstantiate", graph, 0)
        finally:
            with suppress(CudaError):
                _call("cudaGraphDestroy", graph)

    def launch(self, graph: Any) -> None:
        """Run a captured graph."""
        _call("cudaGraphLaunch", graph, self._stream)

    def release(self, graph: Any) -> None:
        """Free a captured graph."""
        _call("cudaGraphExecDestroy", graph)

    def synchronize(self) -> None:
        """Wait until all work of this stream is done."""
        _call("cudaStreamSynchronize", self._stream)

    def close(self) -> None:
        """Free the stream and its events."""
        try:
            while self._events:
                _call("cudaEventDestroy", self._events.pop())
        finally:
            _call("cudaStreamDestroy", self._stream)


class PythonCuda(Cuda):
    """Device through cuda-python."""

    name: ClassVar[str] = "cuda-python"
    captures: ClassVar[bool] = True

    def __init__(self, device: Device) -> None:
        """Take a device; use `open_device`."""
        self.device, self.failures = device, _failures

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make the device current in the calling thread while the block runs.

        cudaSetDevice would replace a context that another library made, and not bring it back.
        """
        _call_driver("cuCtxPushCurrent", _primary_context(self.device.number))
        try:
            yield
        except BaseException:
            with suppress(CudaError):  # the first error counts
                _call_driver("cuCtxPopCurrent")
            raise
        _call_driver("cuCtxPopCurrent")

    @contextmanager
    def freeing(self) -> Iterator[None]:
        """Make the device current while the block frees, even if this thread captures a graph."""
        relaxed = runtime.cudaStreamCaptureMode.cudaStreamCaptureModeRelaxed
        with self.current():
            before = _call("cudaThreadExchangeStreamCaptureMode", relaxed)
            try:
                yield
            finally:
                with suppress(CudaError):
                    _call("cudaThreadExchangeStreamCaptureMode", before)

    def stream(self) -> PythonStream:
        """Create a stream that does not wait for the default stream."""
        return PythonStream()

    def _host_array(
        self, shape: Shape, dtype: np.dtype[Any], size: int, kind: HostKind
    ) -> HostArray:
        mapped = kind == "mapped"
        if kind == "managed":
            # Attached to the host, which may access it at once, even while the device works.
            place = int(self._allocated("cudaMallocManaged", size, runtime.cudaMemAttachHost))
        else:
            flags = runtime.cudaHostAllocMapped if mapped else runtime.cudaHostAllocDefault
            place = int(self._allocated("cudaHostAlloc", size, flags))
        try:
            address = int(_call("cudaHostGetDevicePointer", place, 0)) if mapped else None
        except CudaError:
            with suppress(CudaError):
                _call("cudaFreeHost", place)
            raise
        bytes_ = np.ctypeslib.as_array((ctypes.c_ubyte * size).from_address(place))
        array = bytes_.view(dtype).reshape(shape)
        return HostArray(array, place if kind == "managed" else address, place, kind)

    def memory(self, size: int) -> DeviceMemory:
        """Allocate this many bytes on the device."""
        return DeviceMemory(int(self._allocated("cudaMalloc", size)), size)

    def free(self, memory: HostArray | DeviceMemory) -> None:
        """Free memory."""
        if isinstance(memory, HostArray):
            _call("cudaFree" if memory.kind == "managed" else "cudaFreeHost", memory.owner)
        else:
            _call("cudaFree", memory.address)

    def _allocated(self, name: str, size: int, *flags: int) -> Any:
        status, *values = getattr(runtime, name)(size, *flags)
        if status == runtime.cudaError_t.cudaErrorMemoryAllocation:
            runtime.cudaGetLastError()
            raise self.out_of_memory(size)
        return _value(name, status, *values)


def open_device(number: int) -> PythonCuda:
    """Open the device of this number; see `targets.cuda.interface.open_cuda`."""
    if _failures.first is not None:
        raise _failures.first
    try:
        count = _call("cudaGetDeviceCount")
    except (CudaError, RuntimeError) as error:  # RuntimeError: the driver's library does not load
        raise ElsewhereError(f"no NVIDIA GPU can be used ({error}); install its driver") from error
    devices = [_call("cudaGetDeviceProperties", each) for each in range(count)]
    refuse_absent(number, [each.name.decode() for each in devices])
    found = devices[number]
    return PythonCuda(
        Device(
            number,
            found.name.decode(),
            f"{found.major}.{found.minor}",
            bool(found.integrated),
            found.multiProcessorCount,
            bool(found.managedMemory),
            bool(found.concurrentManagedAccess),
        )
    )
