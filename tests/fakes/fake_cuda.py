"""Stand-ins for `cuda.bindings.runtime` and `pycuda.driver`, which move real bytes."""

import ctypes
from collections.abc import Callable
from enum import IntEnum
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from fakes.world import World, check_call, table


def make_runtime(world: World) -> ModuleType:
    """Make the module `cuda.bindings.runtime`."""
    module = ModuleType("cuda.bindings.runtime")
    names = table("cuda-13.5.0")
    does = _Runtime(world, module)
    for name, kind in names.items():
        if isinstance(kind, int):
            setattr(module, name, kind)
        elif isinstance(kind, list) and ("Kind" in name or "Mode" in name):
            setattr(module, name, IntEnum(name, kind, start=0))
        elif isinstance(kind, list) and len(kind) == 1:
            setattr(module, name, _function(world, name, kind, getattr(does, name)))
    # These are the values of driver_types.h.
    errors = {
        "cudaSuccess": 0,
        "cudaErrorInvalidValue": 1,
        "cudaErrorMemoryAllocation": 2,
        "cudaErrorNoDevice": 100,
        "cudaErrorStreamCaptureInvalidated": 901,
    }
    assert set(errors) <= set(names["cudaError_t"])
    module.cudaError_t = IntEnum("cudaError_t", errors)  # type: ignore[attr-defined]
    does.error = module.cudaError_t  # type: ignore[attr-defined]
    does.properties = names["cudaDeviceProp"]
    return module


def _function(world: World, name: str, overloads: list[str], does: Callable[..., Any]) -> Any:
    def function(*arguments: Any, **named: Any) -> Any:
        check_call(name, overloads, arguments, named)
        world.record(name)  # leave out the arguments, which the record would keep alive
        return does(*arguments, **named)

    return function


class _Handle(int):
    """A pointer with a type of its own, as the bindings return."""


class _Runtime:
    """Behaviour of each function; all return a tuple that begins with a status."""

    def __init__(self, world: World, module: Any) -> None:
        self.world, self.module = world, module
        self.error: Any = None
        self.properties: dict[str, str] = {}
        self.graphs: dict[int, list[Callable[[], None]]] = {}
        self.device = 0

    def ok(self, *values: Any) -> tuple[Any, ...]:
        return (self.error.cudaSuccess, *values)

    def new(self) -> _Handle:
        return _Handle(next(self.world.numbers))

    def cudaGetDeviceCount(self) -> Any:
        return self.ok(1)

    def cudaGetDevice(self) -> Any:
        return self.ok(self.device)

    def cudaSetDevice(self, device: int) -> Any:
        self.device = device
        return self.ok()

    def cudaGetDeviceProperties(self, _: int) -> Any:
        world = self.world
        values = {
            "name": world.gpu.encode(),
            "major": world.capability[0],
            "minor": world.capability[1],
            "integrated": int(world.integrated),
            "multiProcessorCount": world.multiprocessors,
        }
        assert set(values) <= set(self.properties)
        return self.ok(SimpleNamespace(**values))

    def cudaGetErrorString(self, error: Any) -> Any:
        return self.ok(error.name.encode())

    def cudaGetLastError(self) -> Any:
        return self.ok()

    def cudaStreamCreateWithFlags(self, flags: int) -> Any:
        assert flags == self.module.cudaStreamNonBlocking
        stream = self.new()
        self.world.streams.add(stream)
        return self.ok(stream)

    def cudaStreamDestroy(self, stream: int) -> Any:
        self.world.streams.remove(stream)
        return self.ok()

    def cudaStreamSynchronize(self, stream: int) -> Any:
        assert stream in self.world.streams
        assert self.world.capturing is None
        return self.ok()

    def _allocate(self, size: int) -> Any:
        assert self.world.capturing is None, "allocated while a graph is captured"
        address = self.world.allocate(size)
        return (self.error.cudaErrorMemoryAllocation, None) if address is None else self.ok(address)

    def cudaMalloc(self, size: int) -> Any:
        return self._allocate(size)

    def cudaHostAlloc(self, size: int, flags: int) -> Any:
        assert flags in (self.module.cudaHostAllocDefault, self.module.cudaHostAllocMapped)
        return self._allocate(size)

    def cudaHostGetDevicePointer(self, place: int, flags: int) -> Any:
        assert flags == 0
        return self.ok(place)

    def cudaFree(self, address: int) -> Any:
        self.world.free(address)
        return self.ok()

    def cudaFreeHost(self, address: int) -> Any:
        self.world.free(address)
        return self.ok()

    def cudaMemcpyAsync(self, to: int, source: int, size: int, kind: Any, stream: int) -> Any:
        assert stream in self.world.streams
        self.world.enqueue(lambda: ctypes.memmove(to, source, size) and None)
        return self.ok()

    def cudaEventCreate(self) -> Any:
        return self.ok(self.new())

    def cudaEventRecord(self, event: int, stream: int) -> Any:
        return self.ok()

    def cudaEventElapsedTime(self, start: int, end: int) -> Any:
        return self.ok(0.25)

    def cudaEventDestroy(self, event: int) -> Any:
        return self.ok()

    def cudaStreamBeginCapture(self, stream: int, mode: Any) -> Any:
        self.world.capturing = []
        return self.ok()

    def cudaStreamEndCapture(self, stream: int) -> Any:
        work, self.world.capturing = self.world.capturing, None
        if self.world.capture_fails:
            return self.error.cudaErrorStreamCaptureInvalidated, None
        graph = self.new()
        self.graphs[graph] = work or []
        return self.ok(graph)

    def cudaGraphInstantiate(self, graph: int, flags: int) -> Any:
        executable = self.new()
        self.graphs[executable] = self.graphs[graph]
        return self.ok(executable)

    def cudaGraphLaunch(self, executable: int, stream: int) -> Any:
        if vars(self.world).get("graph_error"):
            return (self.error.cudaErrorStreamCaptureInvalidated,)
        for work in self.graphs[executable]:
            work()
        return self.ok()

    def cudaGraphDestroy(self, graph: int) -> Any:
        del self.graphs[graph]
        return self.ok()

    def cudaGraphExecDestroy(self, executable: int) -> Any:
        del self.graphs[executable]
        return self.ok()


