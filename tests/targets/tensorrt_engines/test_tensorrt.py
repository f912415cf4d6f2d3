"""Builds of TensorRT over stand-ins of its oldest and newest release, and what is refused."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import helper

from fakes.install import install_tensorrt
from fakes.world import World
from lzu_export.errors import LzuError
from lzu_export.targets.cuda.memory import Device
from lzu_export.targets.tensorrt.build import (
    BuildOptions,
    build,
    engine_name,
    refuse_foreign,
    runtime_cache_name,
    timing_cache_name,
)
from samples import graph_model

ORIN = Device(0, "Orin", "8.7", integrated=True, multiprocessors=8)
ADA = Device(0, "NVIDIA RTX 4090", "8.9", integrated=False, multiprocessors=128)
VERSIONS = ("10.3.0", "11.4.0")


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    node = helper.make_node("Relu", ["x"], ["y"], name="rectify")
    onnx.save(graph_model([node], {"x": (1, 4)}, {"y": (1, 4)}), tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


class Shown:
    """Takes progress."""

    def __init__(self, stop: bool = False) -> None:
        self.said: list[tuple[Any, ...]] = []
        self.stop = stop

    def start(self, *what: Any) -> None:
        self.said.append(("start", *what))

    def step(self, *what: Any) -> None:
        self.said.append(("step", *what))
        if self.stop:
            raise KeyboardInterrupt

    def finish(self, *what: Any) -> None:
        self.said.append(("finish", *what))


@pytest.mark.parametrize("release", VERSIONS)
def test_an_engine_is_built(
    release: str, model: Path, world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """In every release plugins are registered first, and the engine is built without TF32."""
    trt = install_tensorrt(monkeypatch, world, release)
    engine = tmp_path / "model.engine"
    seen: list[int] = []

    def plugins(registry: Any) -> None:
        seen.append(len(world.calls))
        registry.load_library("liblzu_plugins.so")

    built = build(model, engine, ORIN, plugins=plugins)
    assert built.version == release
    assert built.compute_capabilities == ("8.7",)
    assert [(e.name, e.dtype, e.shape) for e in built.inputs] == [("x", "float32", (1, 4))]
    assert json.loads(engine.read_bytes())["tensors"][1] == ["y", "OUTPUT", "FLOAT", [1, 4]]
    world.check_order(
        "init_libnvinfer_plugins",
        "IPluginRegistry.load_library",
        "Builder.create_network",
        "OnnxParser.parse",
        "Builder.create_builder_config",
        "Builder.build_serialized_network",
    )
    assert ("IBuilderConfig.clear_flag", trt.BuilderFlag.TF32) in world.calls
    assert "IBuilderConfig.set_flag" not in world.names()
    verbosity = trt.ProfilingVerbosity.LAYER_NAMES_ONLY
    assert ("IBuilderConfig.profiling_verbosity=", verbosity) in world.calls


@pytest.mark.parametrize("release", VERSIONS)
def test_options_reach_tensorrt(
    release: str, model: Path, world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    trt = install_tensorrt(monkeypatch, world, release)
    options = BuildOptions(
        workspace=512, level=4, version_compatible=True, hardware="ampere+", detailed=True
    )
    assert options.portability == ("version", "ampere+")
    built = build(model, tmp_path / "model.engine", ADA, options=options)
    assert any("several cards" in note for note in built.notes)
    workspace = trt.MemoryPoolType.WORKSPACE
    level = trt.HardwareCompatibilityLevel.AMPERE_PLUS
    for call in (
        ("IBuilderConfig.set_memory_pool_limit", workspace, 512 << 20),
        ("IBuilderConfig.builder_optimization_level=", 4),
        ("IBuilderConfig.set_flag", trt.BuilderFlag.VERSION_COMPATIBLE),
        ("IBuilderConfig.hardware_compatibility_level=", level),
        ("IBuilderConfig.profiling_verbosity=", trt.ProfilingVerbosity.DETAILED),
        ("OnnxParser.set_flag", trt.OnnxParserFlag.NATIVE_INSTANCENORM),
    ):
        assert call in world.calls, call


def test_what_a_release_or_device_has_not_is_refused(
    model: Path, world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    install_tensorrt(monkeypatch, world, "10.3.0")
    engine = tmp_path / "model.engine"
    same = BuildOptions(hardware="same-capability")
    with pytest.raises(LzuError, match=r"10\.3\.0 has no hardware compatibility same-capability"):
        build(model, engine, ADA, options=same)
    with pytest.raises(LzuError, match="no hardware compatibility on Jetson"):
        build(model, engine, ORIN, options=BuildOptions(hardware="ampere+"))
    with pytest.raises(LzuError, match="level 9 is not within 0 to 5"):
        build(model, engine, ORIN, options=BuildOptions(level=9))
    assert not engine.exists()


def test_timings_are_kept_for_the_next_build(
    model: Path, world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    install_tensorrt(monkeypatch, world, "10.3.0")
    cache = tmp_path / timing_cache_name("10.3.0", ADA)
    assert cache.name == "timing.rtx-4090-128mp.trt-10.3.0.cache"
    for times in (1, 2):
        build(model, tmp_path / "model.engine", ADA, timing_cache=cache)
        assert cache.read_bytes() == b"timed;" * times


def test_progress_is_shown_and_can_be_broken_off(
    model: Path, world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Ctrl-C in a callback stops TensorRT by its own means, and no engine is written."""
    install_tensorrt(monkeypatch, world, "11.4.0")
    shown = Shown()
    build(model, tmp_path / "model.engine", ADA, phases=shown)
    assert shown.said == [
        ("start", "Building Engine", 2),
        ("start", "Tactics", 3),
        *(("step", "Tactics", done) for done in (1, 2, 3)),
        ("finish", "Tactics"),
        ("finish", "Building Engine"),
    ]
    with pytest.raises(LzuError, match="could not build"):
        build(model, tmp_path / "other.engine", ADA, phases=Shown(stop=True))
    assert not (tmp_path / "other.engine").exists()


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("Error Code 2: OutOfMemory (Requested size was 1 GB)", "the device is out of memory"),
        ("Error Code 10: Could not find any implementation\nmore", "Could not find any"),
    ],
)
def test_a_failed_build_is_one_sentence(
    said: str,
    told: str,
    model: Path,
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    install_tensorrt(monkeypatch, world, "10.3.0")
    vars(world)["build_error"] = said
    with pytest.raises(LzuError, match=told) as caught:
        build(model, tmp_path / "model.engine", ORIN)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "model.engine").exists()


