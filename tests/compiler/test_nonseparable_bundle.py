"""Non-separable warps behind a recipe: exported, verified, drawn and built again."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest

from lzu_export.bundle.bundle import Bundle
from lzu_export.bundle.run import apply
from lzu_export.compiler.build_rtx import build_rtx
from lzu_export.compiler.derive import derive
from lzu_export.compiler.pipeline import Outcome, export
from lzu_export.errors import LzuError
from lzu_export.manifest.schema import read_manifest
from lzu_export.recipes import list_recipes, load_recipe
from lzu_export.runtime import load
from lzu_export.runtime.preprocess import ZoomedInput
from lzu_export.support.progress import Reporter
from lzu_export.targets.tensorrt.rtx import version as rtx_version
from lzu_export.tasks.pytorch import noise_camera_frame, noise_frame, torch_predictor
from lzu_export.tasks.training import check_training
from lzu_export.tasks.warps import make_warp, stored_warp, trained_note
from lzu_export.verification.parity import verify_engine
from lzu_export.warp.grids import GridTable
from samples import SLOW_DET3D, noise_frames, saliency_file, tiny_recipe

SOURCE = (96, 160)
ALL = ("fp32", "fp16", "int8")
RTX = ["tensorrt-rtx"] if rtx_version() is not None else []
ADAPTIVE: dict[str, Any] = {
    "variant": "adaptive",
    "warp": {"boxes": 20, "bandwidth": 20.0},
    "postprocess": {"score_threshold": 0.001, "candidates_per_level": 50},
}


def made(folder: Path, task: str, frames: Path | None = None, **changes: Any) -> Outcome:
    """A bundle; with frames to calibrate on of all precisions, for all targets that are here."""
    warp = {**changes.pop("warp", {}), "separable": False}
    whole: dict[str, Any] = {}
    if frames is not None:
        whole = {
            "precision": list(ALL),
            "targets": ["onnxruntime", *RTX],
            "calibration": {"frames": str(frames), "count": 3},
        }
    return export(tiny_recipe(folder, task, warp=warp, **whole, **changes), folder)


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return noise_frames(tmp_path_factory.mktemp("frames"), 3, SOURCE)


@pytest.fixture(scope="module")
def fixed(tmp_path_factory: pytest.TempPathFactory, frames: Path) -> Outcome:
    return made(tmp_path_factory.mktemp("fixed"), "det", frames)


@pytest.fixture(scope="module")
def adaptive(tmp_path_factory: pytest.TempPathFactory, frames: Path) -> Outcome:
    return made(tmp_path_factory.mktemp("adaptive"), "det", frames, **ADAPTIVE)


def check_whole(outcome: Outcome) -> None:
    """Every engine is there and within its limits; grids and knots are float32 in all graphs."""
    passed = {(each.target, each.precision): each.status for each in outcome.manifest.parity}
    wanted = {"onnxruntime": "passed", **dict.fromkeys(RTX, "graph passed")}
    rounded = {("emulated", p): "graph passed" for p in ALL if p != "fp32"}
    assert passed == {(t, p): status for t, status in wanted.items() for p in ALL} | rounded
    for engine in outcome.manifest.engines:
        assert (outcome.folder / engine.file).stat().st_size > 0
        check_float_positions(onnx.load(outcome.folder / engine.onnx))


def check_float_positions(model: onnx.ModelProto) -> None:
    model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    values = (*model.graph.value_info, *model.graph.input, *model.graph.output)
    types = {each.name: each.type.tensor_type.elem_type for each in values}
    types |= {each.name: each.data_type for each in model.graph.initializer}
    halves = {n.output[0] for n in model.graph.node if types[n.output[0]] == types_of("float16")}
    made_by = {name: node for node in model.graph.node for name in node.output}
    for node in model.graph.node:
        if node.op_type == "GridSample":
            assert types[node.input[1]] == types_of("float32")
            assert types[node.input[0]] == types_of("float32")
            waiting, seen = [node.input[1]], set()
            while waiting:
                name = waiting.pop()
                assert name not in halves
                if name in made_by and name not in seen:
                    seen.add(name)
                    waiting += made_by[name].input
    assert not [n for n in model.graph.node if n.domain not in ("", "ai.onnx")]


def types_of(name: str) -> int:
    return int(onnx.helper.np_dtype_to_tensor_dtype(np.dtype(name)))


def test_a_fixed_detector_in_every_precision_for_every_target(fixed: Outcome) -> None:
    check_whole(fixed)
    assert fixed.folder.name == "tiny-fixed-0.5x-nonseparable"
    assert fixed.manifest.recipe.warp.separable is False
    lowerings = {each.kind for engine in fixed.manifest.engines for each in engine.lowerings}
    assert lowerings <= {"gridsample", "gather"}


def test_an_adaptive_detector_in_every_precision_for_every_target(adaptive: Outcome) -> None:
    check_whole(adaptive)
    assert adaptive.folder.name == "tiny-adaptive-0.5x-nonseparable"
    assert all("knots" in each.probes for each in adaptive.manifest.parity if each.limit)
    model = onnx.load(adaptive.folder / "model.int8.onnx")
    calls = [node.op_type for node in model.graph.node if node.domain == "lzu"]
    assert calls.count("InvertWarp") == 1  # at the finest level, for all levels
    assert calls.count("GridResample") == 4


@pytest.mark.parametrize("kind", ["fixed", "adaptive"])
def test_int8_warps_at_the_scale_of_what_they_read(
    kind: str, request: pytest.FixtureRequest
) -> None:
    outcome: Outcome = request.getfixturevalue(kind)
    model = onnx.load(outcome.folder / "model.int8.onnx")
    made_by = {name: node for node in model.graph.node for name in node.output}
    values = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    warps = [
        node
        for node in model.graph.node
        if node.op_type == "GridResample" and node.output[0] != "zoom"
    ]
    assert len(warps) == 3
    for node in warps:
        before = made_by[node.input[0]]
        (behind,) = (n for n in model.graph.node if node.output[0] in n.input)
        assert (before.op_type, behind.op_type) == ("DequantizeLinear", "QuantizeLinear")
        assert values[before.input[1]] == values[behind.input[1]]


@pytest.mark.skipif(not RTX, reason="bf16 is for TensorRT-RTX, which is not installed")
@pytest.mark.parametrize("changes", [{}, {"lowering": {"zoom": "gridsample"}}])
def test_bf16_is_derived_for_tensorrt(changes: dict[str, Any], tmp_path: Path) -> None:
    """It never has a GridSample, whichever lowering the recipe asks for."""
    warp = {"separable": False}
    whole = {"precision": ["fp32", "bf16"], "targets": ["onnxruntime", *RTX]}
    bundle = export(tiny_recipe(tmp_path, "det", warp=warp, **whole, **changes), tmp_path).folder
    found = derive(bundle, precision="bf16")
    assert [each["status"] for each in found] == ["graph passed"]
    (derived,) = read_manifest(bundle).derived
    assert {each.kind for each in derived.lowerings} == {"gather"}
    operators = {node.op_type for node in onnx.load(bundle / derived.file).graph.node}
    assert "GridSample" not in operators


@pytest.mark.parametrize("task", ["seg", SLOW_DET3D])
def test_other_tasks_equal_pytorch(task: str, tmp_path: Path) -> None:
    outcome = made(tmp_path, task)
    (parity,) = outcome.manifest.parity
    assert parity.status == "passed"
    recipe = outcome.manifest.recipe
    with np.load(outcome.folder / "warp.npz") as arrays:
        warp = stored_warp(dict(arrays))
    assert isinstance(warp.zoom, GridTable)
    camera_frame = noise_camera_frame(recipe, seed=5)
    reference = torch_predictor(tiny_recipe(tmp_path, task, warp={"separable": False}), warp)
    (mine,), (theirs,) = load(outcome.folder).run([camera_frame]), reference.run([camera_frame])
    for name in ("labels", "boxes", "scores"):
        if hasattr(mine, name):
            np.testing.assert_allclose(getattr(mine, name), getattr(theirs, name), atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["seg", "det3d"])
def test_other_tasks_in_every_precision_for_every_target(
    task: str, tmp_path: Path, frames: Path
) -> None:
    check_whole(made(tmp_path, task, frames))


def test_the_zoom_may_be_the_runtime_s(tmp_path: Path) -> None:
    """This includes warps that span zeros beyond the frame, with the unzoom after the backbone."""
    changes: dict[str, Any] = {"input": "zoomed", "source_multiple": 64}
    (parity,) = made(tmp_path, "seg", model={"cut": "backbone"}, **changes).manifest.parity
    assert parity.status == "passed"


def test_host_and_graph_zoom_alike(tmp_path: Path) -> None:
    from lzu_export.tasks.pytorch import assemble

    recipe = tiny_recipe(tmp_path, warp={"separable": False}, source_multiple=64)
    warp, frame = make_warp(recipe), noise_frame(SOURCE, seed=1)
    host = ZoomedInput(recipe, warp.zoom)(frame[None])
    module: Any = assemble(recipe, warp, from_source=True).to_canvas
    import torch

    with torch.no_grad():  # in training positions are single numbers
        canvas = module(torch.from_numpy(frame[None])).numpy()
    np.testing.assert_allclose(host[:, :, : canvas.shape[2], : canvas.shape[3]], canvas, atol=1e-5)


@pytest.mark.parametrize("kind", ["fixed", "adaptive"])
def test_its_warp_is_drawn_and_it_verifies(
    kind: str, request: pytest.FixtureRequest, frames: Path, tmp_path: Path
) -> None:
    outcome: Outcome = request.getfixturevalue(kind)
    out, report = tmp_path / "run", Reporter(quiet=True)
    counts = apply(outcome.folder, frames, out, show_warp=True, report=report)
    assert counts["frames"] == 3
    pictures = [cv2.imread(str(out / f"{i}.png")) for i in range(3)]
    assert all(each is not None and each.shape[1] > 2 * SOURCE[1] for each in pictures)
    for engine in outcome.manifest.engines:
        parity = verify_engine(Bundle(outcome.folder, outcome.manifest), engine)
        assert parity.status in ("passed", "graph passed")


def test_the_picture_of_a_warp_shows_the_zoom_of_the_engine(adaptive: Outcome) -> None:
    """The drawn adaptive warp is computed in float64, apart from the graph."""
    detector = load(adaptive.folder)
    frame = noise_frame(SOURCE, seed=9)
    detector(frame)
    detector.set_boxes([[100, 40, 140, 60]])
    detector(frame)
    places = detector.tables.whole + detector.tables.fraction
    steps = np.diff(places[24, :, 0])
    inside = (places[24, :-1, 0] > 100) & (places[24, :-1, 0] < 140)
    assert steps[inside].mean() < 0.8 * steps[~inside].mean()
    recipe = adaptive.manifest.recipe
    zoomed = detector.sampler(frame)[..., :: -1 if recipe.normalisation.order == "rgb" else 1]
    norm = recipe.normalisation
    shown = ((zoomed - norm.mean) / norm.std).transpose(2, 0, 1)
    reference = torch_predictor(recipe, make_warp(recipe))
    inputs = {"frame": frame[None], "prev_boxes": np.zeros((1, 20, 4), np.float32)}
    inputs["prev_boxes"][0, 0] = [100, 40, 140, 60]
    inputs["prev_valid"] = np.eye(1, 20, dtype=np.float32)
    values = reference.session.all_values(inputs)  # type: ignore[attr-defined]
    np.testing.assert_allclose(values["zoomed"][0], shown, atol=1e-3)


def test_without_boxes_it_finds_what_the_uniform_model_does(tmp_path: Path) -> None:
    """The canvas has no padding, beyond which unzoomed cells are zero."""
    settings: dict[str, Any] = {"source": [128, 192], **ADAPTIVE}
    settings["warp"] = {**settings["warp"], "separable": False}
    recipes = [
        tiny_recipe(tmp_path, **{**settings, "variant": variant})
        for variant in ("adaptive", "uniform")
    ]
    assert [each.separable for each in recipes] == [False, True]
    frame = noise_frame((128, 192), seed=3)
    first, plain = (torch_predictor(each, make_warp(each))(frame) for each in recipes)
    assert len(first) > 10
    for box, score in zip(first.boxes[:10], first.scores[:10], strict=True):
        near = plain.boxes[np.abs(plain.scores - score) < 1e-5]
        assert np.abs(near - box).max(axis=1).min() < 1e-2


@pytest.mark.skipif(not RTX, reason="TensorRT-RTX is not installed")
def test_an_engine_is_built_again(fixed: Outcome, tmp_path: Path) -> None:
    built = build_rtx(fixed.folder, ["8.9"], tmp_path / "again.engine", precision="int8")
    assert Path(built["file"]).stat().st_size > 0
    assert built["for"] == "sm8.9"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"variant": "fovea"}, "maps boxes back by two corners"),
        ({"warp": {"geometry": "published", "unfilled": []}}, "released inverter has a sign error"),
        ({"sampler": "antialiased"}, "needs a separable warp"),
        ({"lowering": {"unzoom": "matmul"}}, "lowering.unzoom matmul is a product of matrices"),
        ({"lowering": {"zoom": "banded"}}, "lowering.zoom banded is a product of matrices"),
        (
            {"warp": {"separable": True}, "lowering": {"zoom": "gather"}},
            "lowering.zoom gather needs warp.separable false",
        ),
    ],
)
def test_recipes_that_no_plane_can_be_warped_by_are_refused(
    changes: dict[str, Any], expected: str, tmp_path: Path
) -> None:
    warp = {"separable": False, **changes.pop("warp", {})}
    with pytest.raises(LzuError, match=expected):
        tiny_recipe(tmp_path, warp=warp, **changes)


def test_no_shipped_recipe_warps_the_plane() -> None:
    """On a Jetson its inverse is fast only with the plugin, so users must ask for it."""
    assert all(load_recipe(name).warp.separable for name in list_recipes())


def test_a_checkpoint_of_the_other_kind_of_warp_is_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recipes = [tiny_recipe(tmp_path, warp={"separable": flag}) for flag in (True, False)]
    saliency = np.load(saliency_file(tmp_path))
    notes = [trained_note(recipe, saliency) for recipe in recipes]
    for recipe, note in zip(recipes, notes, strict=True):
        check_training(recipe, saliency, note, "weights.pth")
    check_training(recipes[1], saliency, {}, "weights.pth")
    assert not caplog.records
    check_training(recipes[1], saliency, notes[0], "weights.pth")
    check_training(recipes[0], saliency, notes[1], "weights.pth")
    assert "weights.pth was trained with the separable warp" in caplog.records[0].getMessage()
    assert "exported with the separable one" in caplog.records[1].getMessage()
