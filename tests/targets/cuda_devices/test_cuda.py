"""CUDA over both back ends: which one is chosen, and what its calls come to."""

from typing import Any

import numpy as np
import pytest

from fakes.install import install_cuda
from fakes.signatures import describe
from fakes.world import World, table
from lzu_export.errors import LzuError
from lzu_export.targets.cuda.interface import Cuda, CudaError, open_cuda
from lzu_export.targets.cuda.memory import Device

BOTH = ("cuda-python", "pycuda")


@pytest.fixture
def world() -> World:
    return World()


def opened(world: World, monkeypatch: pytest.MonkeyPatch, back_end: str) -> Cuda:
    install_cuda(monkeypatch, world, back_end)
    return open_cuda()


@pytest.fixture(params=BOTH)
def cuda(request: pytest.FixtureRequest, world: World, monkeypatch: pytest.MonkeyPatch) -> Cuda:
    """The device as each of the two back ends opens it."""
    return opened(world, monkeypatch, request.param)


@pytest.mark.parametrize("back_end", BOTH)
def test_the_device_is_described(
    back_end: str, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.integrated = True
    cuda = opened(world, monkeypatch, back_end)
    assert (cuda.name, cuda.captures) == (back_end, back_end == "cuda-python")
    assert cuda.device == Device(0, "Orin", "8.7", integrated=True, multiprocessors=8)
    assert cuda.device.model == "Orin, 8 multiprocessors"


def test_cuda_python_goes_first_and_either_can_be_forced(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_cuda(monkeypatch, world, *BOTH)
    assert open_cuda().name == "cuda-python"
    assert open_cuda("pycuda").name == "pycuda"
    monkeypatch.setenv("LZU_CUDA", "pycuda")
    assert open_cuda().name == "pycuda"
    assert open_cuda("cuda-python").name == "cuda-python"


def test_what_is_missing_is_said_with_its_remedy(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_cuda(monkeypatch, world)
    with pytest.raises(LzuError, match=r"neither cuda-python nor pycuda is installed.*\[cuda\]"):
        open_cuda()
    install_cuda(monkeypatch, world, "cuda-python")
    with pytest.raises(LzuError, match=r"^pycuda is not installed, and") as caught:
        open_cuda("pycuda")
    assert "\n" not in str(caught.value)
    with pytest.raises(LzuError, match="no CUDA back end opencl; use cuda-python or pycuda"):
        open_cuda("opencl")


@pytest.mark.parametrize("back_end", BOTH)
def test_a_gpu_that_is_not_there_is_refused(
    back_end: str, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    world.others = ("RTX 4090",)
    install_cuda(monkeypatch, world, back_end)
    there = r"there is no GPU {}: CUDA counts 0 \(Orin\) and 1 \(RTX 4090\)"
    with pytest.raises(LzuError, match=there.format(2) + "; choose one of these"):
        open_cuda(number=2)
    monkeypatch.setenv("LZU_DEVICE", "3")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,0")
    with pytest.raises(LzuError, match=there.format(3) + r" \(CUDA_VISIBLE_DEVICES=2,0 hides"):
        open_cuda()


@pytest.mark.parametrize("back_end", BOTH)
def test_the_gpu_that_was_asked_for_is_opened_and_current(
    back_end: str, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An argument goes before LZU_DEVICE, whose default is the first GPU."""
    world.others = ("RTX 4090", "T4")
    install_cuda(monkeypatch, world, back_end)
    assert open_cuda().device.number == 0
    monkeypatch.setenv("LZU_DEVICE", "2")
    assert open_cuda().device.name == "T4"
    cuda = open_cuda(number=1)
    assert (cuda.device.number, cuda.device.name) == (1, "RTX 4090")
    world.chosen.clear()
    with cuda.current():
        assert world.chosen == [1]


def test_a_machine_without_driver_is_refused_in_one_sentence(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three messages are covered: those of cuda-bindings 13.x, of 12.x, and of PyCUDA."""
    import sys

    install_cuda(monkeypatch, world, *BOTH)
    runtime, driver = sys.modules["cuda.bindings.runtime"], sys.modules["pycuda.driver"]

    def failing(error: Any) -> Any:
        def function(*_: Any) -> Any:
            if isinstance(error, Exception):
                raise error
            return error, None

        return function

    no_device = runtime.cudaError_t.cudaErrorNoDevice
    for error in (no_device, RuntimeError("Failed to dlopen libcuda.so.1")):
        monkeypatch.setattr(runtime, "cudaGetDeviceCount", failing(error))
        with pytest.raises(LzuError, match=r"no NVIDIA GPU can be used .*; install its driver"):
            open_cuda("cuda-python")
    monkeypatch.setattr(driver, "init", failing(driver.Error("cuInit failed: no device")))
    with pytest.raises(LzuError, match=r"no NVIDIA GPU can be used .*no device"):
        open_cuda("pycuda")


def test_bytes_go_to_the_device_and_back(cuda: Cuda, world: World) -> None:
    with cuda.current():
        stream = cuda.stream()
        source, target = (cuda.host_array((3, 5), "float16") for _ in range(2))
        memory = cuda.memory(source.array.nbytes)
        source.array[...] = np.arange(15).reshape(3, 5)
        target.array.fill(0)
        stream.to_device(memory, source)
        stream.synchronize()
        source.array.fill(-1)  # only the device has the numbers now
        stream.to_host(target, memory)
        assert not target.array.any()  # copies run later
        stream.synchronize()
        np.testing.assert_array_equal(target.array, np.arange(15).reshape(3, 5))
        assert source.address is None
        for each in (source, target, memory):
            cuda.free(each)
        stream.close()
    assert not world.blocks
    assert not world.streams


def test_mapped_memory_has_an_address_on_the_device(cuda: Cuda, world: World) -> None:
    with cuda.current():
        mapped = cuda.host_array((4,), np.float32, kind="mapped")
        mapped.array[...] = [1, 2, 3, 4]
        assert mapped.address is not None
        np.testing.assert_array_equal(world.array(mapped.address, (4,), "float32"), [1, 2, 3, 4])
        cuda.free(mapped)
    assert not world.blocks


def test_too_little_memory_is_told_with_its_size(cuda: Cuda, world: World) -> None:
    world.memory = 1000
    for allocate in (lambda: cuda.memory(2_000_000), lambda: cuda.host_array((500_000,), "f4")):
        with cuda.current(), pytest.raises(CudaError, match=r"Orin is out of memory: 2\.0 MB"):
            allocate()


def test_events_time_the_device(cuda: Cuda) -> None:
    with cuda.current():
        stream = cuda.stream()
        events = stream.event(), stream.event()
        for event in events:
            stream.record(event)
        with pytest.raises(CudaError):  # they have not passed
            stream.milliseconds(*events)
        stream.synchronize()
        assert stream.milliseconds(*events) == 0.25
        stream.close()


def test_a_graph_holds_what_was_enqueued_and_runs_it_when_launched(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuda = opened(world, monkeypatch, "cuda-python")
    stream = cuda.stream()
    source, target = (cuda.host_array((2,), "int32") for _ in range(2))
    memory = cuda.memory(8)
    target.array.fill(0)

    def enqueue() -> None:
        stream.to_device(memory, source)
        stream.to_host(target, memory)

    graph = stream.capture(enqueue)
    for value in (7, 9):
        source.array.fill(value)
        assert (target.array != value).all()
        stream.launch(graph)
        stream.synchronize()
        np.testing.assert_array_equal(target.array, value)
    stream.release(graph)
    calls = [name for name in world.names() if "Graph" in name or "Capture" in name]
    assert calls == [
        "cudaStreamBeginCapture",
        "cudaStreamEndCapture",
        "cudaGraphInstantiate",
        "cudaGraphDestroy",
        *["cudaGraphLaunch"] * 2,
        "cudaGraphExecDestroy",
    ]


def test_a_failed_capture_leaves_capture_mode(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The captured work fails, or CUDA rejects it; the first error is the one that is raised."""
    cuda = opened(world, monkeypatch, "cuda-python")
    stream = cuda.stream()

    def enqueue() -> None:
        raise LzuError("the engine failed")

    with pytest.raises(LzuError, match="the engine failed"):
        stream.capture(enqueue)
    assert world.capturing is None
    world.capture_fails = True
    with pytest.raises(CudaError, match=r"cudaStreamEndCapture: .*Invalidated \(error 901\)"):
        stream.capture(lambda: None)
    stream.synchronize()


def test_pycuda_says_that_it_captures_none(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = opened(world, monkeypatch, "pycuda")
    with cuda.current(), pytest.raises(CudaError, match=r"PyCUDA captures no CUDA graphs.*\[cuda"):
        cuda.stream().capture(lambda: None)


def test_pycuda_leaves_no_context_behind(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyCUDA aborts a program that ends while a context is pushed."""
    cuda = opened(world, monkeypatch, "pycuda")
    with pytest.raises(LzuError), cuda.current():
        raise LzuError("inside")
    assert world.names().count("Context.push") == world.names().count("Context.pop") == 1


def test_the_table_is_that_of_the_installed_cuda_bindings() -> None:
    """The stand-in must reject what the real module rejects, which imports without a driver."""
    runtime = pytest.importorskip("cuda.bindings.runtime", reason="cuda-bindings is not installed")
    known = table("cuda-13.5.0")
    real = describe(runtime, known)
    for name, kind in known.items():
        if name in ("cudaDeviceProp", "cudaError_t"):  # these grow
            assert {"name", "major", "minor", "integrated"} <= set(real["cudaDeviceProp"])
        else:
            assert real[name] == kind, name


def test_the_table_of_the_driver_is_that_of_the_installed_cuda_bindings() -> None:
    driver = pytest.importorskip("cuda.bindings.driver", reason="cuda-bindings is not installed")
    known = table("cuda-driver-13.5.0")
    real = describe(driver, known)
    results = set(real.pop("CUresult"))  # these grow
    assert {"CUDA_SUCCESS", "CUDA_ERROR_ILLEGAL_ADDRESS"} <= results
    assert real == {name: kind for name, kind in known.items() if name != "CUresult"}