def test_a_call_without_its_plugin_is_named(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    install_tensorrt(monkeypatch, world, "10.3.0")
    node = helper.make_node("SeparableUnzoom", ["x"], ["y"], name="unzoom", domain="lzu")
    made = graph_model([node], {"x": (1, 4)}, {"y": (1, 4)})
    made.opset_import.append(helper.make_opsetid("lzu", 1))
    onnx.save(made, tmp_path / "model.onnx")
    with pytest.raises(LzuError, match=r"node unzoom \(SeparableUnzoom\): Plugin not found.*LZU_"):
        build(tmp_path / "model.onnx", tmp_path / "model.engine", ORIN)
    load: Callable[[Any], object] = lambda registry: registry.load_library("lzu")  # noqa: E731
    build(tmp_path / "model.onnx", tmp_path / "model.engine", ORIN, plugins=load)


def test_a_machine_without_tensorrt_is_told_what_to_do(
    model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(LzuError, match=r"TensorRT does not import .* comes with JetPack"):
        build(model, tmp_path / "model.engine", ORIN)


def test_both_tensorrts_build_in_one_process(
    model: Path, world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Neither module changes anything in the other."""
    from lzu_export.targets.tensorrt import rtx as tensorrt_rtx

    install_tensorrt(monkeypatch, world, "1.7.1")
    install_tensorrt(monkeypatch, world, "10.3.0")
    for _ in range(2):
        one = build(model, tmp_path / "one.engine", ADA)
        two = tensorrt_rtx.build(model, tmp_path / "two.engine")
        assert (one.version, two.version) == ("10.3.0", "1.7.1")


def refused(**changes: Any) -> str | None:
    said = {
        "built_with": "10.3.0",
        "capabilities": ("8.7",),
        "model": ORIN.model,
        "portability": (),
        "version": "10.3.0",
        "device": ORIN,
    }
    try:
        refuse_foreign("model.engine", **{**said, **changes})
    except LzuError as error:
        return str(error)
    return None


def test_plans_of_elsewhere_are_refused_before_tensorrt_sees_them() -> None:
    assert refused() is None
    message = refused(version="10.7.0") or ""
    assert "was built with TensorRT 10.3.0 but this is TensorRT 10.7.0; build it here" in message
    message = refused(device=ADA) or ""
    assert "built for compute capability 8.7 but NVIDIA RTX 4090 has 8.9" in message
    portable = {"portability": ("version",)}
    assert refused(version="10.7.0", **portable) is None
    assert refused(version="10.2.0", **portable)
    assert refused(version="11.4.0", **portable)
    assert refused(device=ADA, portability=("ampere+",)) is None
    assert refused(device=Device(0, "T4", "7.5", integrated=False), portability=("ampere+",))
    assert refused(device=ADA, portability=("same-capability",))


def test_a_plan_is_of_one_model_of_device() -> None:
    """Jetsons of a family share name and capability; cards of a generation share the capability."""
    larger = replace(ORIN, multiprocessors=16)
    message = refused(device=larger) or ""
    assert "was built on Orin, 8 multiprocessors but this is Orin, 16 multiprocessors" in message
    assert refused(device=larger, portability=("version",))
    assert refused(device=larger, model="") is None  # of a bundle that does not say
    smaller = Device(0, "NVIDIA RTX 4060", "8.9", integrated=False, multiprocessors=24)
    said = {"device": smaller, "model": ADA.model, "capabilities": ("8.9",)}
    assert "was built on NVIDIA RTX 4090" in (refused(**said) or "")
    for word in ("same-capability", "ampere+"):
        assert refused(**said, portability=(word,)) is None
        assert refused(**said, portability=("version", word)) is None


def test_names_say_what_runs_a_file() -> None:
    assert engine_name("fp16", "10.3.0", ORIN) == "model.fp16.trt-10.3.0-sm87.orin-8mp.engine"
    assert runtime_cache_name("a.engine", "1.7.1", ADA) == "a.engine.rtx-4090-128mp.1.7.1.cache"
