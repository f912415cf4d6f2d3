"""Stand-ins for `cuda.bindings.runtime` and `cuda.bindings.driver`, which move real bytes."""

from collections.abc import Callable
from enum import IntEnum
from types import ModuleType, SimpleNamespace
from typing import Any

from fakes.machine import Context, RefusedError
from fakes.world import World, check_call, table

ERRORS = {
    "cudaSuccess": 0,
    "cudaErrorInvalidValue": 1,
    "cudaErrorMemoryAllocation": 2,
    "cudaErrorNoDevice": 100,
    "cudaErrorInvalidDevice": 101,
    "cudaErrorDeviceUninitialized": 201,
    "cudaErrorInvalidResourceHandle": 400,
    "cudaErrorNotReady": 600,
    "cudaErrorIllegalAddress": 700,
    "cudaErrorLaunchFailure": 719,
    "cudaErrorNotSupported": 801,
    "cudaErrorStreamCaptureUnsupported": 900,
    "cudaErrorStreamCaptureInvalidated": 901,
    "cudaErrorStreamCaptureWrongThread": 908,
}
"""Values of driver_types.h."""
TEXTS = {
    2: "out of memory",
    700: "an illegal memory access was encountered",
    719: "unspecified launch failure",
}
"""What CUDA says of errors; of others the stand-ins say the name."""
TELLING = ("cudaGetErrorString", "cudaGetLastError", "cuGetErrorString")
"""Functions that tell of errors instead of returning them."""


def make_runtime(world: World) -> ModuleType:
    """Make the module `cuda.bindings.runtime`."""
    module = ModuleType("cuda.bindings.runtime")
    names = table("cuda-13.5.0")
    assert set(ERRORS) <= set(names["cudaError_t"])
    errors: Any = IntEnum("cudaError_t", ERRORS)  # type: ignore[misc]
    module.cudaError_t = errors  # type: ignore[attr-defined]
    does = _Runtime(world, module, names["cudaDeviceProp"])
    for name, kind in names.items():
        if isinstance(kind, int):
            setattr(module, name, kind)
        elif name in ("cudaMemcpyKind", "cudaStreamCaptureMode"):
            setattr(module, name, IntEnum(name, kind, start=0))
        elif isinstance(kind, list) and len(kind) == 1:
            setattr(module, name, _function(world, errors, name, kind, getattr(does, name)))
    return module


def _function(
    world: World, errors: Any, name: str, overloads: list[str], does: Callable[..., Any]
) -> Any:
    """Make a function that returns a status and, for most, a value."""

    def function(*arguments: Any, **named: Any) -> Any:
        check_call(name, overloads, arguments, named)
        world.record(name)  # leave out the arguments, which the record would keep alive
        code, value = 0, None
        try:
            value = does(*arguments, **named)
        except RefusedError as refused:
            code = refused.code
        if name not in TELLING:
            code = world.failed or code
            world.thread.last = code or world.thread.last
        return (errors(code),) if code == 0 and value is None else (errors(code), value)

    return function


class _Handle(int):
    """A pointer with a type of its own, as the bindings return."""


