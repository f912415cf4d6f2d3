"""What only an NVIDIA GPU can show; run by `make test-gpu`."""

import ctypes
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lzu_export.engines.onnxruntime import OnnxRuntimeSession
from lzu_export.pipeline import export
from lzu_export.recipes.load import validate
from lzu_export.runtime.manifest import read_manifest
from lzu_export.runtime.reference import FILE, read_reference
from lzu_export.tasks.outputs import compare_outputs

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def _driver() -> None:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        pytest.skip("no NVIDIA driver on this machine (libcuda.so.1 does not load)")


@pytest.mark.usefixtures("_driver")
def test_onnxruntime_on_cuda_equals_pytorch(tiny_bundle: Path) -> None:
    """The shipped ONNX file on the CUDA provider, TF32 or not, stays near the reference."""
    import onnxruntime

    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has no CUDA provider; install lzu-export[gpu] instead")
    manifest = read_manifest(tiny_bundle)
    session = OnnxRuntimeSession(
        tiny_bundle / manifest.engines[0].file, provider="CUDAExecutionProvider"
    )
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
    (engine,) = outcome.manifest.engines
    from polygraphy import config

    config.USE_TENSORRT_RTX = True
    from polygraphy.backend.trt import TrtRunner, engine_from_path

    with TrtRunner(engine_from_path(str(outcome.folder / engine.file))) as runner:
        for reference in read_reference(outcome.folder / FILE):
            outputs = dict(runner.infer({"frame": reference.frames}))
            differences = compare_outputs(recipe, outputs, reference.outputs)
            assert all(value < 1e-3 for value in differences.values()), differences
