"""Memory between host and device: each kind is timed on the real launch, and the fastest kept."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fakes.fake_tensorrt import X
from fakes.world import World
from lzu_export.errors import LzuError
from lzu_export.targets.cuda.interface import CudaError, FatalCudaError
from lzu_export.targets.tensorrt.memory_kinds import RUNS, WARM_UPS, MemoryKind, open_fastest
from lzu_export.targets.tensorrt.session import LoadedEngine, TensorRtSession

BOTH = ("cuda-python", "pycuda")
COSTS: dict[MemoryKind, dict[str, float]] = {
    "mapped": {"mapped": 1.0, "managed": 2.0, "copy": 3.0},
    "copies": {"mapped": 3.0, "managed": 2.0, "copy": 1.0},
    "managed": {"mapped": 3.0, "managed": 1.0, "copy": 3.0, "attach": 0.5},
}
"""Milliseconds of the accesses of a device on which each kind is the fastest."""

Load = Callable[..., LoadedEngine]


@pytest.fixture
def world() -> World:
    """A device that shares the host's memory, which may not be accessed by both at a time."""
    return World(integrated=True, managed=True)


def fastest(loaded: LoadedEngine, **options: Any) -> TensorRtSession:
    return open_fastest(
        loaded.cuda.device, lambda kind: TensorRtSession(loaded, memory=kind, **options)
    )


@pytest.mark.parametrize("back_end", BOTH)
@pytest.mark.parametrize("concurrent", [False, True])
@pytest.mark.parametrize("kind", COSTS)
def test_the_kind_that_the_clock_says_is_kept(
    kind: MemoryKind, concurrent: bool, back_end: str, world: World, load: Load
) -> None:
    """On a graph where there is one; the times are recorded, and the other sessions are closed."""
    world.costs, world.concurrent = COSTS[kind], concurrent
    with fastest(load(back_end=back_end)) as session:
        assert session.memory == kind
        both = 2 * COSTS[kind][{"copies": "copy"}.get(kind, kind)]
        attached = 0.0 if concurrent or kind != "managed" else 4 * COSTS[kind]["attach"]
        names = {"mapped": "mapped memory", "copies": "copies", "managed": "managed memory"}
        assert f"{names[kind]} {0.25 + both + attached:.3f} ms" in session.memory_note
        assert session.memory_note.count(" ms") == 3
        assert f"{names[kind]} as the fastest of mapped memory" in session.provider
        assert len(world.streams) == 1
        for step in range(2):
            np.testing.assert_array_equal(session.run({"x": X + step})["y"], 2 * (X + step))
        assert session.milliseconds is None
        with session.another() as other:
            assert (other.memory, other.memory_note) == (kind, session.memory_note)
            np.testing.assert_array_equal(other.run({"x": X})["y"], 2 * X)
    assert not world.blocks
    assert not world.streams
    assert not world.events


def test_the_real_launch_is_timed(world: World, load: Load) -> None:
    """The graph, after runs that do not count, between two events, and not the warm-up run."""
    session = fastest(load())
    names = world.names()
    assert names.count("cudaGraphLaunch") == 3 * (1 + WARM_UPS + RUNS)
    timed = [name for name in names if name in ("cudaEventRecord", "cudaGraphLaunch")]
    assert timed[1:4] == ["cudaEventRecord", "cudaGraphLaunch", "cudaEventRecord"]
    assert names.count("cudaEventElapsedTime") == 3 * (WARM_UPS + RUNS)
    session.close()


