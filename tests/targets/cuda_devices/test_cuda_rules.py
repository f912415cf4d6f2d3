"""Rules of CUDA that code can break unseen: contexts, addresses, errors that stay, captures."""

import gc
import sys
import threading
from typing import Any

import numpy as np
import pytest

from fakes.install import install_cuda
from fakes.machine import Context
from fakes.world import World
from lzu_export.errors import LzuError
from lzu_export.support.cuda_errors import FATAL, fatal_error
from lzu_export.targets.cuda.interface import (
    BACK_ENDS,
    Cuda,
    CudaError,
    FatalCudaError,
    open_cuda,
)

BOTH = ("cuda-python", "pycuda")


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture(params=BOTH)
def cuda(request: pytest.FixtureRequest, world: World, monkeypatch: pytest.MonkeyPatch) -> Cuda:
    """The device as each of the two back ends opens it."""
    install_cuda(monkeypatch, world, request.param)
    return open_cuda()


@pytest.fixture
def python(world: World, monkeypatch: pytest.MonkeyPatch) -> Cuda:
    """The device through cuda-python."""
    install_cuda(monkeypatch, world, "cuda-python")
    return open_cuda()


def test_nothing_of_a_stand_in_stays_behind_its_test(world: World) -> None:
    """A back end that failed in one test would refuse all work in another."""
    before = set(sys.modules)
    with pytest.MonkeyPatch.context() as patch:
        install_cuda(patch, world, *BOTH)
        for name in BOTH:
            open_cuda(name)
        assert set(BACK_ENDS.values()) <= set(sys.modules)
    assert not set(BACK_ENDS.values()) & (set(sys.modules) - before)


def fail(cuda: Cuda, world: World) -> None:
    """Let work on the device fail: a copy to memory that is freed before the copy runs."""
    host, memory = cuda.host_array((4,), "int32"), cuda.memory(16)
    stream = cuda.stream()
    stream.to_device(memory, host)
    del world.blocks[memory.address]
    stream.synchronize()


def test_a_foreign_context_is_current_again(cuda: Cuda, world: World) -> None:
    """Another library has made a context of its own, which is not the device's primary one."""
    foreign = Context(0, primary=False)
    world.push(foreign)
    with cuda.current():
        assert world.current() is world.primary(0)
    assert world.thread.stack == [foreign]
    with pytest.raises(LzuError, match="inside"), cuda.current():
        raise LzuError("inside")
    assert world.thread.stack == [foreign]


def test_a_thread_without_context_has_none_afterwards(cuda: Cuda, world: World) -> None:
    left: list[Any] = []

    def work() -> None:
        with cuda.current():
            cuda.free(cuda.memory(8))
        left.extend([True, *world.thread.stack])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert left == [True]
    assert world.thread.stack == []


def test_blocks_inside_blocks_keep_the_device(cuda: Cuda, world: World) -> None:
    with cuda.current(), cuda.current():
        pass
    with cuda.current():
        with cuda.freeing():
            pass
        assert world.current() is world.primary(0)
    assert world.thread.stack == []


def test_addresses_of_the_host_are_none_of_the_device(cuda: Cuda) -> None:
    from lzu_export.targets.cuda.memory import DeviceMemory, HostArray

    with cuda.current():
        host, memory, stream = cuda.host_array((4,), "int32"), cuda.memory(16), cuda.stream()
        strange = DeviceMemory(host.array.ctypes.data, 16)
        with pytest.raises(CudaError):
            stream.to_device(strange, host)
        with pytest.raises(CudaError):
            stream.to_host(HostArray(np.zeros(4, np.int32), None), memory)
        mapped = cuda.host_array((4,), "int32", kind="mapped")
        assert mapped.address != mapped.array.ctypes.data
        for each in (host, memory, mapped):
            cuda.free(each)
        stream.close()


@pytest.mark.parametrize("number", FATAL)
def test_texts_tell_the_errors_that_stay(number: int) -> None:
    """PyCUDA gives texts and no numbers."""
    assert fatal_error(f"cuStreamSynchronize failed: {FATAL[number]}") == number
    assert fatal_error("cuMemAlloc failed: invalid argument") is None


def test_the_first_error_is_the_one_that_is_read(cuda: Cuda, world: World) -> None:
    """Work fails; the end of the block and all later calls fail by it, and say why."""
    with pytest.raises(FatalCudaError) as first, cuda.current():
        fail(cuda, world)
    message = str(first.value)
    assert "work on the GPU failed: an illegal memory access was encountered" in message
    assert "StreamSynchronize" in message
    assert "end this process" in message
    with pytest.raises(FatalCudaError) as later, cuda.current():
        cuda.memory(8)
    assert str(later.value) == message
    assert world.thread.stack == []
    with pytest.raises(FatalCudaError) as reopened:  # and not that there is no driver
        open_cuda()
    assert str(reopened.value) == message


def test_an_error_of_the_block_is_not_replaced(cuda: Cuda, world: World) -> None:
    def work() -> None:
        with cuda.current():
            try:
                fail(cuda, world)
            except CudaError:
                raise LzuError("the real reason") from None

    with pytest.raises(LzuError, match=r"^the real reason$"):
        work()


def test_other_errors_do_not_stay(cuda: Cuda, world: World) -> None:
    world.memory = 100
    with cuda.current():
        with pytest.raises(CudaError, match="out of memory") as caught:
            cuda.memory(101)
        assert not isinstance(caught.value, FatalCudaError)
        cuda.free(cuda.memory(100))


def test_a_failed_capture_keeps_no_graph(python: Cuda, world: World) -> None:
    stream = python.stream()

    def enqueue() -> None:
        raise LzuError("the engine failed")

    with pytest.raises(LzuError, match="the engine failed"):
        stream.capture(enqueue)
    assert world.graphs == {}
    stream.release(stream.capture(lambda: None))
    assert world.graphs == {}


def test_memory_that_cannot_be_mapped_is_freed(
    python: Cuda, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = sys.modules["cuda.bindings.runtime"]
    invalid = runtime.cudaError_t.cudaErrorInvalidValue
    monkeypatch.setattr(runtime, "cudaHostGetDevicePointer", lambda *_: (invalid, None))
    with python.current(), pytest.raises(CudaError, match="cudaHostGetDevicePointer"):
        python.host_array((4,), "int32", kind="mapped")
    assert not world.blocks


def test_freeing_does_not_break_a_capture(python: Cuda, world: World) -> None:
    """Python may drop objects in the middle of anything, such as the capture of a graph."""
    with python.current():
        stream, memory = python.stream(), python.memory(8)

        def allocate() -> None:
            python.memory(8)

        with pytest.raises(CudaError):  # captures forbid it
            stream.capture(allocate)

        def enqueue() -> None:
            with python.freeing():
                python.free(memory)

        stream.release(stream.capture(enqueue))
    assert not world.blocks
    assert world.thread.mode == 0


def test_pycuda_frees_streams_and_events_in_other_threads(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyCUDA frees objects only where their context is current, or in the thread that made it."""
    gc.collect()  # what other tests have left
    install_cuda(monkeypatch, world, "pycuda")
    cuda = open_cuda()
    with cuda.current():
        stream = cuda.stream()
        stream.record(stream.event())

    def close() -> None:
        with cuda.freeing():
            stream.close()
            gc.collect()

    thread = threading.Thread(target=close)
    thread.start()
    thread.join()
    assert not world.streams
    assert not world.events
