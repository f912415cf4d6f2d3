"""Sessions on a device, for TensorRT and TensorRT-RTX, whose module is passed in.

A session has one stream and allocates all its memory at the start. A frame is copied into
page-locked memory and from there to the device; the outputs come back the same way. A run allocates
only the arrays that are returned. If host and device share their memory (Jetson), the engine can
read and write the host's memory itself; see `memory_kinds`.

A `Prologue` is work before an engine on its stream. It may compute the engine's inputs from the
host's, such as the zoomed image from the camera's bytes. An `Epilogue` is work after the engine. It
may write inputs of the next frame on the device, so that the state of an adaptive warp never leaves
the device.

A CUDA graph of copies and kernels is captured after one ordinary run, since TensorRT updates its
state in the first `enqueueV3` after a change of addresses ("CUDA Graphs" in NVIDIA's best
practices for TensorRT). TensorRT-RTX captures by itself (IRuntimeConfig.cuda_graph_strategy) if
IExecutionContext.is_stream_capturable allows it, and does not report whether it does. It keeps the
kernels it compiles on first use in a runtime cache.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lzu_export.errors import LzuError
from lzu_export.support.session import (
    Arrays,
    StatefulSession,
    TensorSpec,
    check_inputs,
    find_spec,
    same_memory,
)
from lzu_export.targets.cuda.interface import Cuda, CudaError, FatalCudaError, Stream
from lzu_export.targets.cuda.memory import DeviceMemory, HostArray, HostKind
from lzu_export.targets.tensorrt.holdings import Holdings, unload_with
from lzu_export.targets.tensorrt.log import logger_of, product, reason
from lzu_export.targets.tensorrt.memory_kinds import HOST_KINDS, NAMES, MemoryKind, default_kind
from lzu_export.targets.tensorrt.runtime_cache import read_cache, save_cache
from lzu_export.targets.tensorrt.stages import Epilogue, Prologue

log = logging.getLogger(__name__)


class LoadedEngine:
    """Plan on the device, for any number of sessions."""

    def __init__(self, trt: Any, plan: Path, cuda: Cuda, *, host_code: bool = False) -> None:
        """Deserialise a plan, whose plugins have to be registered already.

        Args:
            trt: module `tensorrt` or `tensorrt_rtx`.
            plan: file of the plan.
            cuda: opened device.
            host_code: trust the processor code that a version-compatible plan contains.

        Raises:
            LzuError: TensorRT refuses the plan, with its reason.
        """
        start = time.perf_counter()
        self.trt, self.plan, self.cuda = trt, plan, cuda
        self.logger = logger_of(trt)
        self.logger.errors.clear()
        self._parts: list[Any] = []  # runtime, engine
        unload_with(self, cuda, self._parts)
        serialised = plan.read_bytes()
        with cuda.current():
            try:
                self._parts.append(trt.Runtime(self.logger))
            except TypeError as error:  # raised by the bindings for a null pointer
                raise self.refused("does not start on this machine") from error
            if host_code:
                self.runtime.engine_host_code_allowed = True
            self._check_validity(serialised)
            self._parts.append(self.runtime.deserialize_cuda_engine(serialised))
        if self.engine is None:
            raise self.refused(f"cannot load {plan.name}")
        tensors = [self._spec(i) for i in range(self.engine.num_io_tensors)]
        inputs = trt.TensorIOMode.INPUT
        self.inputs = tuple(spec for spec, mode in tensors if mode == inputs)
        self.outputs = tuple(spec for spec, mode in tensors if mode != inputs)
        self.load_seconds = time.perf_counter() - start
        """Seconds from opening the file to an engine on the device."""

    @property
    def runtime(self) -> Any:
        """TensorRT's IRuntime, which made the engine."""
        return self._parts[0]

    @property
    def engine(self) -> Any:
        """TensorRT's ICudaEngine."""
        return self._parts[1]

    def refused(self, what: str) -> LzuError:
        """Make the error that TensorRT refused to do something, with its reason.

        If work on the device has failed before, the error is that of the work.
        """
        if (first := self.cuda.failures.first) is not None:
            return first
        return LzuError(f"{product(self.trt)} {what}: {reason(self.logger)}")

    def _check_validity(self, serialised: bytes) -> None:
        """Let TensorRT-RTX check from the head of a plan whether this device can run it."""
        if not hasattr(self.runtime, "get_engine_validity"):
            return
        validity = self.runtime.get_engine_validity(serialised)[0]
        if validity == self.trt.EngineValidity.INVALID:
            said = f" ({reason(self.logger)})" if self.logger.errors else ""
            raise LzuError(
                f"TensorRT-RTX {self.trt.__version__} does not run {self.plan.name} on "
                f"{self.cuda.device.name}{said}; build it for this card (lzu-export build)"
            )

    def _spec(self, index: int) -> tuple[TensorSpec, Any]:
        name = self.engine.get_tensor_name(index)
        dtype = np.dtype(self.trt.nptype(self.engine.get_tensor_dtype(name))).name
        shape = tuple(self.engine.get_tensor_shape(name))
        if min(shape, default=1) < 1:
            raise LzuError(f"tensor {name} of {self.plan.name} has no static shape: {shape}")
        return TensorSpec(name, dtype, shape), self.engine.get_tensor_mode(name)


