"""TensorRT on a device: build, run, CUDA graph, plugins; `make test-gpu` runs it by itself.

In a process without TensorRT for RTX, which has a registry of plugins of its own.
"""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="exporting needs torch")

from lzu_export.compiler.build_tensorrt import build_on_device
from lzu_export.compiler.derive import derive
from lzu_export.compiler.pipeline import export
from lzu_export.errors import LzuError
from lzu_export.evaluation.datasets import open_dataset
from lzu_export.manifest.schema import read_manifest
from lzu_export.recipes.load import load_recipe
from lzu_export.runtime import CameraFrame, load
from lzu_export.runtime.plugin_library import find_library
from lzu_export.runtime.reference import FILE, read_reference
from lzu_export.targets.base import OpenOptions
from lzu_export.targets.cuda.interface import open_cuda
from lzu_export.targets.tensorrt.open import open_engine
from lzu_export.tasks.predictors import make_predictor
from lzu_export.tasks.pytorch import noise_frame

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demonstration detector in FP32 and FP16, with its files for TensorRT."""
    settings = {"precision": ["fp32", "fp16"], "targets": ["onnxruntime"]}
    recipe = load_recipe("det-demo", {**settings, "evaluation.dataset": None})
    folder = export(recipe, tmp_path_factory.mktemp("demo")).folder
    derive(folder)
    return folder


@pytest.mark.usefixtures("gpu_device")
@pytest.mark.parametrize("back_end", ["cuda-python", "pycuda"])
def test_tensorrt_engine_of_the_demonstration_equals_pytorch(demo: Path, back_end: str) -> None:
    """It is built on this device, run on the reference, and run again through the runtime."""
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
    inputs = mine.preprocess([CameraFrame(frame)])
    one, two = mine.session.run(inputs), beside.run(inputs)
    for name, value in one.items():
        np.testing.assert_array_equal(value, two[name])


@pytest.mark.usefixtures("gpu_device")
def test_a_cuda_graph_changes_no_value(demo: Path) -> None:
    """Replaying the captured graph of an engine gives the values of single launches."""
    pytest.importorskip("tensorrt", reason="TensorRT is not installed")
    if not open_cuda().captures:
        pytest.skip("PyCUDA captures no CUDA graphs; pip install 'lzu-export[cuda]'")
    build_on_device(demo, precision="fp32")
    on, off = (
        load(demo, target="tensorrt", precision="fp32", graph=each) for each in (True, False)
    )
    for number in range(3):
        inputs = on.preprocess([CameraFrame(noise_frame(on.recipe.source, number))])
        one, two = on.session.run(inputs), off.session.run(inputs)
        for name, value in one.items():
            np.testing.assert_array_equal(value, two[name])


@pytest.mark.usefixtures("gpu_device")
def test_plugins_equal_the_operators_bodies_and_boxes_stay_on_the_device(
    tmp_path: Path,
) -> None:
    """The adaptive demonstration detector runs a sequence with the library of `make plugins`."""
    pytest.importorskip("tensorrt", reason="TensorRT is not installed")
    try:
        library = find_library()
    except LzuError as error:
        pytest.skip(str(error))
    settings = {"variant": "adaptive", "precision": ["fp32"], "targets": ["onnxruntime"]}
    recipe = load_recipe("det-demo", {**settings, "evaluation.dataset": None})
    bundle = export(recipe, tmp_path).folder
    derive(bundle, plugins=library)
    engine, _ = build_on_device(bundle, library=library)
    assert engine.on_device is not None
    assert all(each < 1e-3 for each in engine.on_device.outputs.values()), engine.on_device
    frames = [each.camera_frame.frame for each in open_dataset("demo", 6, "det").samples()]
    with_bodies = load(bundle)
    mine = load(bundle, target="tensorrt", plugins=library)
    assert "stay there" in mine.session.provider
    manifest = read_manifest(bundle)
    path = bundle / engine.file
    options = OpenOptions(library=library, feedback=False)
    session = open_engine(manifest, engine, path, open_cuda(), options)
    with np.load(bundle / "warp.npz") as arrays:
        by_host = make_predictor(manifest.recipe, session, dict(arrays))
    for frame in frames:
        found, told = mine(frame), by_host.run([CameraFrame(frame)])[0]
        for name in ("boxes", "scores", "labels"):
            np.testing.assert_array_equal(getattr(found, name), getattr(told, name))
        wanted = with_bodies(frame)
        with_bodies.set_boxes(found.boxes[: recipe.warp.most_fed])  # both see the next alike
        assert len(found) == len(wanted)
        np.testing.assert_allclose(found.boxes, wanted.boxes, atol=0.1)
        np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-3)


@pytest.mark.usefixtures("gpu_device")
def test_tensorrt_engine_in_fp16_finds_what_pytorch_finds(demo: Path) -> None:
    """Its best score equals PyTorch's within FP16's precision."""
    pytest.importorskip("tensorrt", reason="TensorRT is not installed")
    build_on_device(demo, precision="fp16")
    session = load(demo, target="tensorrt", precision="fp16").session
    for reference in read_reference(demo / FILE):
        best = session.run({"frame": reference.frames})["scores"].max(axis=1)
        np.testing.assert_allclose(best, reference.outputs["scores"].max(axis=1), atol=2e-2)
