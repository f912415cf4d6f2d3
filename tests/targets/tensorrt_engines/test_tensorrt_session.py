"""Device sessions over stand-ins of every release and back end: values, order of calls, errors."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fakes.fake_tensorrt import RELEASES, X, plan
from fakes.signatures import describe
from fakes.world import World, table
from lzu_export.errors import LzuError
from lzu_export.targets.tensorrt.session import LoadedEngine, TensorRtSession

BOTH = ("cuda-python", "pycuda")

Open = Callable[..., LoadedEngine]


@pytest.mark.parametrize("back_end", BOTH)
@pytest.mark.parametrize("version", RELEASES)
@pytest.mark.parametrize("integrated", [False, True])
def test_frames_go_through(
    version: str, back_end: str, integrated: bool, world: World, load: Open
) -> None:
    """The outputs belong to the caller: a later frame does not change them."""
    world.integrated = integrated
    with TensorRtSession(load(version, back_end)) as session:
        assert [each.name for each in session.inputs] == ["x"]
        assert [(e.name, e.dtype, e.shape) for e in session.outputs] == [("y", "float32", (2, 3))]
        first = session.run({"x": X})["y"]
        second = session.run({"x": X + 1})["y"]
        np.testing.assert_array_equal(first, 2 * X)
        np.testing.assert_array_equal(second, 2 * X + 2)
        assert session.memory == ("mapped" if integrated else "copies")
        assert "Orin" in session.provider
        assert ("mapped memory" in session.provider) == integrated
    assert not world.blocks
    assert not world.streams


@pytest.mark.parametrize("version", ["10.3.0", "11.4.0"])
def test_calls_come_in_order(version: str, world: World, load: Open) -> None:
    """It deserialises, binds, warms up and captures once, then only replays, and frees all."""
    session = TensorRtSession(load(version))
    world.check_order(
        "Runtime",
        "Runtime.deserialize_cuda_engine",
        "ICudaEngine.create_execution_context",
        "IExecutionContext.set_tensor_address",
        "IExecutionContext.execute_async_v3",
        "cudaStreamSynchronize",
        "cudaStreamBeginCapture",
    )
    assert world.captured() == [
        "cudaMemcpyAsync",
        "IExecutionContext.execute_async_v3",
        "cudaMemcpyAsync",
    ]
    world.calls.clear()
    for _ in range(3):
        session.run({"x": X})
    frame = ["cuCtxPushCurrent", "cudaGraphLaunch", "cudaStreamSynchronize", "cuCtxPopCurrent"]
    assert world.names() == 3 * frame
    world.calls.clear()
    session.close()
    names = world.names()
    assert names.index("cudaStreamSynchronize") < names.index("cudaGraphExecDestroy")
    assert names.index("cudaGraphExecDestroy") < names.index("cudaFree")
    assert names.index("cudaFreeHost") < names.index("cudaStreamDestroy")
    session.close()  # a second time does nothing


def test_on_a_jetson_nothing_is_copied(world: World, load: Open) -> None:
    """The engine reads and writes the page-locked memory directly."""
    world.integrated = True
    session = TensorRtSession(load("10.3.0"))
    session.run({"x": X})
    assert "cudaMemcpyAsync" not in world.names()
    assert "cudaMalloc" not in world.names()
    copying = session.another()
    assert copying.memory == "mapped"
    assert TensorRtSession(session._loaded, memory="copies").memory == "copies"
    assert "cudaMemcpyAsync" in world.names()


def test_tensorrt_rtx_captures_by_its_own_strategy(
    world: World, load: Open, tmp_path: Path
) -> None:
    """Compiled kernels are cached, and the second start reads them."""
    cache = tmp_path / "kernels"
    loaded = load("1.7.1")
    session = TensorRtSession(loaded, cache=cache)
    names = world.names()
    assert "cudaStreamBeginCapture" not in names
    strategy = loaded.trt.CudaGraphStrategy
    assert ("IRuntimeConfig.cuda_graph_strategy=", strategy.WHOLE_GRAPH_CAPTURE) in world.calls
    assert cache.read_bytes() == b"kernels"
    assert "IRuntimeCache.deserialize" not in names
    config = names.index("IRuntimeConfig.set_runtime_cache")
    assert config < names.index("ICudaEngine.create_execution_context")
    ran = names.index("IExecutionContext.execute_async_v3")
    assert ran < names.index("IRuntimeCache.serialize")
    assert "CUDA graph requested" in session.provider  # it does not tell whether it replays one
    assert session.graph_requested
    assert not session.graph_note
    world.calls.clear()
    session.another()
    assert "IRuntimeCache.deserialize" in world.names()
    session = TensorRtSession(loaded, graph=False)
    assert ("IRuntimeConfig.cuda_graph_strategy=", strategy.DISABLED) in world.calls
    assert not session.graph_requested
    assert "without CUDA graph" in session.provider


def test_tensorrt_rtx_that_cannot_capture_runs_without_and_says_why(
    world: World, load: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asking for a graph is not having one."""
    loaded = load("1.7.1")
    vars(world)["not_capturable"] = True
    session = TensorRtSession(loaded)
    assert "without CUDA graph" in session.provider
    assert not session.graph_requested
    assert "TensorRT-RTX cannot capture model.engine in a CUDA graph" in session.graph_note
    np.testing.assert_array_equal(session.run({"x": X})["y"], 2 * X)
    names = world.names()
    ran = names.index("IExecutionContext.execute_async_v3")
    assert ran < names.index("IExecutionContext.is_stream_capturable")
    session.close()
    with pytest.raises(LzuError, match=r"cannot capture model\.engine"):
        TensorRtSession(loaded, graph=True)
    assert not world.blocks
    vars(world)["not_capturable"] = False
    config = loaded.trt.IRuntimeConfig
    monkeypatch.setattr(config, "__setattr__", lambda *_: None)  # the library may decline
    assert "did not accept the request" in TensorRtSession(loaded).graph_note


