"""What only an NVIDIA GPU can show; run by `make test-gpu`."""

import ctypes
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from lzu_export.device_build import build_on_device
from lzu_export.engines.onnxruntime import PROVIDERS, OnnxRuntimeSession
from lzu_export.graph.targets import lower_for
from lzu_export.pipeline import export
from lzu_export.precision import calibrated_tensors, int8_graph
from lzu_export.recipes.load import load_recipe, validate
from lzu_export.recipes.schema import KeepHigh
from lzu_export.runtime import Shot, load
from lzu_export.runtime.manifest import read_manifest
from lzu_export.runtime.reference import FILE, read_reference
from lzu_export.tasks.outputs import compare_outputs
from lzu_export.tasks.pytorch import noise_frame

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def _driver() -> None:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        pytest.skip("no NVIDIA driver on this machine (libcuda.so.1 does not load)")


@pytest.mark.usefixtures("_driver")
@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_onnxruntime_on_the_gpu_equals_pytorch(tiny_bundle: Path, provider: str) -> None:
    """The shipped ONNX file stays near the reference on either provider."""
    import onnxruntime

    name = PROVIDERS[provider][0][0]
    if name not in onnxruntime.get_available_providers():
        pytest.skip(f"this ONNX Runtime has no {name}; install lzu-export[gpu] instead")
    manifest = read_manifest(tiny_bundle)
    session = OnnxRuntimeSession(tiny_bundle / manifest.engines[0].file, provider=provider)
    for reference in read_reference(tiny_bundle / FILE):
        outputs = session.run({"frame": reference.frames})
        scores = outputs["scores"], reference.outputs["scores"]
        np.testing.assert_allclose(*scores, rtol=0, atol=2e-3)


@pytest.mark.usefixtures("_driver")
def test_tensorrt_rtx_engine_equals_pytorch(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    """An engine built ahead of time, zoom and all, gives PyTorch's candidates on this card."""
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed (extra rtx)")
    recipe = validate({**tiny_recipe, "targets": ["tensorrt-rtx"]}, "tiny")
    outcome = export(recipe, tmp_path)
    session = load(outcome.folder, target="tensorrt-rtx").session
    for reference in read_reference(outcome.folder / FILE):
        outputs = session.run({"frame": reference.frames})
        differences = compare_outputs(recipe, outputs, reference.outputs)
        assert all(value < 1e-3 for value in differences.values()), differences
    assert not session.graph_note, session.graph_note


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demonstration detector in FP32 and FP16, with its files for TensorRT."""
    from lzu_export.derive import derive

    settings = {"precision": ["fp32", "fp16"], "targets": ["onnxruntime"]}
    recipe = load_recipe("det-demo", {**settings, "evaluation.dataset": None})
    folder = export(recipe, tmp_path_factory.mktemp("demo")).folder
    derive(folder)
    return folder


@pytest.mark.usefixtures("_driver")
@pytest.mark.parametrize("back_end", ["cuda-python", "pycuda"])
def test_tensorrt_engine_of_the_demonstration_equals_pytorch(demo: Path, back_end: str) -> None:
    """Built on this device, run on the reference, and again through the runtime."""
    pytest.importorskip("tensorrt", reason="TensorRT is not installed")
    module = {"cuda-python": "cuda.bindings.runtime", "pycuda": "pycuda.driver"}[back_end]
    pytest.importorskip(module, reason=f"{back_end} is not installed", exc_type=ImportError)
    engine, _ = build_on_device(demo, precision="fp32", back_end=back_end)
    assert engine.on_device is not None
    assert all(each < 1e-3 for each in engine.on_device.outputs.values()), engine.on_device
    recipe = read_manifest(demo).recipe
    mine = load(demo, target="tensorrt", precision="fp32", cuda=back_end)
    theirs = load(demo, precision="fp32")
    frame = noise_frame(recipe.source, 0)
    for _ in range(3):  # by a graph where there is one: the frame before leaves no trace
        np.testing.assert_allclose(mine(frame).scores, theirs(frame).scores, atol=1e-3)
    if back_end == "cuda-python":
        assert not mine.session.graph_note, mine.session.graph_note
    # Another session of the same engine on a stream of its own.
    beside = mine.session.another()
    inputs = mine.prepare([Shot(frame)])
    one, two = mine.session.run(inputs), beside.run(inputs)
    for name, value in one.items():
        np.testing.assert_array_equal(value, two[name])


@pytest.mark.usefixtures("_driver")
def test_tensorrt_engine_in_fp16_finds_what_pytorch_finds(demo: Path) -> None:
    """Its best score is PyTorch's within what half precision costs."""
    pytest.importorskip("tensorrt", reason="TensorRT is not installed")
    build_on_device(demo, precision="fp16")
    session = load(demo, target="tensorrt", precision="fp16").session
    for reference in read_reference(demo / FILE):
        best = session.run({"frame": reference.frames})["scores"].max(axis=1)
        np.testing.assert_allclose(best, reference.outputs["scores"].max(axis=1), atol=2e-2)


@pytest.mark.usefixtures("_driver")
def test_int8_convolutions_read_int8_on_this_card(tiny_bundle: Path, tmp_path: Path) -> None:
    """What the parsed network requests, the engine inspector sees in the engine."""
    trt = pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed (extra rtx)")
    from lzu_export.engines.parsed_network import int8_convolutions, not_in_int8
    from lzu_export.engines.tensorrt_rtx import build

    model = onnx.load(tiny_bundle / "model.fp32.onnx")
    ranges = dict.fromkeys(calibrated_tensors(model, KeepHigh()), 8.0)
    kinds: Any = {each.place: "matmul" for each in read_manifest(tiny_bundle).engines[0].lowerings}
    lowered, _ = lower_for("tensorrt-rtx", int8_graph(model, ranges, KeepHigh()).model, kinds)
    path = tmp_path / "int8.onnx"
    onnx.save(lowered, path)
    build(path, tmp_path / "int8.engine", detailed=True)
    runtime = trt.Runtime(trt.Logger(trt.Logger.ERROR))
    engine = runtime.deserialize_cuda_engine((tmp_path / "int8.engine").read_bytes())
    context = engine.create_execution_context()
    inspector = engine.create_engine_inspector()
    inspector.execution_context = context
    information = inspector.get_engine_information(trt.LayerInformationFormat.JSON)
    missed = not_in_int8(information, int8_convolutions(lowered))
    assert not missed, f"requested in INT8, but run otherwise: {', '.join(missed)}"
