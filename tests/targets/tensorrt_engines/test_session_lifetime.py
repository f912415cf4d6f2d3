"""Sessions that fail, and sessions that nobody closes: which error is read, and what is freed."""

import gc
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fakes.fake_tensorrt import PLAN, RELEASES, X
from fakes.machine import Context
from fakes.world import World
from lzu_export.errors import LzuError
from lzu_export.targets.cuda.interface import FatalCudaError
from lzu_export.targets.tensorrt.session import LoadedEngine, TensorRtSession

BOTH = ("cuda-python", "pycuda")
CAUSE = r"^work on the GPU failed: an illegal memory access was encountered .*end this process"

Open = Callable[..., TensorRtSession]


@pytest.mark.parametrize("integrated", [False, True])
@pytest.mark.parametrize("back_end", BOTH)
@pytest.mark.parametrize("version", RELEASES)
def test_the_cause_of_a_failure_is_read_from_then_on(
    version: str, back_end: str, integrated: bool, world: World, opened: Open
) -> None:
    """At the run, at the next run, in another session; closing adds nothing."""
    world.integrated = integrated
    session = opened(version, back_end)
    vars(world)["illegal_access"] = True
    with pytest.raises(FatalCudaError, match=CAUSE), session:
        session.run({"x": X})
    with pytest.raises(LzuError, match=r"the session of model\.engine is closed"):
        session.run({"x": X})
    session.close()
    with pytest.raises(FatalCudaError, match=CAUSE):
        session.another()
    assert world.thread.stack == []


@pytest.mark.parametrize("back_end", BOTH)
@pytest.mark.parametrize("version", RELEASES)
def test_the_first_run_fails_with_its_cause(
    version: str, back_end: str, world: World, opened: Open
) -> None:
    """Opening a session runs it once, and frees what it has allocated if that fails."""
    vars(world)["illegal_access"] = True
    with pytest.raises(FatalCudaError, match=CAUSE) as caught:
        opened(version, back_end)
    assert "StreamSynchronize" in str(caught.value)


