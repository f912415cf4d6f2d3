"""Engines of a device are timed with and without CUDA graph, over stand-ins of the vendors."""

import shutil
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="exporting needs torch")

from fakes.engines import add_rtx_engine
from fakes.install import install_cuda, install_tensorrt
from fakes.world import World
from lzu_benchmarks.harness.candidates import GRAPHS, open_candidates, pair
from lzu_benchmarks.harness.latency import main, measure
from lzu_benchmarks.harness.latency_results import LatencyRun
from lzu_benchmarks.harness.latency_table import latency_tables
from lzu_export.compiler.build_tensorrt import build_on_device
from lzu_export.compiler.derive import derive
from lzu_export.errors import LzuError
from lzu_export.support.interleave import Plan
from lzu_export.targets.onnxruntime import OnnxRuntimeSession
from lzu_export.targets.tensorrt import open as device

QUICK = Plan(queries=2, warmup_queries=1, warmup_seconds=0.0, block=1, settle=0)


@pytest.fixture(scope="module")
def built(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, World]:
    """A bundle with an engine of each TensorRT, and the device that runs them."""
    bundle = tmp_path_factory.mktemp("built") / "bundle"
    shutil.copytree(tiny_bundle, bundle)
    derive(bundle)
    session = OnnxRuntimeSession(bundle / "model.fp32.tensorrt.onnx", threads=1)
    world = World(compute=session.run, capability=(8, 9), gpu="RTX 4090")
    with pytest.MonkeyPatch.context() as patch:
        install_cuda(patch, world, "cuda-python")
        install_tensorrt(patch, world, "10.3.0")
        build_on_device(bundle)
        install_tensorrt(patch, world, "1.7.1")
        add_rtx_engine(bundle)
    return bundle, world


def install(patch: pytest.MonkeyPatch, world: World, back_end: str = "cuda-python") -> None:
    install_cuda(patch, world, back_end)
    for version in ("10.3.0", "1.7.1"):
        install_tensorrt(patch, world, version)


@pytest.mark.parametrize("target", ["tensorrt", "tensorrt-rtx"])
def test_both_modes_take_turns(
    target: str, built: tuple[Path, World], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In sessions of their own; what starts cold is told apart from what was compiled before."""
    bundle, world = built
    install(monkeypatch, world)
    off, on = open_candidates(bundle, target=target)
    assert (off.cuda_graph, on.cuda_graph) == (False, True)
    assert "without CUDA graph" in off.predictor.session.provider
    assert "without" not in on.predictor.session.provider
    world.calls.clear()
    run = measure(pair([off, on]), QUICK)
    launched = world.names().count("cudaGraphLaunch")
    assert (launched > 0) == (target == "tensorrt")  # TensorRT-RTX replays its own
    assert list(run.engines) == [f"bundle {target} fp32 no graph", f"bundle {target} fp32 graph"]
    for each in run.engines.values():
        assert each.base is not None
        assert set(each.stages) == {"pre-processing", "engine", "suppression", "post-processing"}
        assert each.start is not None
        assert each.start.first_run > 0
        assert (each.start.cold_first_run is not None) == (target == "tensorrt-rtx")
    assert LatencyRun.model_validate_json(run.model_dump_json()) == run
    said = [note for note in run.notes if "does not report whether it replays" in note]
    assert len(said) == (target == "tensorrt-rtx")
    assert latency_tables(run).renderables


def test_a_cold_start_neither_reads_nor_leaves_what_was_compiled(
    built: tuple[Path, World], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle, world = built
    install(monkeypatch, world)
    monkeypatch.setenv("LZU_CACHE", str(tmp_path))
    world.calls.clear()
    open_candidates(bundle, target="tensorrt-rtx", graphs=GRAPHS["on"])
    names = world.names()
    contexts = [i for i, name in enumerate(names) if name.endswith("create_execution_context")]
    assert len(contexts) == 3
    assert "IRuntimeConfig.create_runtime_cache" not in names[: contexts[0]]
    second = names[contexts[0] : contexts[1]]
    assert "IRuntimeConfig.create_runtime_cache" in second
    assert "IRuntimeCache.deserialize" not in second  # the cold one has left nothing
    # What is told as the first run reads what was compiled, whatever is timed first.
    assert "IRuntimeCache.deserialize" in names[contexts[1] : contexts[2]]


def test_boxes_that_go_through_the_host_are_told(
    built: tuple[Path, World], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once a bundle, as what they cost is in its figures."""
    bundle, world = built
    install(monkeypatch, world)
    monkeypatch.setattr(device, "_feedback", lambda *_, **__: (None, "no library"))
    run = measure(open_candidates(bundle, target="tensorrt"), QUICK)
    assert run.notes.count("boxes of bundle go through the host: no library") == 1


def test_the_times_that_chose_the_memory_are_told(
    built: tuple[Path, World], monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle, world = built
    install(monkeypatch, world)
    monkeypatch.setattr(world, "integrated", True)
    monkeypatch.setattr(world, "costs", {"mapped": 1.0, "copy": 0.25})
    run = measure(open_candidates(bundle, target="tensorrt", graphs=GRAPHS["on"]), QUICK)
    (note,) = [each for each in run.notes if each.startswith("memory of bundle")]
    assert note.startswith("memory of bundle was chosen by time: mapped memory ")
    (engine,) = run.engines.values()
    assert f"copies as the fastest of {note.partition(': ')[2]}" in engine.provider
    assert engine.device == 0


@pytest.mark.parametrize(("choice", "modes"), [("off", [False]), ("on", [True])])
def test_one_mode_alone(
    choice: str, modes: list[bool], built: tuple[Path, World], monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle, world = built
    install(monkeypatch, world)
    found = open_candidates(bundle, target="tensorrt", graphs=GRAPHS[choice])
    assert [each.cuda_graph for each in found] == modes


def test_without_graphs_there_is_one_and_the_reason(
    built: tuple[Path, World], monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle, world = built
    install(monkeypatch, world, "pycuda")
    (only,) = open_candidates(bundle, target="tensorrt")
    assert only.cuda_graph is False
    run = measure([only], QUICK)
    assert any("PyCUDA captures no CUDA graphs" in note for note in run.notes)
    with pytest.raises(LzuError, match="PyCUDA captures no CUDA graphs"):
        open_candidates(bundle, target="tensorrt", graphs=GRAPHS["on"])


def test_the_command_takes_the_choice(
    built: tuple[Path, World],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bundle, world = built
    install(monkeypatch, world)
    file = tmp_path / "latency.json"
    options = ["--min-queries", "2", "--warmup-seconds", "0", "--out", str(file)]
    main([str(bundle), "--target", "tensorrt-rtx", "--cuda-graph", "on", *options])
    assert "where its kernels are compiled first" in capsys.readouterr().out.replace("\n", " ")
    run = LatencyRun.model_validate_json(file.read_text())
    assert [each.cuda_graph for each in run.engines.values()] == [True]