def test_a_clock_that_is_slow_at_first_does_not_count(
    world: World, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clocks rise under load, which must not make a kind look slow because it is timed first."""
    milliseconds = World.milliseconds
    calls = [0]

    def slow(world: World, start: int, end: int) -> float:
        calls[0] += 1
        late = 50.0 if calls[0] % (WARM_UPS + RUNS) <= WARM_UPS else 0.0
        return milliseconds(world, start, end) + late

    monkeypatch.setattr(World, "milliseconds", slow)
    world.costs = COSTS["mapped"]
    with fastest(load()) as session:
        assert session.memory == "mapped"
        assert "2.250 ms" in session.memory_note


def test_kinds_that_are_as_fast_keep_the_first(world: World, load: Load) -> None:
    """Without a difference nothing is copied, as ever."""
    with fastest(load()) as session:
        assert session.memory == "mapped"


def test_managed_memory_is_the_devices_during_a_run_and_the_hosts_between(
    world: World, load: Load
) -> None:
    """The host may access it whatever other streams do; graphs and other streams of TensorRT, too.

    So that it is attached globally for the run, not to one stream, and outside of the graph.
    """
    session = TensorRtSession(load(), memory="managed")
    assert "cudaStreamAttachMemAsync" not in world.captured()
    world.calls.clear()
    session.run({"x": X})
    run = [name for name in world.names() if not name.startswith("cu") or name[2] != "C"]
    attach = "cudaStreamAttachMemAsync"
    assert run == [attach, attach, "cudaGraphLaunch", attach, attach, "cudaStreamSynchronize"]
    managed = [each for each in world.blocks.values() if each.kind == "managed"]
    assert len(managed) == 2
    assert not any(each.on_device for each in managed)
    session.close()


def test_managed_memory_comes_back_from_a_run_that_fails(world: World, load: Load) -> None:
    session = TensorRtSession(load(), memory="managed", graph=False)
    vars(world)["run_error"] = True
    with pytest.raises(LzuError, match=r"failed to run model\.engine"):
        session.run({"x": X})
    assert not any(each.on_device for each in world.blocks.values())
    session.close()


def test_memory_that_both_may_access_is_not_handed_over(world: World, load: Load) -> None:
    world.concurrent = True
    with TensorRtSession(load(), memory="managed") as session:
        session.run({"x": X})
    assert "cudaStreamAttachMemAsync" not in world.names()


@pytest.mark.parametrize("back_end", BOTH)
def test_a_device_without_managed_memory_chooses_between_two(
    back_end: str, world: World, load: Load
) -> None:
    world.managed, world.costs = False, COSTS["copies"]
    loaded = load(back_end=back_end)
    with fastest(loaded) as session:
        assert session.memory == "copies"
        assert "managed" not in session.memory_note
    with pytest.raises(CudaError):
        TensorRtSession(loaded, memory="managed")
    assert not world.blocks


def test_a_device_with_memory_of_its_own_times_nothing(world: World, load: Load) -> None:
    """Reading over PCIe takes longer than one copy."""
    world.integrated = False
    with fastest(load()) as session:
        assert (session.memory, session.memory_note) == ("copies", "")
    assert "cudaEventRecord" not in world.names()


def test_a_kind_for_which_there_is_no_memory_is_left_out(
    world: World, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.costs = COSTS["managed"]
    allocate = World.allocate

    def little(world: World, size: int, kind: str = "device") -> Any:
        if kind == "managed":
            world.memory, before = 0, world.memory
            try:
                return allocate(world, size, kind)
            finally:
                world.memory = before
        return allocate(world, size, kind)

    monkeypatch.setattr(World, "allocate", little)
    with fastest(load()) as session:
        assert session.memory == "mapped"
        assert session.memory_note.count(" ms") == 2
    assert not world.blocks


def test_failed_work_closes_everything(
    world: World, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second kind fails: the first session is not what the caller gets."""
    copy = World.copy

    def broken(world: World, *arguments: Any, **options: Any) -> None:
        vars(world)["illegal_access"] = True
        copy(world, *arguments, **options)

    monkeypatch.setattr(World, "copy", broken)
    with pytest.raises(FatalCudaError, match="illegal memory access"):
        fastest(load())


def test_the_state_begins_with_zeros_after_the_timing(world: World, load: Load) -> None:
    """Timed runs feed boxes back, which the first frame must not see."""

    class Counter:
        state = ("x",)
        outputs = ()
        workspace = 4

        def __init__(self) -> None:
            self.library = None

        def enqueue(self, addresses: Any, workspace: int, stream: int) -> None:
            def work() -> None:
                world.array(addresses["x"], X.shape, "float32")[...] += 1

            world.enqueue(stream, work)

    loaded = load()
    with open_fastest(
        loaded.cuda.device,
        lambda kind: TensorRtSession(loaded, memory=kind, epilogue=Counter()),
    ) as session:
        np.testing.assert_array_equal(
            world.array(session._addresses["x"], X.shape, "float32"), np.zeros_like(X)
        )


@pytest.mark.parametrize("back_end", BOTH)
def test_taking_memory_back_does_not_replace_the_reason_of_a_failure(
    back_end: str, world: World, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TensorRT refuses to run, and then the device does not give managed memory back."""
    session = TensorRtSession(load(back_end=back_end), memory="managed", graph=False)
    hand_over = type(session._stream).hand_over

    def kept(stream: Any, host: Any, *, to_device: bool) -> None:
        if not to_device:
            raise CudaError("the memory stays on the device")
        hand_over(stream, host, to_device=True)

    monkeypatch.setattr(type(session._stream), "hand_over", kept)
    vars(world)["run_error"] = True
    with pytest.raises(LzuError, match=r"failed to run model\.engine"):
        session.run({"x": X})
