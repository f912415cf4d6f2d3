"""What only an NVIDIA GPU can show; run by `make test-gpu`."""

import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

pytest.importorskip("torch", reason="exporting needs torch")

from lzu_export.compiler.pipeline import export
from lzu_export.graph.derivation import lower_for
from lzu_export.manifest.schema import read_manifest
from lzu_export.recipes.load import validate
from lzu_export.recipes.schema import HigherPrecision
from lzu_export.runtime import load
from lzu_export.runtime.reference import FILE, read_reference
from lzu_export.support.files.places import user_folder
from lzu_export.support.interpreter import run_program
from lzu_export.targets.onnxruntime import PROVIDERS, OnnxRuntimeSession
from lzu_export.targets.precision import calibrated_tensors, int8_graph
from lzu_export.tasks.outputs import compare_outputs
from samples import dialect

pytestmark = pytest.mark.gpu


@pytest.mark.usefixtures("gpu_driver")
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


@pytest.mark.usefixtures("gpu_driver")
def test_the_provider_of_rtx_cards_equals_pytorch(tiny_bundle: Path) -> None:
    """In a process of its own, as its libraries do not go together with those of tensorrt_rtx."""
    if find_spec("onnxruntime_ep_nv_tensorrt_rtx") is None:
        pytest.skip("NVIDIA's provider is not installed (extra rtxprovider)")
    program = """
import sys
from pathlib import Path
import numpy as np
from lzu_export.runtime import load
from lzu_export.runtime.reference import read_reference

session = load(sys.argv[1], provider="nv-tensorrt-rtx").session
for reference in read_reference(Path(sys.argv[1], "reference.npz")):
    for _ in range(3):  # from the second run on by a CUDA graph
        outputs = session.run({"frame": reference.frames})
    np.testing.assert_allclose(outputs["scores"], reference.outputs["scores"], rtol=0, atol=2e-3)
print(session.provider)
"""
    done = subprocess.run(
        run_program(program, str(tiny_bundle)), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "NvTensorRTRTXExecutionProvider"


@pytest.mark.usefixtures("gpu_device")
def test_tensorrt_rtx_engine_equals_pytorch(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    """An engine built ahead of time, zoom and all, gives PyTorch's candidates on this card."""
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed (extra rtx)")
    recipe = validate({**tiny_recipe, "targets": ["tensorrt-rtx"]}, "tiny")
    outcome = export(recipe, tmp_path)
    for graph in (False, None):
        session = load(outcome.folder, target="tensorrt-rtx", graph=graph).session
        for reference in read_reference(outcome.folder / FILE):
            outputs = session.run({"frame": reference.frames})
            differences = compare_outputs(recipe, outputs, reference.outputs)
            assert all(value < 1e-3 for value in differences.values()), differences
    assert not session.graph_note, session.graph_note
    folder = user_folder()
    assert folder is not None
    assert list((folder / "kernels").glob("*.cache")), "nothing that was compiled is kept"


@pytest.mark.usefixtures("gpu_driver")
def test_int8_convolutions_read_int8_on_this_card(tiny_bundle: Path, tmp_path: Path) -> None:
    """The engine inspector lists in INT8 what the parsed network requests in INT8."""
    trt = pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed (extra rtx)")
    from engine_information import not_in_int8
    from lzu_export.targets.tensorrt.parsed_network import int8_convolutions
    from lzu_export.targets.tensorrt.rtx import build

    model = onnx.load(tiny_bundle / "model.fp32.onnx")
    ranges = dict.fromkeys(calibrated_tensors(model, HigherPrecision()), 8.0)
    lowerings: Any = {
        each.place: "matmul" for each in read_manifest(tiny_bundle).engines[0].lowerings
    }
    lowered, _ = lower_for(
        dialect("tensorrt-rtx"), int8_graph(model, ranges, HigherPrecision()).model, lowerings
    )
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