class _Runtime:
    """Behaviour of each function of the runtime, without its status."""

    def __init__(self, world: World, module: Any, properties: dict[str, str]) -> None:
        self.world, self.module, self.properties = world, module, properties

    def check(self) -> None:
        """Do nothing after work has failed."""
        if self.world.failed:
            raise RefusedError(self.world.failed)

    def cudaGetDeviceCount(self) -> int:
        return self.world.devices

    def cudaGetDevice(self) -> int:
        stack = self.world.thread.stack
        return stack[-1].device if stack else self.world.thread.device

    def cudaSetDevice(self, device: int) -> None:
        self.world.set_device(device)

    def cudaGetDeviceProperties(self, device: int) -> Any:
        world = self.world
        if not 0 <= device < world.devices:
            raise RefusedError(ERRORS["cudaErrorInvalidDevice"])
        values = {
            "name": world.name_of(device).encode(),
            "major": world.capability[0],
            "minor": world.capability[1],
            "integrated": int(world.integrated),
            "multiProcessorCount": world.multiprocessors,
            "managedMemory": int(world.managed),
            "concurrentManagedAccess": int(world.concurrent),
        }
        assert set(values) <= set(self.properties)
        return SimpleNamespace(**values)

    def cudaGetErrorString(self, error: Any) -> bytes:
        return TEXTS.get(int(error), error.name).encode()

    def cudaGetLastError(self) -> None:
        thread = self.world.thread
        thread.last, last = self.world.failed, thread.last
        if last:
            raise RefusedError(last)

    def cudaStreamCreateWithFlags(self, flags: int) -> _Handle:
        assert flags == self.module.cudaStreamNonBlocking
        self.check()
        return _Handle(self.world.create_stream())

    def cudaStreamDestroy(self, stream: int) -> None:
        self.check()
        self.world.destroy_stream(stream)

    def cudaStreamSynchronize(self, stream: int) -> None:
        self.check()
        self.world.wait(stream)

    def cudaMalloc(self, size: int) -> int | None:
        self.check()
        return self.world.allocate(size).device

    def cudaMallocManaged(self, size: int, flags: int) -> int | None:
        assert flags == self.module.cudaMemAttachHost, "the host could not access it at once"
        self.check()
        return self.world.allocate(size, "managed").host

    def cudaStreamAttachMemAsync(self, stream: int, devPtr: int, length: int, flags: int) -> None:
        self.check()
        block = self.world.blocks.get(devPtr)
        assert block is not None
        assert length in (0, block.size), "memory cannot be attached in part"
        self.world.attach(devPtr, flags, stream)

    def cudaHostAlloc(self, size: int, flags: int) -> int | None:
        kinds = {self.module.cudaHostAllocDefault: "pinned"}
        kinds[self.module.cudaHostAllocMapped] = "mapped"
        self.check()
        return self.world.allocate(size, kinds[flags]).host

    def cudaHostGetDevicePointer(self, place: int, flags: int) -> int:
        assert flags == 0
        block = self.world.blocks.get(place)
        if block is None or block.kind != "mapped" or block.device is None:
            raise RefusedError(ERRORS["cudaErrorInvalidValue"])
        return block.device

    def cudaFree(self, address: int) -> None:
        self.check()
        self.world.free(address, "device", "managed")

    def cudaFreeHost(self, address: int) -> None:
        self.check()
        self.world.free(address, "pinned", "mapped")

    def cudaMemcpyAsync(self, to: int, source: int, size: int, kind: Any, stream: int) -> None:
        self.check()
        kinds = self.module.cudaMemcpyKind
        assert kind in (kinds.cudaMemcpyHostToDevice, kinds.cudaMemcpyDeviceToHost)
        to_device = kind == kinds.cudaMemcpyHostToDevice
        self.world.copy(to, source, size, to_device=to_device, stream=stream)

    def cudaEventCreate(self) -> _Handle:
        self.check()
        return _Handle(self.world.create_event())

    def cudaEventRecord(self, event: int, stream: int) -> None:
        self.check()
        self.world.record_event(event, stream)

    def cudaEventElapsedTime(self, start: int, end: int) -> float:
        self.check()
        return self.world.milliseconds(start, end)

    def cudaEventDestroy(self, event: int) -> None:
        self.check()
        self.world.destroy_event(event)

    def cudaStreamBeginCapture(self, stream: int, mode: Any) -> None:
        self.check()
        self.world.begin_capture(stream, int(mode))

    def cudaThreadExchangeStreamCaptureMode(self, mode: Any) -> Any:
        thread = self.world.thread
        before, thread.mode = thread.mode, int(mode)
        return self.module.cudaStreamCaptureMode(before)

    def cudaStreamEndCapture(self, stream: int) -> _Handle:
        graph = self.world.end_capture(stream)
        self.check()
        return _Handle(graph)

    def cudaGraphInstantiate(self, graph: int, flags: int) -> _Handle:
        self.check()
        return _Handle(self.world.add_graph(self.world.graphs[graph]))

    def cudaGraphLaunch(self, executable: int, stream: int) -> None:
        self.check()
        if vars(self.world).get("graph_error"):
            raise RefusedError(ERRORS["cudaErrorStreamCaptureInvalidated"])
        self.world.launch_graph(executable, stream)

    def cudaGraphDestroy(self, graph: int) -> None:
        self.check()
        del self.world.graphs[graph]

    def cudaGraphExecDestroy(self, executable: int) -> None:
        self.check()
        del self.world.graphs[executable]


def make_bindings_driver(world: World) -> ModuleType:
    """Make the module `cuda.bindings.driver`."""
    module = ModuleType("cuda.bindings.driver")
    names = table("cuda-driver-13.5.0")
    results: Any = IntEnum("CUresult", {"CUDA_SUCCESS": 0, **_results()})  # type: ignore[misc]
    assert set(results.__members__) <= set(names["CUresult"])
    module.CUresult = results  # type: ignore[attr-defined]

    def retain(device: int) -> Context:
        return world.primary(device)

    def push(context: Context) -> None:
        if world.failed:
            raise RefusedError(world.failed)
        world.push(context)

    does: dict[str, Callable[..., Any]] = {
        "cuInit": lambda flags: None,
        "cuDeviceGet": lambda ordinal: world.primary(ordinal).device,
        "cuDevicePrimaryCtxRetain": retain,
        "cuCtxPushCurrent": push,
        "cuCtxPopCurrent": world.pop,
        "cuGetErrorString": lambda error: TEXTS.get(int(error), error.name).encode(),
        "cuCtxGetCurrent": lambda: world.thread.stack[-1] if world.thread.stack else 0,
    }
    for name, behaviour in does.items():
        setattr(module, name, _function(world, results, name, names[name], behaviour))
    return module


def _results() -> dict[str, int]:
    """Values of cuda.h; those of errors that both interfaces have are the same."""
    return {
        "CUDA_ERROR_INVALID_VALUE": 1,
        "CUDA_ERROR_OUT_OF_MEMORY": 2,
        "CUDA_ERROR_NO_DEVICE": 100,
        "CUDA_ERROR_INVALID_DEVICE": 101,
        "CUDA_ERROR_INVALID_CONTEXT": 201,
        "CUDA_ERROR_ILLEGAL_ADDRESS": 700,
        "CUDA_ERROR_LAUNCH_FAILED": 719,
    }
