"""Memory, stream, graph and context of a session, which are freed with it."""

import logging
import threading
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

from numpy.typing import DTypeLike

from lzu_export.targets.cuda.interface import Cuda, CudaError, Stream
from lzu_export.targets.cuda.memory import DeviceMemory, HostArray, HostKind, Shape

log = logging.getLogger(__name__)


def unload_with(owner: object, cuda: Cuda, parts: list[Any]) -> None:
    """Unload TensorRT's objects when Python drops their owner, whatever the thread's own device.

    Without the device current, CUDA would make a context on the first GPU to free their memory.

    Args:
        owner: object that alone uses the parts.
        cuda: opened device.
        parts: TensorRT's objects, each made by the one before; the list is emptied from its end.
    """
    weakref.finalize(owner, _unload, cuda, parts)


def _unload(cuda: Cuda, parts: list[Any]) -> None:
    try:
        with cuda.freeing():
            while parts:
                parts.pop()
    except CudaError as error:
        log.info("an engine cannot be unloaded: %s", error)
    while parts:
        parts.pop()


class Holdings:
    """What a session holds on its device.

    It is freed when the session is closed, when Python drops the session, in whatever thread, or at
    the end of the interpreter. A session that is running in another thread is waited for, except at
    the end of the interpreter, where it is left to the end of the process.
    """

    def __init__(self, cuda: Cuda, engine: Any) -> None:
        """Hold nothing yet but the engine, which has to outlive its contexts.

        Args:
            cuda: opened device.
            engine: object that keeps the engine loaded.
        """
        self.cuda, self.engine = cuda, engine
        self.stream: Stream | None = None
        self.graph: Any = None
        """Captured CUDA graph; None without one."""
        self.context: Any = None
        """TensorRT's execution context."""
        self.events: tuple[Any, Any] | None = None
        """Events before and after a run that is timed."""
        self.lock = threading.Lock()
        """Lock that whoever uses the session's memory holds."""
        self._memory: list[HostArray | DeviceMemory] = []
        self._lent: list[HostArray] = []

    def free_with(self, owner: object) -> None:
        """Free everything when Python drops this object, or ends."""
        weakref.finalize(owner, self._drop)

    def host_array(self, shape: Shape, dtype: DTypeLike, *, kind: HostKind) -> HostArray:
        """Allocate memory of the host; see `Cuda.host_array`."""
        made = self.cuda.host_array(shape, dtype, kind=kind)
        self._memory.append(made)
        return made

    def memory(self, size: int) -> DeviceMemory:
        """Allocate this many bytes on the device."""
        made = self.cuda.memory(size)
        self._memory.append(made)
        return made

    def lend(self, host: HostArray) -> None:
        """Keep memory of the host as long as arrays in it, even if everything else is freed."""
        if not any(each is host for each in self._lent):
            self._lent.append(host)

    def close(self) -> None:
        """Free everything; a second call does nothing.

        An error is logged and not raised, since it would replace the error that made the caller
        close the session.
        """
        with self.lock:
            self._free()

    def _drop(self) -> None:
        if self.lock.acquire(blocking=False):
            try:
                self._free()
            finally:
                self.lock.release()

    def _free(self) -> None:
        stream, self.stream = self.stream, None
        if stream is None:
            return
        graph, self.graph, self.events = self.graph, None, None
        memory, self._memory = self._memory, []
        lent, self._lent = self._lent, []
        steps: list[Callable[[], None]] = [stream.synchronize]
        if graph is not None:
            steps.append(partial(stream.release, graph))
        steps.append(self._drop_context)
        for each in memory:
            if isinstance(each, HostArray) and any(each is one for one in lent):
                steps.append(partial(self.cuda.free_later, each))
            else:
                steps.append(partial(self.cuda.free, each))
        steps.append(stream.close)
        try:
            with self.cuda.freeing():
                for step in steps:
                    self._try(step)
        except CudaError as error:
            log.info("the memory of a session cannot be freed: %s", error)
        self._drop_context()

    def _drop_context(self) -> None:
        """Drop TensorRT's context, whose memory its library frees."""
        self.context = None

    def _try(self, step: Callable[[], None]) -> None:
        try:
            step()
        except CudaError as error:
            log.info("while a session was closed: %s", error)
