"""A stand-in for `pycuda.driver`, which moves real bytes."""

import ctypes
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from fakes.fake_cuda import TEXTS
from fakes.machine import (
    GLOBAL_FLAG,
    HOST_FLAG,
    INVALID_CONTEXT,
    OUT_OF_MEMORY,
    Context,
    RefusedError,
)
from fakes.world import World, check_call, table


def make_driver(world: World) -> ModuleType:
    """Make the module `pycuda.driver`."""
    module = ModuleType("pycuda.driver")
    names = table("pycuda-2026.1")
    error = type("Error", (Exception,), {})
    module.Error = error  # type: ignore[attr-defined]
    module.MemoryError = type("MemoryError", (error,), {})  # type: ignore[attr-defined]
    contexts = _Contexts(world, module)
    parts = {
        "init": lambda flags=0: None,
        **_devices(contexts),
        **_streams(contexts),
        **_memory(contexts),
        **_copies(contexts),
    }
    for name, part in parts.items():
        kind = names[name]
        if isinstance(kind, dict):
            public = {each for each in vars(part) if not each.startswith("_")}
            assert public <= set(kind), "the stand-in has what PyCUDA has not"
            setattr(module, name, part)
        else:
            setattr(module, name, _function(contexts, name, kind, part))
    attributes = IntEnum("device_attribute", names["device_attribute"])  # type: ignore[misc]
    module.device_attribute = attributes  # type: ignore[attr-defined]
    # These are the values of cuda.h.
    flags = SimpleNamespace(PORTABLE=1, DEVICEMAP=2, WRITECOMBINED=4)
    module.host_alloc_flags = flags  # type: ignore[attr-defined]
    attach = SimpleNamespace(GLOBAL=GLOBAL_FLAG, HOST=HOST_FLAG, SINGLE=4)
    module.mem_attach_flags = attach  # type: ignore[attr-defined]
    return module


def _function(
    contexts: "_Contexts", name: str, overloads: list[str], does: Callable[..., Any]
) -> Any:
    def function(*arguments: Any, **named: Any) -> Any:
        check_call(name, overloads, arguments, named)
        contexts.world.record(name)
        with contexts.call(name):
            return does(*arguments, **named)

    return function


class _Contexts:
    """PyCUDA's own stacks of contexts, one a thread, above those of the driver."""

    def __init__(self, world: World, module: Any) -> None:
        self.world, self.module = world, module
        self._local = threading.local()

    @property
    def stack(self) -> list[Any]:
        """This thread's contexts that PyCUDA has pushed."""
        stack: list[Any] = vars(self._local).setdefault("stack", [])
        return stack

    @contextmanager
    def call(self, name: str) -> Iterator[None]:
        """Raise PyCUDA's errors for a call of the driver."""
        code, kind = self.world.failed, self.module.Error
        if not code:
            try:
                yield
            except RefusedError as refused:
                code = refused.code
            else:
                return
        if code == OUT_OF_MEMORY:
            kind = self.module.MemoryError
        raise kind(f"{name} failed: {TEXTS.get(code, f'error {code}')}")

    def current(self) -> Any:
        """Return the context that new objects belong to, as PyCUDA knows it."""
        if not self.stack:
            raise RefusedError(INVALID_CONTEXT)
        return self.stack[-1]

    def push(self, context: Any) -> None:
        """Push a context, in place of the one that PyCUDA pushed before."""
        if self.stack:
            self.world.pop()
        self.world.push(context._handle)
        self.stack.append(context)

    def pop(self) -> None:
        """Pop a context, and push again the one that PyCUDA pushed before."""
        self.world.pop()
        self.stack.pop()
        if self.stack:
            self.world.push(self.stack[-1]._handle)

    def clean_up(self, owner: Any, what: str, does: Callable[[], None]) -> None:
        """Free something in its own context; in another thread it is left, with a warning.

        PyCUDA prints errors of such calls and raises none.
        """
        strange = not self.stack or self.stack[-1] is not owner
        if strange and threading.get_ident() != owner._thread:
            warnings.warn(f"{what} in out-of-thread context could not be cleaned up", stacklevel=2)
            return
        if self.world.failed:
            return
        if strange:
            self.push(owner)
        try:
            does()
        finally:
            if strange:
                self.pop()


def _devices(contexts: _Contexts) -> dict[str, Any]:
    """The driver's devices and contexts."""
    world = contexts.world

    class PyContext:
        def __init__(self, handle: Context) -> None:
            self._handle, self._thread = handle, threading.get_ident()

        def push(self) -> None:
            world.record("Context.push")
            with contexts.call("cuCtxPushCurrent"):
                contexts.push(self)

        @staticmethod
        def pop() -> None:
            world.record("Context.pop")
            contexts.pop()
            with contexts.call("cuCtxPopCurrent"):
                pass

    class Device:
        def __init__(self, number: int) -> None:
            self._number = number

        @staticmethod
        def count() -> int:
            return world.devices

        def name(self) -> str:
            return world.name_of(self._number)

        def compute_capability(self) -> tuple[int, int]:
            return world.capability

        def get_attribute(self, attribute: Any) -> int:
            values = {"INTEGRATED": world.integrated, "MULTIPROCESSOR_COUNT": world.multiprocessors}
            values |= {"MANAGED_MEMORY": world.managed}
            values |= {"CONCURRENT_MANAGED_ACCESS": world.concurrent}
            return int(values[attribute.name])

        def retain_primary_context(self) -> Any:
            with contexts.call("cuDevicePrimaryCtxRetain"):
                return PyContext(world.primary(self._number))

    return {"Context": PyContext, "Device": Device}


