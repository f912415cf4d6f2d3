"""OpenVINO as a target: its passes, its session, and a bundle that is exported for it."""

import os
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from lzu_export.bundle.bundle import Bundle
from lzu_export.bundle.load import load
from lzu_export.compiler.pipeline import export
from lzu_export.errors import ElsewhereError, LzuError
from lzu_export.graph.derivation import lower_for
from lzu_export.graph.lint import lint
from lzu_export.manifest.schema import SHIPPED_NOTE
from lzu_export.support.session import TensorSpec
from lzu_export.targets import openvino as module
from lzu_export.targets.registry import find
from lzu_export.tasks.pytorch import noise_frame
from lzu_export.verification import parity
from lzu_export.verification.parity import verify_all
from samples import Network, dialect, noise_frames, run_onnx, tiny_recipe

SHAPE = (1, 3, 24, 32)
INSTALLED = find("openvino").version() is not None
needs_openvino = pytest.mark.skipif(not INSTALLED, reason="openvino is not installed")


def quantised() -> onnx.ModelProto:
    """Two products side by side, a scale and a shift by channel, and an INT8 convolution."""
    net = Network(x=SHAPE)
    half = np.random.default_rng(1).uniform(0, 0.1, (32, 16)).astype(np.float32)
    parts = [net.op("MatMul", "x", half * (1 + i), to=f"part{i}") for i in range(2)]
    net.op("Concat", *parts, to="zoom", axis=3)
    scale = np.array([0.5, 1.0, 2.0], np.float32).reshape(1, 3, 1, 1)
    net.op("Mul", "zoom", scale, to="scaled")
    net.op("Add", "scaled", scale - 1, to="zoomed")
    step, zero = np.float32(0.02), np.int8(0)
    net.op("QuantizeLinear", "zoomed", np.array(step), np.array(zero), to="codes")
    net.op("DequantizeLinear", "codes", np.array(step), np.array(zero), to="image")
    weights = np.random.default_rng(2).integers(-127, 128, (8, 3, 3, 3)).astype(np.int8)
    steps, zeros = np.full(8, 0.01, np.float32), np.zeros(8, np.int8)
    net.op("DequantizeLinear", weights, steps, zeros, to="weights", axis=0)
    net.op("Conv", "image", "weights", to="y", kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    return net.model("y")


def values(seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).uniform(-1, 1, SHAPE).astype(np.float32)


def noise(value: Any, reference: Any) -> float:
    """Signal-to-noise ratio in dB."""
    return float(10 * np.log10(np.mean(reference**2) / np.mean((value - reference) ** 2)))


def test_the_normalisation_becomes_a_convolution_of_the_same_values() -> None:
    """Only a normalisation before a quantisation is; weights lose a bit at double the scale."""
    model = quantised()
    lowered, records = lower_for(dialect("openvino"), model, {})
    lint(lowered, dialect("openvino"))
    assert [each.name for each in records][-2:] == ["convolve-normalisation", "seven-bit-weights"]
    kinds = [node.op_type for node in lowered.graph.node]
    assert "Mul" not in kinds
    assert "Add" not in kinds
    (made,) = [node for node in lowered.graph.node if "zoomed" in node.output]
    assert made.op_type == "Conv"
    found = {each.name: numpy_helper.to_array(each) for each in lowered.graph.initializer}
    (weights,) = [each for each in found.values() if each.dtype == np.int8 and each.ndim == 4]
    assert np.abs(weights).max() == 64
    assert noise(run_onnx(lowered, x=values())["y"], run_onnx(model, x=values())["y"]) > 35
    plain = Network(x=SHAPE)
    plain.op("Mul", "x", np.ones((1, 3, 1, 1), np.float32), to="scaled")
    plain.op("Add", "scaled", np.ones((1, 3, 1, 1), np.float32), to="y")
    kept, _ = lower_for(dialect("openvino"), plain.model("y"), {})
    assert [node.op_type for node in kept.graph.node] == ["Mul", "Add"]


def test_without_the_library_an_engine_is_for_elsewhere(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names the extra that installs the library."""

    def absent(_: str) -> str:
        raise PackageNotFoundError

    monkeypatch.setattr(module, "version", absent)
    target, (engine,) = find("openvino"), Bundle(tiny_bundle).manifest.engines
    mine = engine.model_copy(update={"target": "openvino"})
    with pytest.raises(ElsewhereError, match=r"OpenVINO is not installed; .*\[openvino\]"):
        target.refuse_elsewhere(mine, lambda: None)
    bundle = Bundle(tiny_bundle)
    made = bundle.manifest.model_copy(update={"engines": (engine, mine)})
    here = Bundle(tiny_bundle, made).here()
    assert list(here.engines) == [engine]
    assert list(here.elsewhere) == ["openvino/fp32"]


def test_a_session_is_fed_what_it_takes() -> None:
    """OpenVINO drops unused inputs of a probe's graph, such as a camera matrix."""
    session: Any = SimpleNamespace(inputs=(TensorSpec("x", "float32", SHAPE),))
    found = parity._taken(session, {"x": values(), "cam2img": np.eye(3)})
    assert list(found) == ["x"]
    np.testing.assert_array_equal(found["x"], values())


@needs_openvino
def test_quantised_products_are_those_of_onnx_runtime() -> None:
    """Without its own passes OpenVINO would compute another image."""
    lowered, _ = lower_for(dialect("openvino"), quantised(), {})
    expected = run_onnx(lowered, x=values())["y"]
    session = find("openvino").session(lowered.SerializeToString())
    assert noise(session.run({"x": values()})["y"], expected) > 60


@needs_openvino
def test_a_session_says_what_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names, types and shapes are the graph's; a file that is no model is refused."""
    monkeypatch.delenv("CI", raising=False)
    session = find("openvino").session(quantised().SerializeToString(), threads=1)
    assert [(s.name, s.dtype, s.shape) for s in session.inputs] == [("x", "float32", SHAPE)]
    assert [(s.name, s.dtype, s.shape) for s in session.outputs] == [
        ("y", "float32", (1, 8, 24, 32))
    ]
    assert session.provider == "OpenVINO CPU"
    assert "CI" not in os.environ
    with pytest.raises(LzuError, match="the engine's input x is missing"):
        session.run({})
    with pytest.raises(LzuError, match="OpenVINO cannot open the model: ") as caught:
        find("openvino").session(b"no model")
    assert "\n" not in str(caught.value)
    session.close()
    session.close()
    with pytest.raises(LzuError, match="the session is closed; open another"):
        session.run({"x": session.host("x")})


@needs_openvino
def test_a_bundle_is_exported_verified_and_loaded(tmp_path: Path) -> None:
    """FP32 and INT8 are scored and timed beside ONNX Runtime's; FP16 has no OpenVINO engine."""
    frames = noise_frames(tmp_path / "frames", 4, seed=100)
    recipe = tiny_recipe(
        tmp_path,
        targets=["onnxruntime", "openvino"],
        precision=["fp32", "fp16", "int8"],
        calibration={"frames": str(frames), "count": 4},
        lowering={"zoom": "banded", "unzoom": "matmul"},
    )
    outcome = export(recipe, tmp_path)
    manifest = outcome.manifest
    mine = [each for each in manifest.engines if each.target == "openvino"]
    assert [each.precision for each in mine] == ["fp32", "int8"]
    assert {each.file for each in mine} == {f"model.{p}.openvino.onnx" for p in ("fp32", "int8")}
    assert manifest.latency is not None
    assert {"openvino/fp32", "openvino/int8"} < set(manifest.latency.engines)
    parities = [each for each in verify_all(Bundle(outcome.folder)) if each.target == "openvino"]
    assert [each.passed for each in parities] == [True, True]
    assert {(each.status, each.note) for each in parities} == {("passed", SHIPPED_NOTE)}
    frame = noise_frame((96, 160), seed=1)
    own, other = (load(outcome.folder, target=each) for each in ("openvino", "onnxruntime"))
    assert own.session.provider == "OpenVINO CPU"
    np.testing.assert_allclose(own(frame).scores, other(frame).scores, rtol=1e-4)
