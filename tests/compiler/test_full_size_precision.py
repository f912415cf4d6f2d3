"""RetinaNet-R50 in all precisions: how small its files become, what a cache of its ranges saves."""

import os
import time

import onnx
import pytest

from lzu_export.compiler.pipeline import Outcome, export
from lzu_export.quantization.ranges import find_ranges, measure_ranges
from lzu_export.recipes import load_recipe
from lzu_export.support.progress import Reporter
from lzu_export.tasks.warps import make_warp
from samples import noise_frames

pytestmark = pytest.mark.slow

FRAMES = 8


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """The recipe of the paper's detector at half scale, untrained."""
    folder = tmp_path_factory.mktemp("full-size")
    frames = noise_frames(folder / "frames", FRAMES, (1200, 1920), name="{}.jpg")
    recipe = load_recipe(
        "argoverse-hd",
        {
            "random_weights": 0,
            "warp.saliency": str(load_recipe("det").warp.saliency),
            "targets": ["onnxruntime"],
            "lowering.zoom": "banded",
            "lowering.unzoom": "matmul",
            "calibration.frames": str(frames),
            "calibration.count": FRAMES,
        },
    )
    return export(recipe, folder / "build")


def test_files_shrink_with_the_precision(exported: Outcome) -> None:
    """FP16 and INT8 take just over half and a quarter, as decoding constants stay float32."""
    full, half, int8 = (
        (exported.folder / graph.file).stat().st_size for graph in exported.manifest.graphs.values()
    )
    assert half <= 0.55 * full
    assert int8 <= 0.4 * full


def test_int8_weights_are_stored_once_in_bytes(exported: Outcome) -> None:
    """They are read through a DequantizeLinear only: no weight is quantised at run time."""
    model = onnx.load(exported.folder / "model.int8.onnx")
    quantised = {n.input[0] for n in model.graph.node if n.op_type == "QuantizeLinear"}
    assert not quantised & {tensor.name for tensor in model.graph.initializer}
    assert len(exported.manifest.graphs["int8"].int8_layers) > 60


def test_a_cache_is_exact_and_saves_nine_tenths(exported: Outcome) -> None:
    """Cached ranges are equal to the last bit and save nine tenths of the measuring time."""
    recipe, folder = exported.manifest.recipe, exported.folder
    frames = folder.parents[2] / "frames"
    calibration = recipe.calibration.model_copy(update={"frames": str(frames)})
    recipe = recipe.model_copy(update={"calibration": calibration})
    model = onnx.load(folder / "model.fp32.onnx")
    lowerings = {each.place: each.kind for each in exported.manifest.engines[0].lowerings}
    saliency = load_recipe("det").warp.saliency
    warp = make_warp(
        recipe.model_copy(update={"warp": recipe.warp.model_copy(update={"saliency": saliency})})
    ).arrays()
    cpu = []
    found = []
    for get in (
        lambda: measure_ranges(recipe, model, lowerings, warp, Reporter(quiet=True)),  # type: ignore[arg-type]
        lambda: find_ranges(recipe, model, folder / "calibration.json"),
    ):
        before, start = os.times(), time.perf_counter()
        found.append(get())
        after = os.times()
        cpu.append(after.user + after.system - before.user - before.system)
        print(f"{time.perf_counter() - start:.2f} s")
    measured, cached = found
    assert cached is not None
    assert cached.ranges == measured.ranges
    assert cpu[0] > 10 * cpu[1]