def _streams(contexts: _Contexts) -> dict[str, Any]:
    """The driver's streams and events."""
    world = contexts.world

    class Stream:
        def __init__(self, flags: int = 0) -> None:
            world.record("Stream", flags)
            assert flags == 1, "the stream would wait for the default one"
            with contexts.call("cuStreamCreate"):
                self._context = contexts.current()
                self.handle = world.create_stream()

        def synchronize(self) -> None:
            world.record("Stream.synchronize")
            with contexts.call("cuStreamSynchronize"):
                world.wait(self.handle)

        def __del__(self) -> None:
            if "handle" in vars(self):
                does = lambda: world.destroy_stream(self.handle)  # noqa: E731
                contexts.clean_up(self._context, "stream", does)

    class Event:
        def __init__(self, flags: int = 0) -> None:
            with contexts.call("cuEventCreate"):
                self._context = contexts.current()
                self._handle = world.create_event()

        def record(self, stream: Any = None) -> "Event":
            world.record("Event.record")
            with contexts.call("cuEventRecord"):
                world.record_event(self._handle, stream.handle)
            return self

        def time_till(self, other: "Event") -> float:
            with contexts.call("cuEventElapsedTime"):
                return world.milliseconds(self._handle, other._handle)

        def __del__(self) -> None:
            if "_handle" in vars(self):
                does = lambda: world.destroy_event(self._handle)  # noqa: E731
                contexts.clean_up(self._context, "event", does)

    return {"Event": Event, "Stream": Stream}


def _memory(contexts: _Contexts) -> dict[str, Any]:
    """The driver's memory of the device, and page-locked memory of the host."""
    world = contexts.world

    class Allocation:
        def __init__(self, size: int, kind: str = "device") -> None:
            self._kind = kind
            with contexts.call("cuMemAlloc" if kind == "device" else "cuMemHostAlloc"):
                self._context = contexts.current()
                self._block = world.allocate(size, kind)
            self._valid = True

        def __int__(self) -> int:
            assert self._block.device is not None
            return self._block.device

        def free(self) -> None:
            world.record("free")
            assert self._valid, "freed twice"
            self._valid = False
            block = self._block
            address = block.device if block.host is None else block.host
            assert address is not None
            does = lambda: world.free(address, self._kind)  # noqa: E731
            contexts.clean_up(self._context, "device_allocation", does)

        def get_device_pointer(self) -> int:
            assert self._kind != "pinned", "cuMemHostGetDevicePointer failed: invalid argument"
            return int(self)

        def attach(self, mem_flags: int, stream: Any = None) -> None:
            with contexts.call("cuStreamAttachMemAsync"):
                world.attach(int(self), int(mem_flags), stream.handle)

        def __del__(self) -> None:
            if vars(self).get("_valid"):
                self.free()

    def mem_alloc(bytes: int) -> Allocation:
        if bytes == 0:
            raise RefusedError(1)  # cuMemAlloc takes no size of 0
        return Allocation(bytes)

    def pagelocked_empty(shape: Any, dtype: Any, order: str = "C", mem_flags: int = 0) -> Any:
        return empty(shape, dtype, "mapped" if mem_flags & 2 else "pinned")

    def managed_empty(shape: Any, dtype: Any, order: str = "C", mem_flags: int = 0) -> Any:
        assert mem_flags == HOST_FLAG, "the host could not access it at once"
        return empty(shape, dtype, "managed")

    def empty(shape: Any, dtype: Any, kind: str) -> Any:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        allocation = Allocation(size, kind)
        assert allocation._block.host is not None
        bytes_ = (ctypes.c_ubyte * size).from_address(allocation._block.host)
        array = np.frombuffer(bytes_, dtype).reshape(shape)
        return _WithBase(array, allocation)

    return {
        "managed_empty": managed_empty,
        "mem_alloc": mem_alloc,
        "pagelocked_empty": pagelocked_empty,
    }


def _copies(contexts: _Contexts) -> dict[str, Any]:
    """The driver's copies between host and device."""
    world = contexts.world

    def memcpy_htod_async(dest: Any, src: Any, stream: Any = None) -> None:
        contexts.current()
        address = src.ctypes.data
        world.copy(int(dest), address, src.nbytes, to_device=True, stream=stream.handle)

    def memcpy_dtoh_async(dest: Any, src: Any, stream: Any = None) -> None:
        contexts.current()
        address = dest.ctypes.data
        world.copy(address, int(src), dest.nbytes, to_device=False, stream=stream.handle)

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
