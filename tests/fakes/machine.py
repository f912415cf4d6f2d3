"""One simulated machine with GPUs: contexts, memory, streams and errors behave as CUDA's.

Work that is put into a stream runs when something waits for the stream. Device memory has
addresses that the host cannot read. Each thread has a current context of its own. After work has
failed, every call returns its error.
"""

import ctypes
import itertools
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Work = Callable[[], None]

INVALID_VALUE, OUT_OF_MEMORY, INVALID_DEVICE, INVALID_CONTEXT = 1, 2, 101, 201
INVALID_HANDLE, NOT_READY, ILLEGAL_ADDRESS = 400, 600, 700
CAPTURE_UNSUPPORTED, CAPTURE_INVALIDATED, CAPTURE_WRONG_THREAD = 900, 901, 908
GLOBAL_FLAG, HOST_FLAG = 1, 2
"""Values of cudaMemAttachGlobal and cudaMemAttachHost."""
NOT_SUPPORTED = 801
GLOBAL, THREAD_LOCAL, RELAXED = 0, 1, 2
"""Values of cudaStreamCaptureMode."""


class RefusedError(Exception):
    """A call that returns an error of CUDA."""

    def __init__(self, code: int) -> None:
        """Take the number of the error, as in `driver_types.h`."""
        super().__init__(code)
        self.code = code


class IllegalAccessError(Exception):
    """An access by the device to memory that it does not have."""


@dataclass(eq=False)
class Context:
    """A context, which owns streams and device memory."""

    device: int
    primary: bool


@dataclass
class Block:
    """Allocated memory."""

    size: int
    kind: str
    """`device`, `pinned`, `mapped` or `managed`."""
    context: Context
    host: int | None
    """Address for the host; None if the host cannot access it."""
    device: int | None
    """Address for the device; None if the device cannot access it."""
    bytes: NDArray[np.uint8] = field(repr=False)
    on_device: bool = False
    """Whether the device has managed memory, and not the host."""


@dataclass
class Queue:
    """A stream."""

    context: Context
    work: list[Work] = field(default_factory=list)


@dataclass
class Capture:
    """A graph capture in progress."""

    mode: int
    thread: int = field(default_factory=threading.get_ident)
    work: list[Work] = field(default_factory=list)
    broken: bool = False


@dataclass
class Event:
    """An event; it has passed if it was recorded and everything before it is done."""

    context: Context
    recorded: bool = False
    passed: bool = False
    at: float = 0.0
    """Time of the machine's clock when it passed."""


class _Thread(threading.local):
    """What CUDA keeps for each thread."""

    def __init__(self) -> None:
        self.stack: list[Context] = []
        self.device = 0
        self.last = 0
        self.mode = GLOBAL