def test_a_failure_while_a_graph_is_tried_is_no_reason_to_run_without(
    world: World, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The session does not open, and says why."""
    launch = World.launch_graph

    def launched(world: World, graph: int, stream: int) -> None:
        vars(world)["illegal_access"] = True
        launch(world, graph, stream)

    monkeypatch.setattr(World, "launch_graph", launched)
    with pytest.raises(FatalCudaError, match=CAUSE):
        opened()


@pytest.mark.parametrize("back_end", BOTH)
def test_an_engine_that_does_not_load_after_a_failure_says_the_cause(
    back_end: str, world: World, opened: Open, tmp_path: Path
) -> None:
    session = opened("11.4.0", back_end)
    vars(world)["illegal_access"] = True
    with pytest.raises(FatalCudaError, match=CAUSE):
        session.run({"x": X})
    with pytest.raises(FatalCudaError, match=CAUSE):
        LoadedEngine(session._trt, tmp_path / "model.engine", session._cuda)


def test_a_run_that_fails_halfway_leaves_no_work_behind(world: World, opened: Open) -> None:
    """The next frame is not copied over one that the device is still to read."""
    session = opened(graph=False)
    vars(world)["run_error"] = True
    with pytest.raises(LzuError, match="failed to run"):
        session.run({"x": X})
    assert all(not queue.work for queue in world.streams.values())
    vars(world)["run_error"] = False
    np.testing.assert_array_equal(session.run({"x": X + 1})["y"], 2 * X + 2)


@pytest.mark.parametrize("back_end", BOTH)
@pytest.mark.parametrize("version", RELEASES)
def test_a_dropped_session_frees_everything(
    version: str, back_end: str, world: World, opened: Open
) -> None:
    session = opened(version, back_end, timed=True)
    other = session.another()
    session.run({"x": X})
    del session
    gc.collect()
    assert len(world.streams) == 1
    np.testing.assert_array_equal(other.run({"x": X})["y"], 2 * X)
    del other
    gc.collect()
    assert not world.blocks
    assert not world.streams
    assert not world.events
    assert not world.graphs


@pytest.mark.parametrize("back_end", BOTH)
def test_a_session_may_be_dropped_in_another_thread(
    back_end: str, world: World, opened: Open
) -> None:
    """Python drops what is in a cycle in whatever thread it is; none of them stays current."""
    kept = [opened("10.3.0", back_end, timed=True)]
    stacks: list[Any] = []

    def drop() -> None:
        kept.clear()
        gc.collect()
        stacks.append(list(world.thread.stack))

    thread = threading.Thread(target=drop)
    thread.start()
    thread.join()
    assert stacks == [[]]
    assert not world.blocks
    assert not world.streams
    assert not world.events


@pytest.mark.parametrize("back_end", BOTH)
def test_any_thread_runs_a_session_on_its_gpu(back_end: str, world: World, opened: Open) -> None:
    """Opened in one thread on the second GPU, run in others, whose own context stays current."""
    world.others = ("RTX 4090",)
    session = opened("10.3.0", back_end, device=1)
    found: list[Any] = []

    def run(foreign: Context | None) -> None:
        if foreign is not None:
            world.push(foreign)
        found.append((session.run({"x": X})["y"], list(world.thread.stack)))

    contexts = (None, Context(0, primary=False), Context(1, primary=False))
    for foreign in contexts:
        thread = threading.Thread(target=run, args=(foreign,))
        thread.start()
        thread.join(20)
    assert len(found) == len(contexts)
    for (y, stack), foreign in zip(found, contexts, strict=True):
        np.testing.assert_array_equal(y, 2 * X)
        assert stack == [foreign] * (foreign is not None)
    session.close()
    assert not world.blocks


@pytest.mark.parametrize("back_end", BOTH)
@pytest.mark.parametrize("version", RELEASES)
def test_engines_are_unloaded_on_their_gpu(
    version: str, back_end: str, world: World, opened: Open
) -> None:
    """CUDA would make a context on the first GPU to free what TensorRT has on another."""
    world.others = ("RTX 4090",)
    kept = [opened(version, back_end, device=1)]

    def drop() -> None:
        kept.clear()
        gc.collect()

    gc.collect()
    world.unloaded.clear()
    thread = threading.Thread(target=drop)
    thread.start()
    thread.join(20)
    assert world.unloaded == 2 * [world.primary(1)]
    assert not world.blocks


def test_a_session_dropped_during_a_capture_does_not_break_it(
    world: World, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = [opened("11.4.0")]
    begin = World.begin_capture

    def beginning(world: World, stream: int, mode: int) -> None:
        begin(world, stream, mode)
        kept.clear()
        gc.collect()

    loaded = kept[0]._loaded
    monkeypatch.setattr(World, "begin_capture", beginning)
    session = TensorRtSession(loaded, graph=True)
    assert len(world.streams) == 1
    np.testing.assert_array_equal(session.run({"x": X})["y"], 2 * X)


def test_a_session_is_not_freed_under_a_run_of_another_thread(world: World, opened: Open) -> None:
    """Closing waits for the run."""
    session = opened()
    running, go_on = threading.Event(), threading.Event()

    def compute(inputs: Any) -> Any:
        running.set()
        assert go_on.wait(20)
        return {"y": inputs["x"] * 2}

    world.compute = compute
    found: list[Any] = []
    runner = threading.Thread(target=lambda: found.append(session.run({"x": X})["y"]))
    runner.start()
    assert running.wait(20)
    closer = threading.Thread(target=session.close)
    closer.start()
    closer.join(0.1)
    assert closer.is_alive()
    go_on.set()
    runner.join(20)
    closer.join(20)
    np.testing.assert_array_equal(found[0], 2 * X)
    assert not world.blocks


SCRIPT = """
import atexit, sys
from pathlib import Path
import pytest
from fakes.fake_tensorrt import plan
from fakes.install import install_cuda, install_tensorrt
from fakes.world import World
from lzu_export.targets.cuda.interface import open_cuda
from lzu_export.targets.tensorrt.session import LoadedEngine, TensorRtSession

world = World()
atexit.register(lambda: print(len(world.blocks), len(world.streams), world.thread.stack))
patch = pytest.MonkeyPatch()
install_cuda(patch, world, sys.argv[1])
trt = install_tensorrt(patch, world, "10.3.0")
loaded = LoadedEngine(trt, Path(sys.argv[2]), open_cuda())
session = TensorRtSession(loaded)
session.itself = session  # nothing but the end of the interpreter drops it
"""


@pytest.mark.parametrize("back_end", BOTH)
def test_the_end_of_the_interpreter_frees_everything(back_end: str, tmp_path: Path) -> None:
    path = tmp_path / "model.engine"
    path.write_bytes(PLAN)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, back_end, str(path)],
        capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2], timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "0 0 []\n", "")
