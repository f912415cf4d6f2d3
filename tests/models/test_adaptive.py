"""The adaptive wrapper: traced, lowered and held to the fixed warp of the same knots."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from lzu_export.graph.half import stay_high, to_half
from lzu_export.graph.lint import lint
from lzu_export.graph.passes import import_graph, run_passes
from lzu_export.graph.targets import lower_for
from lzu_export.models.adaptive import (
    BOX_INPUTS,
    AdaptiveToCanvas,
    AdaptiveUnzoom,
    AdaptiveZoomedModel,
    BoxWarp,
)
from lzu_export.models.retinanet import build_retinanet
from lzu_export.models.trace import trace
from lzu_export.models.zoom import Resample, SourceToCanvas, Unzoom, ZoomedModel
from lzu_export.recipes.schema import DetRecipe
from lzu_export.tasks.assemble import randomise
from lzu_export.tasks.detection import GROUPS, OUTPUTS, Decode
from lzu_export.warp.saliency import uniform_saliency
from lzu_export.warp.tables import unzoom_tables, zoom_tables
from samples import relative, run_onnx
from samples import tiny_recipe as make_recipe

BOXES, LATTICE, FWHM = 5, (7, 11), 4.0


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> DetRecipe:
    made = make_recipe(tmp_path_factory.mktemp("recipe"))
    assert isinstance(made, DetRecipe)
    return made


def padding(recipe: DetRecipe) -> tuple[int, int]:
    (height, width), canvas = recipe.network_input, recipe.canvas
    return height - canvas[0], width - canvas[1]


def network(recipe: DetRecipe) -> torch.nn.Module:
    model = build_retinanet(recipe.model)
    randomise(model, 0)
    return model.eval()


def adaptive(recipe: DetRecipe, *, mix: float = 0.7) -> AdaptiveZoomedModel:
    norm = recipe.normalisation
    return AdaptiveZoomedModel(
        network(recipe),
        Decode(recipe),
        warp=BoxWarp(uniform_saliency(LATTICE), recipe.source, fwhm=FWHM, mix=mix, bandwidth=20.0),
        to_canvas=AdaptiveToCanvas(recipe.canvas, norm.mean, norm.std, norm.order),
        padding=padding(recipe),
        unzoom=AdaptiveUnzoom(recipe.levels, recipe.canvas),
        groups=GROUPS,
        outputs=OUTPUTS,
        levels=len(recipe.levels),
    ).eval()


def fixed(recipe: DetRecipe, knots_x: np.ndarray, knots_y: np.ndarray) -> ZoomedModel:
    norm = recipe.normalisation
    zoom = zoom_tables(knots_x, knots_y, recipe.source, recipe.canvas)
    return ZoomedModel(
        network(recipe),
        Decode(recipe),
        to_canvas=SourceToCanvas(Resample(*zoom), norm.mean, norm.std, norm.order),
        padding=padding(recipe),
        unzoom=[
            Unzoom(
                unzoom_tables(
                    knots_x, knots_y, level, recipe.canvas, geometry="consistent", unfilled=()
                )
            )
            for level in recipe.levels
        ],
        groups=GROUPS,
        outputs=OUTPUTS,
        levels=len(recipe.levels),
    ).eval()


def feeds(recipe: DetRecipe, batch: int = 1, *, valid: bool = True) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    height, width = recipe.source
    corner = rng.uniform(0, 0.8, (batch, BOXES, 2)) * [width, height]
    boxes = np.concatenate([corner, corner + rng.uniform(2, 20, (batch, BOXES, 2))], axis=-1)
    flags = rng.uniform(0, 1, (batch, BOXES)) < 0.7
    coarse = rng.integers(0, 256, (batch, height // 4, width // 4, 3), dtype=np.uint8)
    return {
        "frame": coarse.repeat(4, axis=1).repeat(4, axis=2),
        "prev_boxes": boxes.astype(np.float32),
        "prev_valid": (flags & valid).astype(np.float32),
    }


def run(model: ZoomedModel, *inputs: np.ndarray) -> dict[str, np.ndarray]:
    with torch.no_grad():
        values = model(*(torch.from_numpy(each) for each in inputs))
    return {name: v.numpy() for name, v in zip(model.output_names, values, strict=True)}


def traced(model: AdaptiveZoomedModel, inputs: dict[str, np.ndarray]) -> onnx.ModelProto:
    tensors = [torch.from_numpy(each) for each in inputs.values()]
    return trace(model, tensors, list(inputs), model.output_names)


def test_the_arrows_begin_with_the_knots(recipe: DetRecipe) -> None:
    names = adaptive(recipe).output_names
    assert names[:4] == ("knots_x", "knots_y", "zoomed", "level_0")
    assert [name for name in names if name.startswith("unzoomed")] == [
        f"unzoomed_{i}" for i in range(3)
    ]
    assert names[-3:] == OUTPUTS


@pytest.mark.parametrize("valid", [True, False])
def test_it_is_the_fixed_warp_of_the_same_knots(recipe: DetRecipe, valid: bool) -> None:
    model, inputs = adaptive(recipe), feeds(recipe, valid=valid)
    got = run(model, *inputs.values())
    knots = got["knots_x"][0], got["knots_y"][0]
    uniform = [np.linspace(-1, 1, len(each)) for each in knots]
    moved = max(np.abs(a - b).max() for a, b in zip(knots, uniform, strict=True))
    assert (moved > 0.02) == valid
    for name, wanted in run(fixed(recipe, *knots), inputs["frame"]).items():
        if name != "labels":
            assert relative(got[name], wanted) < 1e-4, name


def test_every_image_of_a_batch_has_its_own_warp(recipe: DetRecipe) -> None:
    model, inputs = adaptive(recipe), feeds(recipe, batch=2)
    together = run(model, *inputs.values())
    assert np.abs(together["knots_x"][0] - together["knots_x"][1]).max() > 0.01
    for i in range(2):
        alone = run(model, *(each[i : i + 1] for each in inputs.values()))
        for name in ("zoomed", "unzoomed_0", "cls_0", "scores"):
            assert relative(together[name][i : i + 1], alone[name]) < 1e-4


@pytest.mark.parametrize("batch", [1, 2])
def test_the_traced_graph_is_pytorch(recipe: DetRecipe, batch: int) -> None:
    model, inputs = adaptive(recipe), feeds(recipe, batch)
    canonical = traced(model, inputs)
    assert [each.name for each in canonical.graph.input] == ["frame", *BOX_INPUTS]
    calls = [node.op_type for node in canonical.graph.node if node.domain == "lzu"]
    assert calls == ["BoxKnots", "SeparableZoom", "SeparableUnzoom"]
    onnx.checker.check_model(canonical, full_check=True)
    expected = run(model, *inputs.values())
    lowered, _ = lower_for("onnxruntime", canonical, {})
    lint(lowered, "onnxruntime")
    for graph in (canonical, lowered):
        got = run_onnx(graph, **inputs)
        assert list(got) == list(expected)
        for name, wanted in expected.items():
            if name != "labels":
                assert relative(got[name], wanted) < 1e-4, name


def test_the_parameters_of_the_saliency_are_in_the_checkpoint(recipe: DetRecipe) -> None:
    model = adaptive(recipe)
    state = model.state_dict()
    own = {name: float(v) for name, v in state.items() if not name.startswith("model.")}
    assert own == {"warp.amplitude": 1.0, "warp.bandwidth": 20.0}
    inputs = [torch.from_numpy(each) for each in feeds(recipe).values()]
    values = dict(zip(model.output_names, model(*inputs), strict=True))
    values["unzoomed_0"].square().mean().backward()
    assert float(model.warp.bandwidth.grad.abs()) > 0
    assert float(model.warp.amplitude.grad.abs()) > 0


def test_boxes_are_in_pixels_of_the_frame_and_the_warp_in_those_of_the_picture() -> None:
    boxes = torch.tensor([[[30.0, 40.0, 50.0, 60.0]]])
    valid = torch.ones(1, 1)
    whole = BoxWarp(uniform_saliency(LATTICE), (100, 100), fwhm=FWHM)
    part = BoxWarp(uniform_saliency(LATTICE), (100, 100), fwhm=FWHM, corner=(7, 9))
    moved = boxes + torch.tensor([9.0, 7.0, 9.0, 7.0])
    for got, wanted in zip(part(moved, valid), whole(boxes, valid), strict=True):
        assert torch.equal(got, wanted)


def test_margins_skip_the_boxes(recipe: DetRecipe) -> None:
    model = adaptive(recipe)
    seen: list[tuple[torch.Tensor, ...]] = []

    def margins(_groups: object, *others: torch.Tensor) -> torch.Tensor:
        seen.append(others)
        return torch.zeros(1)

    model._margins = margins
    inputs = [torch.from_numpy(each) for each in feeds(recipe).values()]
    values = dict(zip(model.output_names, model(*inputs), strict=True))
    camera = torch.eye(4)
    assert list(model.margins(values, *inputs[1:], camera)) == ["margins"]
    assert seen == [(camera,)]


def half(model: onnx.ModelProto) -> onnx.ModelProto:
    """The canonical model in float16, where that is safe."""
    made, _ = run_passes(model, [to_half("fp16", stay_high(import_graph(model)))])
    return made


def test_in_half_precision_the_knots_stay_float32(recipe: DetRecipe) -> None:
    model, inputs = adaptive(recipe), feeds(recipe)
    canonical = half(traced(model, inputs))
    onnx.checker.check_model(canonical, full_check=True)
    types = {v.name: v.type.tensor_type.elem_type for v in canonical.graph.value_info}
    calls = {node.op_type: node for node in canonical.graph.node if node.domain == "lzu"}
    unzoom = calls["SeparableUnzoom"]
    assert list(unzoom.input[-2:]) == list(calls["BoxKnots"].output) == ["knots_x", "knots_y"]
    assert {types[name] for name in unzoom.input[:-2]} == {onnx.TensorProto.FLOAT16}
    expected = run(model, *inputs.values())
    lowered, _ = lower_for("onnxruntime", canonical, {})
    for graph in (canonical, lowered):
        got = run_onnx(graph, **inputs)
        for name in ("knots_x", "knots_y", "zoomed"):
            assert relative(got[name], expected[name]) < 1e-5
        for name in ("unzoomed_0", "unzoomed_2", "cls_0", "scores"):
            assert relative(got[name], expected[name]) < 2e-2


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_tensorrt_rtx_builds_it(recipe: DetRecipe, precision: str, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx")
    from lzu_export.engines.tensorrt_rtx import build

    canonical = traced(adaptive(recipe), feeds(recipe))
    if precision == "fp16":
        canonical = half(canonical)
    lowered, _ = lower_for("tensorrt-rtx", canonical, {})
    lint(lowered, "tensorrt-rtx")
    path = tmp_path / "adaptive.onnx"
    onnx.save(lowered, path)
    built = build(path, tmp_path / "adaptive.engine", compute_capabilities=["8.6"])
    assert [each.name for each in built.inputs] == ["frame", *BOX_INPUTS]
