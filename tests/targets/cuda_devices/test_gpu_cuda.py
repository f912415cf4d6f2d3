"""CUDA's rules on a real GPU, as the stand-ins keep them; `make test-gpu` runs this."""

import threading
from typing import Any

import numpy as np
import pytest

from lzu_export.support import nvidia
from lzu_export.support.cuda_driver import find_driver
from lzu_export.targets.cuda.interface import Cuda, CudaError, open_cuda
from lzu_export.targets.tensorrt.holdings import Holdings

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("gpu_device")]

SIZE = 256 << 20
"""Bytes of a block that no rounding of the free memory hides."""


@pytest.fixture
def cuda() -> Cuda:
    """The device through cuda-python."""
    pytest.importorskip("cuda.bindings.runtime", reason="cuda-bindings is not installed")
    return open_cuda("cuda-python")


def free_bytes(cuda: Cuda) -> int:
    from cuda.bindings import runtime

    with cuda.current():
        status, free, _ = runtime.cudaMemGetInfo()
    assert int(status) == 0
    return int(free)


def in_a_thread(work: Any) -> Any:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    thread.join(60)
    (value,) = found
    return value


def test_a_thread_without_context_has_none_afterwards(cuda: Cuda) -> None:
    from cuda.bindings import driver

    def work() -> tuple[int, int]:
        with cuda.current():
            inside = int(driver.cuCtxGetCurrent()[1])
            cuda.free(cuda.memory(8))
        return inside, int(driver.cuCtxGetCurrent()[1])

    inside, afterwards = in_a_thread(work)
    assert inside != 0
    assert afterwards == 0


def test_dropped_memory_is_given_back_by_another_thread(cuda: Cuda) -> None:
    before = free_bytes(cuda)
    owners = [set[int]()]
    held = Holdings(cuda, None)
    held.free_with(owners[0])
    with cuda.current():
        held.stream = cuda.stream()
        held.memory(SIZE)
    del held
    assert free_bytes(cuda) < before - SIZE // 2
    in_a_thread(owners.clear)
    assert free_bytes(cuda) > before - SIZE // 2


def test_freeing_does_not_break_a_capture(cuda: Cuda) -> None:
    with cuda.current():
        stream, memory = cuda.stream(), cuda.memory(SIZE)
        source, target = (cuda.host_array((4,), np.int32) for _ in range(2))
        there = cuda.memory(16)

        def enqueue() -> None:
            stream.to_device(there, source)
            with cuda.freeing():
                cuda.free(memory)
            stream.to_host(target, there)

        graph = stream.capture(enqueue)
        source.array[:] = [1, 2, 3, 4]
        stream.launch(graph)
        stream.synchronize()
        np.testing.assert_array_equal(target.array, [1, 2, 3, 4])
        with pytest.raises(CudaError):  # captures forbid it
            stream.capture(lambda: cuda.free(cuda.memory(8)))
        stream.release(graph)
        for each in (source, target, there):
            cuda.free(each)
        stream.close()


def test_managed_memory_is_handed_over_and_back(cuda: Cuda) -> None:
    """The host reads what the device wrote, and writes while another stream works."""
    if not cuda.device.managed:
        pytest.skip("the device has no managed memory")
    with cuda.current():
        stream, memory = cuda.stream(), cuda.memory(64)
        managed = cuda.host_array((16,), "float32", kind="managed")
        plain = cuda.host_array((16,), "float32")
        managed.array[...] = np.arange(16)
        stream.hand_over(managed, to_device=True)
        assert managed.address is not None
        stream.to_device(memory, managed)
        stream.to_host(plain, memory)
        stream.hand_over(managed, to_device=False)
        stream.synchronize()
        managed.array[...] += 1
        np.testing.assert_array_equal(plain.array, np.arange(16))
        np.testing.assert_array_equal(managed.array, np.arange(16) + 1)
        for each in (memory, managed, plain):
            cuda.free(each)
        stream.close()


def test_the_drivers_numbers_are_those_of_the_runtime(cuda: Cuda) -> None:
    """Both count the same GPUs in the same order, so that a PCI bus id finds the card in use."""
    from cuda.bindings import runtime

    driver = find_driver()
    assert driver is not None
    assert len(driver.buses) == int(runtime.cudaGetDeviceCount()[1])
    for number, bus in enumerate(driver.buses):
        properties = runtime.cudaGetDeviceProperties(number)[1]
        place = (properties.pciDomainID, properties.pciBusID, properties.pciDeviceID)
        domain, _, rest = bus.partition(":")
        assert (int(domain, 16), int(rest[:2], 16), int(rest[3:5], 16)) == place
    assert len(nvidia.cards_in_use()) <= 1