class TensorRtSession(StatefulSession):
    """One stream of frames through an engine; see `support.session.Session`."""

    def __init__(
        self,
        loaded: LoadedEngine,
        *,
        graph: bool | None = None,
        memory: MemoryKind | None = None,
        cache: Path | None = None,
        timed: bool = False,
        prologue: Prologue | None = None,
        epilogue: Epilogue | None = None,
        feedback_note: str = "",
        zoom_note: str = "",
    ) -> None:
        """Allocate everything and run once, so that the first frame takes no longer than others.

        Args:
            loaded: loaded engine; several sessions of it can run side by side.
            graph: run as a CUDA graph. The default is to do so if the back end and the engine allow
                it, otherwise `graph_note` gives the reason; True refuses to run without. For
                TensorRT-RTX the library is asked for one; see `graph_requested`.
            memory: memory of the tensors that the host sends and gets: `copies` between the host's
                and the device's, memory of the host that is `mapped` for the device, or `managed`
                by CUDA. By default mapped on devices that share the host's memory, else copies.
            cache: file of TensorRT-RTX's runtime cache, read if it exists, written after the first
                run.
            timed: measure the time of every run on the device, as `milliseconds`.
            prologue: work before the engine.
            epilogue: work after the engine. Its state begins with zeros; see `set_state`.
            feedback_note: why the boxes of an engine that follows boxes go through the host.
            zoom_note: why the host zooms for an engine that takes the zoomed image.

        Raises:
            LzuError: there is too little memory, the engine fails, or `graph` is True and a graph
                cannot be captured.
        """
        self._loaded, self._trt, self._cuda = loaded, loaded.trt, loaded.cuda
        self._prologue, self._epilogue = prologue, epilogue
        self.device = loaded.cuda.device.number
        self.zoom_note, self.feedback_note = zoom_note, feedback_note
        self.pixel_format = prologue.pixel_format if prologue is not None else "bgr"
        state = epilogue.state if epilogue is not None else ()
        made = prologue.writes if prologue is not None else ()
        given = tuple(each for each in loaded.inputs if each.name not in (*state, *made))
        self.inputs = (*(prologue.inputs if prologue is not None else ()), *given)
        self.outputs = epilogue.outputs if epilogue is not None else loaded.outputs
        self._state = tuple(each for each in loaded.inputs if each.name in state)
        self._held = Holdings(self._cuda, loaded)
        self._held.free_with(self)
        self._own_graphs = hasattr(self._trt, "CudaGraphStrategy")  # TensorRT-RTX's
        self.graph_note = "switched off" if graph is False else ""
        self.graph_requested = False
        self.memory = memory or default_kind(loaded.cuda.device)
        self._lent: list[HostArray] = []  # to the device during a run
        self.milliseconds: float | None = None
        """Duration of the last run on the device, if the session is `timed`."""
        self._host: dict[str, HostArray] = {}
        self._device: dict[str, DeviceMemory] = {}
        self._addresses: dict[str, int] = {}
        self._workspace: DeviceMemory | None = None
        again = partial(TensorRtSession, loaded, graph=graph, memory=self.memory, cache=cache)
        again = partial(again, timed=timed, prologue=prologue, epilogue=epilogue)
        self._again = partial(again, feedback_note=feedback_note, zoom_note=zoom_note)
        try:
            with self._cuda.current():
                self._open(graph, cache, timed)
        except BaseException:
            self.close()
            raise

    @property
    def provider(self) -> str:
        """Description of the library, the device and the way that runs are executed."""
        graph = "without CUDA graph" if self.graph_note else "CUDA graph"
        if self.graph_requested:
            graph = "CUDA graph requested"
        memory = NAMES[self.memory]
        if self.memory_note:
            memory += f" as the fastest of {self.memory_note}"
        name, device = f"{product(self._trt)} {self._trt.__version__}", self._cuda.device
        state = f", {', '.join(each.name for each in self._state)} stay there"
        kept = state if self._state else ""
        if self.feedback_note:
            kept = f", boxes go through the host: {self.feedback_note}"
        made = self._prologue.writes if self._prologue is not None else ()
        there = f", {', '.join(made)} made there" if made else ""
        if self.zoom_note:
            there = f", the host zooms: {self.zoom_note}"
        parts = f"GPU {device.number}, {self._cuda.name}, {memory}, {graph}{there}{kept}"
        return f"{name} on {device.name} ({parts})"

    @property
    def load_seconds(self) -> float:
        """Seconds from opening the file to an engine on the device."""
        return self._loaded.load_seconds

    def another(self) -> "TensorRtSession":
        """Open another session of the engine on its own stream, as for a second camera."""
        other = self._again()
        other.memory_note = self.memory_note
        return other

    def host(self, name: str) -> NDArray[Any]:
        """Return the memory of an input to fill in place; see `support.session.Session`."""
        find_spec(self.inputs, name)
        with self._in_use():
            self._held.lend(self._host[name])
            return self._host[name].array

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """Run once; see `support.session.Session`. The outputs are copies that the caller owns."""
        check_inputs(self.inputs, inputs)
        with self._in_use():
            self._take(self.inputs, inputs)
            self._run()
            return {spec.name: self._host[spec.name].array.copy() for spec in self.outputs}

    def fastest_run(self, warm_ups: int, runs: int) -> float:
        """Time runs on the inputs that were given last; then start from a state of zeros.

        Args:
            warm_ups: number of runs before, which do not count.
            runs: number of timed runs.

        Returns:
            The fewest milliseconds on the device, from the first copy to the last.
        """
        times = []
        with self._in_use():
            events = self._held.events
            self._held.events = self._stream.event(), self._stream.event()
            try:
                for _ in range(warm_ups + runs):
                    self._run()
                    assert self.milliseconds is not None
                    times.append(self.milliseconds)
            finally:
                self._held.events, self.milliseconds = events, None
            for spec in self._state:
                self._host[spec.name].array.fill(0)
            self._send_state()
            self._stream.synchronize()
        return min(times[warm_ups:])

    def set_state(self, values: Arrays) -> None:
        """Start the next frame from this state; see `support.session.StatefulSession`."""
        check_inputs(self._state, values)
        with self._in_use():
            self._take(self._state, values)
            self._send_state()
            self._stream.synchronize()

    def _take(self, specs: tuple[TensorSpec, ...], values: Arrays) -> None:
        """Copy checked arrays into the host's memory, unless they are there already."""
        for spec in specs:
            host = self._host[spec.name].array
            if not same_memory(values[spec.name], host):
                np.copyto(host, values[spec.name])

    @contextmanager
    def _in_use(self) -> Iterator[None]:
        """Use the session's memory on its device; nobody frees it meanwhile.

        If the block fails, work that it has begun may still read or write the host's memory, so the
        work is waited for.
        """
        with self._held.lock:
            if self._held.stream is None:
                raise LzuError(f"the session of {self._loaded.plan.name} is closed; open another")
            with self._cuda.current():
                try:
                    yield
                except BaseException:
                    with suppress(CudaError):
                        self._stream.synchronize()
                    raise

    @property
    def _stream(self) -> Stream:
        """Stream of an open session."""
        assert self._held.stream is not None
        return self._held.stream

    def close(self) -> None:
        """Free all memory; a second call does nothing.

        A session that Python drops is closed, too, though later than a caller might want.
        """
        self._held.close()
        self._device, self._host, self._workspace = {}, {}, None

    def __enter__(self) -> "TensorRtSession":
        """Return the session, which is closed after the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the session."""
        self.close()

    def _open(self, graph: bool | None, cache: Path | None, timed: bool) -> None:
        start = time.perf_counter()
        self._held.stream = self._cuda.stream()
        self._held.context = self._make_context(graph is not False, cache)
        if self._held.context is None:
            raise self._loaded.refused(f"creates no context for {self._loaded.plan.name}")
        self._allocate()
        for spec in (*self._loaded.inputs, *self._loaded.outputs):
            if not self._held.context.set_tensor_address(spec.name, self._addresses[spec.name]):
                raise self._loaded.refused(f"does not take memory for {spec.name}")
        for spec in (*self.inputs, *self._state):
            self._host[spec.name].array.fill(0)
        self._send_constants()
        self._send_state()
        self._run()
        self.warm_up_seconds = time.perf_counter() - start
        """Seconds for memory, context and the first run, in which TensorRT-RTX compiles kernels."""
        if cache is not None and self._own_graphs:
            save_cache(self._runtime_cache, cache)
        if graph is not False:
            self._open_graph(demanded=bool(graph))
        self._send_state()  # the runs so far have changed it
        self._stream.synchronize()
        if timed:
            self._held.events = self._stream.event(), self._stream.event()

    def _make_context(self, graph: bool, cache: Path | None) -> Any:
        engine = self._loaded.engine
        if not self._own_graphs:
            return engine.create_execution_context()
        self._config = engine.create_runtime_config()
        strategy = self._trt.CudaGraphStrategy
        self._config.cuda_graph_strategy = (
            strategy.WHOLE_GRAPH_CAPTURE if graph else strategy.DISABLED
        )
        if cache is not None:
            self._runtime_cache = self._config.create_runtime_cache()
            read_cache(self._runtime_cache, cache)
            self._config.set_runtime_cache(self._runtime_cache)
        return engine.create_execution_context(self._config)

    def _allocate(self) -> None:
        """Allocate page-locked arrays for the host's tensors, and device memory for the others."""
        for spec in (*self.inputs, *self.outputs):
            self._place_host(spec, HOST_KINDS[self.memory])
        for spec in self._state:
            self._place_host(spec)
        for spec in (*self._loaded.inputs, *self._loaded.outputs):
            if spec.name not in self._addresses:
                size = int(np.prod(spec.shape)) * np.dtype(spec.dtype).itemsize
                self._place_device(spec.name, size)
        if self._epilogue is not None:
            self._workspace = self._held.memory(self._epilogue.workspace)

    def _place_host(self, spec: TensorSpec, kind: HostKind = "pinned") -> None:
        host = self._held.host_array(spec.shape, spec.dtype, kind=kind)
        self._host[spec.name] = host
        if kind == "managed" and not self._cuda.device.concurrent:
            self._lent.append(host)
        if host.address is None:
            self._place_device(spec.name, host.array.nbytes)
        else:
            self._addresses[spec.name] = host.address

    def _place_device(self, name: str, size: int) -> None:
        self._device[name] = self._held.memory(size)
        self._addresses[name] = self._device[name].address

    def _send_constants(self) -> None:
        constants = self._prologue.constants if self._prologue is not None else {}
        for name, value in constants.items():
            self._place_host(TensorSpec(name, value.dtype.name, value.shape))
            np.copyto(self._host[name].array, value)
            self._stream.to_device(self._device[name], self._host[name])

    def _send_state(self) -> None:
        for spec in self._state:
            self._stream.to_device(self._device[spec.name], self._host[spec.name])

    def _open_graph(self, *, demanded: bool) -> None:
        """Capture a graph, or find whether TensorRT-RTX can capture its own."""
        try:
            if self._own_graphs:
                self._check_own_graph()
                self.graph_requested = True
                return
            self._held.graph = self._stream.capture(self._enqueue)
            self._run()
        except LzuError as error:
            graph, self._held.graph = self._held.graph, None
            if graph is not None:  # captured, but it does not run
                with suppress(CudaError):  # the first error counts
                    self._stream.release(graph)
            if demanded or isinstance(error, FatalCudaError):
                raise
            self.graph_note = str(error)
            log.info("runs without a CUDA graph: %s", error)

    def _check_own_graph(self) -> None:
        """Refuse a context that runs without TensorRT-RTX's own CUDA graph.

        It is asked after the first run, in which the library compiles kernels and allocates.
        """
        strategy = self._trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        if self._config.cuda_graph_strategy != strategy:
            raise LzuError("TensorRT-RTX did not accept the request for a CUDA graph")
        if not self._held.context.is_stream_capturable(self._stream.handle):
            raise LzuError(
                f"TensorRT-RTX cannot capture {self._loaded.plan.name} in a CUDA graph, since it "
                "allocates memory or waits while the engine runs"
            )

    def _run(self) -> None:
        if self._held.events is not None:
            self._stream.record(self._held.events[0])
        self._lend(to_device=True)
        try:
            if self._held.graph is not None:
                self._stream.launch(self._held.graph)
            else:
                self._enqueue()
        except BaseException:
            with suppress(CudaError):  # the first error counts
                self._lend(to_device=False)
            raise
        self._lend(to_device=False)
        if self._held.events is not None:
            self._stream.record(self._held.events[1])
        self._stream.synchronize()
        if self._held.events is not None:
            self.milliseconds = self._stream.milliseconds(*self._held.events)

    def _lend(self, *, to_device: bool) -> None:
        for host in self._lent:
            self._stream.hand_over(host, to_device=to_device)

    def _enqueue(self) -> None:
        """Queue input copies, prologue, engine, epilogue and output copies; skip mapped memory."""
        for spec in self.inputs:
            if spec.name in self._device:
                self._stream.to_device(self._device[spec.name], self._host[spec.name])
        if self._prologue is not None:
            self._prologue.enqueue(self._addresses, self._stream.handle)
        if not self._held.context.execute_async_v3(self._stream.handle):
            raise self._loaded.refused(f"failed to run {self._loaded.plan.name}")
        if self._epilogue is not None and self._workspace is not None:
            workspace = self._workspace.address
            self._epilogue.enqueue(self._addresses, workspace, self._stream.handle)
        for spec in self.outputs:
            if spec.name in self._device:
                self._stream.to_host(self._host[spec.name], self._device[spec.name])