def test_a_runtime_cache_that_cannot_be_kept_is_no_error(
    load: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A foreign or unreadable cache is replaced; without a cache the next start is only slower."""
    (tmp_path / "foreign").write_bytes(b"of another card")
    TensorRtSession(load("1.7.1"), cache=tmp_path / "foreign")
    assert (tmp_path / "foreign").read_bytes() == b"kernels"
    read = Path.read_bytes

    def unreadable(path: Path) -> bytes:
        if path.name == "foreign":
            raise PermissionError(13, "Permission denied")
        return read(path)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", unreadable)
        TensorRtSession(load("1.7.1"), cache=tmp_path / "foreign").close()
    session = TensorRtSession(load("1.7.1"), cache=tmp_path / "nowhere" / "cache")
    np.testing.assert_array_equal(session.run({"x": X})["y"], 2 * X)


def test_without_graphs_the_session_runs_and_says_why(world: World, load: Open) -> None:
    with TensorRtSession(load("10.3.0")) as session:
        assert ", CUDA graph)" in session.provider
        assert not session.graph_requested
    session = TensorRtSession(load("10.3.0", "pycuda"))
    assert "PyCUDA captures no CUDA graphs" in session.graph_note
    assert "without CUDA graph" in session.provider
    np.testing.assert_array_equal(session.run({"x": X})["y"], 2 * X)
    session.close()
    with pytest.raises(LzuError, match="PyCUDA captures no CUDA graphs"):
        TensorRtSession(load("10.3.0", "pycuda"), graph=True)
    world.capture_fails = True
    session = TensorRtSession(load("11.4.0"))
    assert "Invalidated" in session.graph_note
    np.testing.assert_array_equal(session.run({"x": X})["y"], 2 * X)
    assert TensorRtSession(load("11.4.0"), graph=False).graph_note == "switched off"


def test_a_graph_that_does_not_run_is_dropped(world: World, load: Open) -> None:
    """The session then runs without a CUDA graph, as where none can be captured."""
    vars(world)["graph_error"] = True
    session = TensorRtSession(load("10.3.0"))
    assert "without CUDA graph" in session.provider
    assert "cudaGraphExecDestroy" in world.names()
    np.testing.assert_array_equal(session.run({"x": X})["y"], 2 * X)
    session.close()
    assert world.names().count("cudaGraphExecDestroy") == 1
    with pytest.raises(LzuError, match="Invalidated"):
        TensorRtSession(load("10.3.0"), graph=True)
    assert not world.blocks


def test_sessions_of_one_engine_do_not_disturb_each_other(world: World, load: Open) -> None:
    """Each session has its own stream, memory and context; the plan is read once."""
    left = TensorRtSession(load("11.4.0"))
    right = left.another()
    assert len(world.streams) == 2
    assert world.names().count("Runtime.deserialize_cuda_engine") == 1
    one = left.run({"x": X})["y"]
    two = right.run({"x": -X})["y"]
    left.close()
    np.testing.assert_array_equal(right.run({"x": X})["y"], 2 * X)
    np.testing.assert_array_equal(one, 2 * X)
    np.testing.assert_array_equal(two, -2 * X)


def test_times_are_told(load: Open) -> None:
    session = TensorRtSession(load("10.3.0"), timed=True)
    assert session.load_seconds > 0
    assert session.warm_up_seconds > 0
    assert session.milliseconds is None
    session.run({"x": X})
    assert session.milliseconds == 0.25
    assert session.another().milliseconds is None


@pytest.mark.parametrize("version", RELEASES)
def test_a_plan_that_does_not_load_is_refused_with_the_reason(version: str, load: Open) -> None:
    with pytest.raises(LzuError) as caught:
        load(version, data=plan(plugins=True))
    message = str(caught.value)
    assert "cannot load model.engine: getPluginCreator could not find plugin" in message
    assert "LZU_PLUGINS" in message
    assert message.startswith("TensorRT-RTX " if version == "1.7.1" else "TensorRT cannot")
    assert "\n" not in message


def test_tensorrt_rtx_is_asked_whether_the_card_fits(world: World, load: Open) -> None:
    data = plan(**{"other card": True})
    with pytest.raises(LzuError, match=r"does not run model\.engine on Orin; build it for this"):
        load("1.7.1", data=data)
    assert "Runtime.deserialize_cuda_engine" not in world.names()


def test_dynamic_shapes_are_refused(load: Open) -> None:
    with pytest.raises(LzuError, match=r"tensor x of model\.engine has no static shape"):
        load("10.3.0", data=plan(("x", "INPUT", "FLOAT", (-1, 3))))


def test_too_little_memory_leaves_nothing_behind(world: World, load: Open) -> None:
    loaded = load("10.3.0")
    world.memory = 60  # three tensors of 24 bytes do not fit
    with pytest.raises(LzuError, match="Orin is out of memory"):
        TensorRtSession(loaded)
    assert not world.blocks
    assert not world.streams


@pytest.mark.parametrize("version", RELEASES)
def test_a_plan_that_does_not_fit_is_told_with_the_remedy(
    version: str, world: World, load: Open
) -> None:
    vars(world)["load_error"] = "[executionContext] Cuda Runtime (out of memory)\nmore"
    with pytest.raises(LzuError, match=r"model\.engine: the device is out of memory; end other"):
        load(version)


def test_a_run_that_fails_is_told(world: World, load: Open) -> None:
    session = TensorRtSession(load("10.3.0"), graph=False)
    vars(world)["run_error"] = True
    session._loaded.logger.log(session._trt.ILogger.Severity.ERROR, "Cuda failure: out of memory")
    with pytest.raises(LzuError, match=r"failed to run model\.engine: the device is out of memory"):
        session.run({"x": X})
    session.close()
    with pytest.raises(LzuError, match=r"the session of model\.engine is closed"):
        session.run({"x": X})


@pytest.mark.parametrize("inputs", [{}, {"x": X[:1]}, {"x": X.astype(np.float64)}, {"z": X}])
def test_wrong_inputs_never_reach_the_device(inputs: Any, world: World, load: Open) -> None:
    session = TensorRtSession(load("10.3.0"))
    world.calls.clear()
    with pytest.raises(LzuError, match=r"input x|no input z"):
        session.run(inputs)
    assert world.calls == []


def test_the_table_is_that_of_the_installed_tensorrt_rtx() -> None:
    """The real module, which can be installed here, shows that the tables are read rightly."""
    trt = pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    if not str(trt.__version__).startswith("1.7.1"):
        pytest.skip(f"the table is of 1.7.1, installed is {trt.__version__}")
    known = table("tensorrt_rtx-1.7.1")
    assert describe(trt, known) == known


def test_the_table_is_that_of_the_installed_tensorrt() -> None:
    """This runs only where a release with a table is installed."""
    trt = pytest.importorskip("tensorrt", reason="TensorRT is not installed")
    tables = {v: name for v, (module, name) in RELEASES.items() if module == "tensorrt"}
    known = [name for v, name in tables.items() if str(trt.__version__).startswith(v)]
    if not known:
        pytest.skip(f"there is no table of TensorRT {trt.__version__}")
    assert describe(trt, table(known[0])) == table(known[0])
