"""The adaptive wrapper: traced, lowered and held to the fixed warp of the same knots."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from lzu_export.graph.derivation import lower_for
from lzu_export.graph.half import stay_high, to_half
from lzu_export.graph.lint import lint
from lzu_export.graph.passes import import_graph, run_passes
from lzu_export.models.adaptive import (
    AdaptiveToCanvas,
    AdaptiveUnzoom,
    AdaptiveZoomedModel,
    BoxWarp,
    Unwarp,
)
from lzu_export.models.adaptive_warp import BoxPull
from lzu_export.models.random_weights import randomise
from lzu_export.models.retinanet import build_retinanet
from lzu_export.models.trace import trace
from lzu_export.models.zoom import Resample, SourceToCanvas, Unzoom, ZoomedModel
from lzu_export.recipes.schema import DetRecipe
from lzu_export.tasks.det.parts import GROUPS, OUTPUTS, Decode
from lzu_export.warp.forward import forward_at
from lzu_export.warp.saliency import BOX_INPUTS, uniform_saliency
from lzu_export.warp.tables import unzoom_tables, zoom_tables
from samples import PublishedWarps, dialect, relative, run_onnx
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


class CanvasDecode(Decode):
    """Leaves the boxes in canvas pixels."""

    def __init__(self, recipe: DetRecipe) -> None:
        super().__init__(recipe)
        self.scale = torch.ones(4)
        self.corner = None


def adaptive(recipe: DetRecipe, *, mix: float = 0.7, fovea: bool = False) -> AdaptiveZoomedModel:
    norm = recipe.normalisation
    sizes = [tuple(n - 1.0 for n in size) for size in (recipe.canvas, recipe.source)]
    return AdaptiveZoomedModel(
        network(recipe),
        CanvasDecode(recipe) if fovea else Decode(recipe),
        unwarp=Unwarp(*sizes) if fovea else None,
        warp=BoxWarp(
            uniform_saliency(LATTICE), recipe.source, BoxPull(mix=mix, bandwidth=20.0), fwhm=FWHM
        ),
        to_canvas=AdaptiveToCanvas(recipe.canvas, norm.mean, norm.std, norm.order),
        padding=padding(recipe),
        unzoom=None if fovea else AdaptiveUnzoom(recipe.levels, recipe.canvas),
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


def test_the_probe_points_begin_with_the_knots(recipe: DetRecipe) -> None:
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


@pytest.mark.parametrize(
    ("batch", "fovea"), [pytest.param(1, False, marks=pytest.mark.slow), (2, False), (2, True)]
)
def test_the_traced_graph_is_pytorch(recipe: DetRecipe, batch: int, fovea: bool) -> None:
    model, inputs = adaptive(recipe, fovea=fovea), feeds(recipe, batch)
    canonical = traced(model, inputs)
    assert [each.name for each in canonical.graph.input] == ["frame", *BOX_INPUTS]
    calls = [node.op_type for node in canonical.graph.node if node.domain == "lzu"]
    assert calls == ["BoxKnots", "SeparableZoom", "SeparableUnzoom"][: 2 if fovea else 3]
    onnx.checker.check_model(canonical, full_check=True)
    expected = run(model, *inputs.values())
    lowered, _ = lower_for(dialect("onnxruntime"), canonical, {})
    lint(lowered, dialect("onnxruntime"))
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
    whole = BoxWarp(uniform_saliency(LATTICE), (100, 100), BoxPull(), fwhm=FWHM)
    part = BoxWarp(uniform_saliency(LATTICE), (100, 100), BoxPull(corner=(7, 9)), fwhm=FWHM)
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
    lowered, _ = lower_for(dialect("onnxruntime"), canonical, {})
    for graph in (canonical, lowered):
        got = run_onnx(graph, **inputs)
        for name in ("knots_x", "knots_y", "zoomed"):
            assert relative(got[name], expected[name]) < 1e-5
        for name in ("unzoomed_0", "unzoomed_2", "cls_0", "scores"):
            assert relative(got[name], expected[name]) < 2e-2


@pytest.mark.parametrize(
    ("precision", "fovea"),
    [("fp16", False), *(pytest.param("fp32", f, marks=pytest.mark.slow) for f in (False, True))],
)
def test_tensorrt_rtx_builds_it(
    recipe: DetRecipe, precision: str, fovea: bool, tmp_path: Path
) -> None:
    pytest.importorskip("tensorrt_rtx")
    from lzu_export.targets.tensorrt.rtx import build

    canonical = traced(adaptive(recipe, fovea=fovea), feeds(recipe))
    if precision == "fp16":
        canonical = half(canonical)
    lowered, _ = lower_for(dialect("tensorrt-rtx"), canonical, {})
    lint(lowered, dialect("tensorrt-rtx"))
    path = tmp_path / "adaptive.onnx"
    onnx.save(lowered, path)
    built = build(path, tmp_path / "adaptive.engine", compute_capabilities=["8.6"])
    assert [each.name for each in built.inputs] == ["frame", *BOX_INPUTS]


def test_without_an_unzoom_boxes_go_through_the_forward_warp(recipe: DetRecipe) -> None:
    model, inputs = adaptive(recipe, fovea=True), feeds(recipe, batch=2)
    got = run(model, *inputs.values())
    assert not [name for name in got if name.startswith("unzoomed")]
    assert model.unwarp is not None
    model.unwarp = None
    warped = run(model, *inputs.values())["boxes"].astype(np.float64)
    for i in range(2):
        for axis in (0, 1):
            knots = got[("knots_x", "knots_y")[axis]][i]
            canvas, source = recipe.canvas[1 - axis] - 1, recipe.source[1 - axis] - 1
            u = (warped[i, :, axis::2] / canvas * 2 - 1).clip(-1, 1)
            expected = (forward_at(knots, u) + 1) / 2 * source
            assert np.abs(got["boxes"][i, :, axis::2] - expected).max() < 1e-4


def test_boxes_are_unwarped_as_by_the_published_code(published_warps: PublishedWarps) -> None:
    arrays, settings = published_warps
    cases = settings["kde"]
    assert cases
    for case in cases:
        knots = arrays[f"{case['name']}/knots"].astype(np.float32)
        warped = arrays[f"{case['name']}/boxes_warped"].astype(np.float32)
        unwarp = Unwarp(tuple(case["canvas"]), tuple(case["image"]))
        tensors = (warped[None], knots[None, 0, :, 0], knots[None, :, 0, 1])
        got = unwarp(*map(torch.from_numpy, tensors))[0].numpy()
        # The published code reads its grid at canvas resolution, which cuts the knots' corners.
        assert np.abs(got - arrays[f"{case['name']}/boxes_unwarped"]).max() < 0.05