@dataclass
class Machine:
    """The state of the GPUs and of their driver."""

    gpu: str = "Orin"
    capability: tuple[int, int] = (8, 7)
    integrated: bool = False
    multiprocessors: int = 8
    others: tuple[str, ...] = ()
    """Names of the GPUs after the first."""
    chosen: list[int] = field(default_factory=list)
    """Numbers of the GPUs that were made current, in order."""
    managed: bool = False
    concurrent: bool = False
    """Whether the host may access managed memory while the device works."""
    clock: float = 0.0
    """Milliseconds that the work so far has taken."""
    costs: dict[str, float] = field(default_factory=dict)
    """Milliseconds of each access of the device by kind of memory, of each `copy`, and of each
    `attach`."""
    memory: int = 1 << 30
    """Free memory in bytes."""
    capture_fails: bool = False
    failed: int = 0
    """Error of work that failed, which every later call returns; 0 if none did."""
    blocks: dict[int, Block] = field(default_factory=dict)
    """Allocated memory, by the address that frees it."""
    streams: dict[int, Queue] = field(default_factory=dict)
    """Streams that are not destroyed, by handle."""
    captures: dict[int, Capture] = field(default_factory=dict)
    """Captures in progress, by stream."""
    events: dict[int, Event] = field(default_factory=dict)
    """Events that are not destroyed, by handle."""
    graphs: dict[int, list[Work]] = field(default_factory=dict)
    """Graphs that are not destroyed, by handle."""
    numbers: Any = field(default_factory=lambda: itertools.count(1000))
    thread: _Thread = field(default_factory=_Thread)
    _primary: dict[int, Context] = field(default_factory=dict)
    _left: list[Queue] = field(default_factory=list)
    _next: int = 0xB_0000_0000

    @property
    def devices(self) -> int:
        """Number of GPUs."""
        return 1 + len(self.others)

    def name_of(self, device: int) -> str:
        """Return the name of a GPU."""
        return (self.gpu, *self.others)[device]

    # Contexts

    def primary(self, device: int) -> Context:
        """Return the primary context of a device, which is the same for all threads."""
        if not 0 <= device < self.devices:
            raise RefusedError(INVALID_DEVICE)
        return self._primary.setdefault(device, Context(device, primary=True))

    def current(self) -> Context:
        """Return the thread's context; without one, CUDA's runtime takes a primary one."""
        if not self.thread.stack:
            self.thread.stack.append(self.primary(self.thread.device))
        return self.thread.stack[-1]

    def set_device(self, device: int) -> None:
        """Replace the thread's current context by a primary one, as cudaSetDevice does."""
        self.thread.stack[-1:] = [self.primary(device)]
        self.chosen.append(device)
        self.thread.device = device

    def push(self, context: Context) -> None:
        """Make a context current in this thread until it is popped."""
        self.chosen.append(context.device)
        self.thread.stack.append(context)

    def pop(self) -> Context:
        """Make current again what was before the last push."""
        if not self.thread.stack:
            raise RefusedError(INVALID_CONTEXT)
        return self.thread.stack.pop()

    # Memory

    def allocate(self, size: int, kind: str = "device") -> Block:
        """Allocate memory, with arbitrary contents."""
        self.check_unsafe()
        if kind == "managed" and not self.managed:
            raise RefusedError(NOT_SUPPORTED)
        if size > self.memory:
            raise RefusedError(OUT_OF_MEMORY)
        self.memory -= size
        room = np.full(size + 2 * 4096, 0xFF, np.uint8)
        # Device memory begins at multiples of 256 and of nothing more, host memory at pages.
        start = -room.ctypes.data % 4096 + (256 if kind == "device" else 0)
        bytes_ = room[start : start + size]
        host = None if kind == "device" else bytes_.ctypes.data
        device = {"pinned": None, "managed": host}.get(kind, self._next + 256)
        if kind == "mapped":
            device = self._next
        self._next += (size // 4096 + 2) * 4096
        block = Block(size, kind, self.current(), host, device, bytes_)
        address = device if host is None else host
        assert address is not None
        self.blocks[address] = block
        return block

    def free(self, address: int, *kinds: str) -> None:
        """Free memory after the work of all streams; freeing it twice is a failure of the test."""
        self.check_unsafe()
        assert address in self.blocks, "the memory was never allocated, or was freed before"
        assert self.blocks[address].kind in kinds, "memory of another kind was given"
        self.wait_all()
        self.memory += self.blocks.pop(address).size

    def device_bytes(
        self, address: int, size: int, context: Context | None = None
    ) -> NDArray[np.uint8]:
        """Return memory by its device address, as a stream of a context accesses it."""
        for block in list(self.blocks.values()):
            if block.device is None or not block.device <= address < block.device + block.size:
                continue
            start = address - block.device
            strange = block.kind == "device" and context not in (None, block.context)
            away = block.kind == "managed" and not (block.on_device or self.concurrent)
            if start + size > block.size or strange or away:
                break
            self.clock += self.costs.get(block.kind, 0.0)
            return block.bytes[start : start + size]
        raise IllegalAccessError(f"the device has no {size} bytes at {address:#x}")

    def host_bytes(self, address: int, size: int) -> NDArray[np.uint8]:
        """Return page-locked memory by its host address."""
        for block in list(self.blocks.values()):
            if block.host is not None and block.host <= address < block.host + block.size:
                start = address - block.host
                if start + size <= block.size:
                    return block.bytes[start : start + size]
        raise RefusedError(INVALID_VALUE)

    def array(self, address: int, shape: Sequence[int], dtype: str) -> NDArray[Any]:
        """Return the device's memory at an address as an array, at once."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        return self.device_bytes(address, size).view(dtype).reshape(shape)

    def copy(self, to: int, source: int, size: int, *, to_device: bool, stream: int) -> None:
        """Copy between page-locked and device memory when the stream gets there."""
        if to_device:
            host = self.host_bytes(source, size)
            self.device_address(to, size)
            self.enqueue(stream, lambda: self._copied(self.device_bytes(to, size), host))
        else:
            host = self.host_bytes(to, size)
            self.device_address(source, size)
            self.enqueue(stream, lambda: self._copied(host, self.device_bytes(source, size)))

    def _copied(self, to: NDArray[np.uint8], source: NDArray[np.uint8]) -> None:
        np.copyto(to, source)
        self.clock += self.costs.get("copy", 0.0)

    def attach(self, address: int, flags: int, stream: int) -> None:
        """Give managed memory to the device or to the host, when the stream gets there."""
        block = self.blocks.get(address)
        if block is None or block.kind != "managed" or flags not in (GLOBAL_FLAG, HOST_FLAG):
            raise RefusedError(INVALID_VALUE)

        def work() -> None:
            block.on_device = flags == GLOBAL_FLAG
            self.clock += self.costs.get("attach", 0.0)

        self.enqueue(stream, work)

    def device_address(self, address: int, size: int) -> None:
        """Refuse an address that is none of the device's, as calls for copies do."""
        try:
            self.device_bytes(address, size)
        except IllegalAccessError as error:
            raise RefusedError(INVALID_VALUE) from error

    # Streams, events and graphs

    @property
    def capturing(self) -> list[Work] | None:
        """Work of the capture in progress; None without one."""
        return next((each.work for each in self.captures.values()), None)

    def queue(self, stream: int) -> Queue:
        """Return a stream that is not destroyed."""
        if stream not in self.streams:
            raise RefusedError(INVALID_HANDLE)
        return self.streams[stream]

    def launchable(self, stream: int) -> Context:
        """Return the context of a stream into which the thread may launch kernels now."""
        queue = self.queue(stream)
        if queue.context is not self.current():
            raise RefusedError(INVALID_HANDLE)
        return queue.context

    def enqueue(self, stream: int, work: Work) -> None:
        """Put work into a stream, or into the graph that is captured from it."""
        queue = self.queue(stream)
        capture = self.captures.get(stream)
        (queue if capture is None else capture).work.append(work)

    def wait(self, stream: int) -> None:
        """Run the work of a stream."""
        if stream in self.captures:
            self.captures[stream].broken = True
            raise RefusedError(CAPTURE_UNSUPPORTED)
        self._drain(self.queue(stream))

    def wait_all(self) -> None:
        """Run the work of all streams."""
        for queue in [*self._left, *self.streams.values()]:
            self._drain(queue)
        self._left.clear()

    def _drain(self, queue: Queue) -> None:
        while queue.work:
            work = queue.work.pop(0)
            try:
                work()
            except IllegalAccessError as error:
                self.failed = ILLEGAL_ADDRESS
                queue.work.clear()
                raise RefusedError(ILLEGAL_ADDRESS) from error

    def create_stream(self) -> int:
        """Create a stream of the current context."""
        stream = next(self.numbers)
        self.streams[stream] = Queue(self.current())
        return int(stream)

    def destroy_stream(self, stream: int) -> None:
        """Destroy a stream; its work still runs."""
        self._left.append(self.queue(stream))
        del self.streams[stream]

    def create_event(self) -> int:
        """Create an event of the current context."""
        event = next(self.numbers)
        self.events[event] = Event(self.current())
        return int(event)

    def record_event(self, event: int, stream: int) -> None:
        """Let an event mark the end of a stream's work so far."""
        found = self._event(event)
        if found.context.device != self.queue(stream).context.device:
            raise RefusedError(INVALID_HANDLE)
        found.recorded, found.passed = True, False

        def work() -> None:
            found.passed, found.at = True, self.clock

        self.enqueue(stream, work)

    def milliseconds(self, start: int, end: int) -> float:
        """Return the time between two events, which have to have passed."""
        both = self._event(start), self._event(end)
        if not all(each.recorded for each in both):
            raise RefusedError(INVALID_HANDLE)
        if not all(each.passed for each in both):
            raise RefusedError(NOT_READY)
        return 0.25 + both[1].at - both[0].at

    def destroy_event(self, event: int) -> None:
        """Destroy an event."""
        self._event(event)
        del self.events[event]

    def _event(self, event: int) -> Event:
        if event not in self.events:
            raise RefusedError(INVALID_HANDLE)
        return self.events[event]

    def begin_capture(self, stream: int, mode: int) -> None:
        """Turn a stream's later work into a graph."""
        self.queue(stream)
        if stream in self.captures:
            raise RefusedError(CAPTURE_UNSUPPORTED)
        self.captures[stream] = Capture(mode)

    def end_capture(self, stream: int) -> int:
        """End a capture and return its graph."""
        if stream not in self.captures:
            raise RefusedError(INVALID_VALUE)
        capture = self.captures[stream]
        if capture.mode != RELAXED and capture.thread != threading.get_ident():
            raise RefusedError(CAPTURE_WRONG_THREAD)
        del self.captures[stream]
        if capture.broken or self.capture_fails:
            raise RefusedError(CAPTURE_INVALIDATED)
        return self.add_graph(capture.work)

    def add_graph(self, work: Sequence[Work]) -> int:
        """Keep a graph, or its executable form, and return its handle."""
        graph = next(self.numbers)
        self.graphs[graph] = list(work)
        return int(graph)

    def launch_graph(self, graph: int, stream: int) -> None:
        """Put all work of a graph into a stream."""
        for work in self.graphs[graph]:
            self.enqueue(stream, work)

    def check_unsafe(self) -> None:
        """Refuse a call that captures forbid, and invalidate those that forbid it.

        A thread whose own mode is relaxed is refused none.
        """
        mine = threading.get_ident()
        if self.thread.mode == RELAXED:
            return
        broken = [
            each
            for each in self.captures.values()
            if each.mode == GLOBAL or (each.mode == THREAD_LOCAL and each.thread == mine)
        ]
        for each in broken:
            each.broken = True
        if broken:
            raise RefusedError(CAPTURE_UNSUPPORTED)


def address_of(bytes_: NDArray[np.uint8]) -> ctypes.c_void_p:
    """Return the address at which this process really has some memory."""
    return ctypes.c_void_p(bytes_.ctypes.data)