def make_driver(world: World) -> ModuleType:
    """Make the module `pycuda.driver`."""
    module = ModuleType("pycuda.driver")
    names = table("pycuda-2026.1")
    error = type("Error", (Exception,), {})
    module.Error = error  # type: ignore[attr-defined]
    module.MemoryError = type("MemoryError", (error,), {})  # type: ignore[attr-defined]
    contexts: list[int] = []
    parts = {
        "init": lambda flags=0: None,
        **_driver_devices(world, contexts),
        **_driver_streams(world),
        **_driver_memory(world, contexts, module.MemoryError),  # type: ignore[attr-defined]
        **_driver_copies(world, contexts),
    }
    for name, part in parts.items():
        kind = names[name]
        if isinstance(kind, dict):
            public = {each for each in vars(part) if not each.startswith("_")}
            assert public <= set(kind), "the stand-in has what PyCUDA has not"
            setattr(module, name, part)
        else:
            setattr(module, name, _function(world, name, kind, part))
    attributes = IntEnum("device_attribute", names["device_attribute"])  # type: ignore[misc]
    module.device_attribute = attributes  # type: ignore[attr-defined]
    # These are the values of cuda.h.
    flags = SimpleNamespace(PORTABLE=1, DEVICEMAP=2, WRITECOMBINED=4)
    module.host_alloc_flags = flags  # type: ignore[attr-defined]
    return module


def _driver_devices(world: World, contexts: list[int]) -> dict[str, Any]:
    """The driver's devices and contexts; `contexts` has an entry for each that is pushed."""

    class Context:
        def push(self) -> None:
            world.record("Context.push")
            contexts.append(1)

        @staticmethod
        def pop() -> None:
            world.record("Context.pop")
            contexts.pop()

    class Device:
        def __init__(self, number: int) -> None:
            pass

        @staticmethod
        def count() -> int:
            return 1

        def name(self) -> str:
            return world.gpu

        def compute_capability(self) -> tuple[int, int]:
            return world.capability

        def get_attribute(self, attribute: Any) -> int:
            values = {"INTEGRATED": world.integrated, "MULTIPROCESSOR_COUNT": world.multiprocessors}
            return int(values[attribute.name])

        def retain_primary_context(self) -> Any:
            return Context()

    return {"Context": Context, "Device": Device}


def _driver_streams(world: World) -> dict[str, Any]:
    """The driver's streams and events."""

    class Stream:
        def __init__(self, flags: int = 0) -> None:
            world.record("Stream", flags)
            assert flags == 1, "the stream would wait for the default one"
            self.handle = next(world.numbers)
            world.streams.add(self.handle)

        def synchronize(self) -> None:
            world.record("Stream.synchronize")

        def __del__(self) -> None:
            world.streams.discard(self.handle)

    class Event:
        def record(self, stream: Any = None) -> "Event":
            world.record("Event.record")
            return self

        def time_till(self, _: "Event") -> float:
            return 0.25

    return {"Event": Event, "Stream": Stream}


def _driver_memory(
    world: World, contexts: list[int], out_of_memory: type[Exception]
) -> dict[str, Any]:
    """The driver's memory of the device, and of the host where the device reads it."""

    def allocate(size: int) -> int:
        assert contexts, "no context is current"
        address = world.allocate(size)
        if address is None:
            raise out_of_memory("cuMemAlloc failed: out of memory")
        return address

    class Allocation:
        def __init__(self, size: int) -> None:
            self._address = allocate(size)

        def __int__(self) -> int:
            return self._address

        def free(self) -> None:
            world.record("free")
            world.free(self._address)

        def get_device_pointer(self) -> int:
            return self._address

    def pagelocked_empty(shape: Any, dtype: Any, order: str = "C", mem_flags: int = 0) -> Any:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        allocation = Allocation(size)
        bytes_ = (ctypes.c_ubyte * size).from_address(int(allocation))
        array = np.frombuffer(bytes_, dtype).reshape(shape)
        return _WithBase(array, allocation)

    return {"mem_alloc": Allocation, "pagelocked_empty": pagelocked_empty}


def _driver_copies(world: World, contexts: list[int]) -> dict[str, Any]:
    """The driver's copies between host and device."""

    def copy(to: int, source: int, size: int) -> None:
        assert contexts, "no context is current"
        world.enqueue(lambda: ctypes.memmove(to, source, size) and None)

    def memcpy_htod_async(dest: Any, src: Any, stream: Any = None) -> None:
        copy(int(dest), src.ctypes.data, src.nbytes)

    def memcpy_dtoh_async(dest: Any, src: Any, stream: Any = None) -> None:
        copy(dest.ctypes.data, int(src), dest.nbytes)

    return {"memcpy_dtoh_async": memcpy_dtoh_async, "memcpy_htod_async": memcpy_htod_async}


class _WithBase(np.ndarray[Any, Any]):
    """An array whose `base` is the allocation that owns its memory, as in PyCUDA."""

    _owner: Any

    def __new__(cls, array: Any, owner: Any) -> "_WithBase":
        made = array.view(cls)
        made._owner = owner
        return made

    @property
    def base(self) -> Any:
        return self._owner
