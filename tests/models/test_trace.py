"""Tracing: one canonical graph with `lzu` calls, named probe points and static shapes."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from lzu_export.models.trace import OPSET, trace
from lzu_export.models.zoom import ZoomedModel
from lzu_export.recipes import Recipe, list_recipes, load_recipe
from lzu_export.recipes.schema import Det3dRecipe, DetRecipe, SegRecipe
from lzu_export.tasks.pytorch import assemble, model_inputs
from lzu_export.tasks.warps import make_warp
from samples import refusal, run_onnx, saliency_file, tiny_recipe


def traced(recipe: Recipe) -> tuple[ZoomedModel, onnx.ModelProto]:
    module = assemble(recipe, make_warp(recipe), from_source=True)
    specs = model_inputs(recipe, from_source=True)
    examples = [torch.zeros(spec.shape, dtype=getattr(torch, spec.dtype)) for spec in specs]
    return module, trace(module, examples, [spec.name for spec in specs], module.output_names)


@pytest.fixture(scope="module")
def fixed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, ZoomedModel, onnx.ModelProto]:
    recipe = tiny_recipe(tmp_path_factory.mktemp("trace"), batch=2)
    return recipe, *traced(recipe)


def test_the_canonical_graph_calls_the_operator_by_name(
    fixed: tuple[Recipe, ZoomedModel, onnx.ModelProto],
) -> None:
    recipe, _, model = fixed
    onnx.checker.check_model(model, full_check=True)
    assert {opset.domain: opset.version for opset in model.opset_import} == {"": OPSET, "lzu": 1}
    assert model.ir_version <= 10
    calls = [node for node in model.graph.node if node.domain == "lzu"]
    assert {node.op_type for node in calls} == {"SeparableResample"}
    assert len(calls) == 1 + len(recipe.levels)
    assert [(each.domain, each.name) for each in model.functions] == [("lzu", "SeparableResample")]
    sizes = [{each.name: each.i for each in node.attribute} for node in calls]
    wanted = [recipe.source, *(level.size for level in recipe.levels)]
    assert sorted((each["height"], each["width"]) for each in sizes) == sorted(wanted)


def test_inputs_and_probe_points_have_their_names_and_static_shapes(
    fixed: tuple[Recipe, ZoomedModel, onnx.ModelProto],
) -> None:
    recipe, module, model = fixed
    assert [value.name for value in model.graph.input] == ["frame"]
    assert [value.name for value in model.graph.output] == list(module.output_names)
    for value in (*model.graph.input, *model.graph.output):
        dimensions = value.type.tensor_type.shape.dim
        assert all(each.dim_value > 0 for each in dimensions), value.name
        assert dimensions[0].dim_value == recipe.batch


def test_onnx_runtime_gives_pytorch_s_values_at_every_probe_point(
    fixed: tuple[Recipe, ZoomedModel, onnx.ModelProto],
) -> None:
    recipe, module, model = fixed
    frames = np.random.default_rng(0).integers(0, 256, (2, *recipe.source, 3), dtype=np.uint8)
    with torch.no_grad():
        expected = [value.numpy() for value in module(torch.from_numpy(frames))]
    got = run_onnx(model, frame=frames)
    for name, value in zip(module.output_names[:-3], expected, strict=False):
        assert np.abs(got[name] - value).max() < 1e-5 * np.abs(value).max(), name


def test_no_path_of_this_machine_is_in_the_graph(
    fixed: tuple[Recipe, ZoomedModel, onnx.ModelProto],
) -> None:
    from lzu_export.graph.passes import run_passes

    stored, _ = run_passes(fixed[2], [])
    content = stored.SerializeToString()
    assert str(Path(__file__).parents[2]).encode() not in content
    assert b".py" not in content


def test_what_cannot_be_traced_is_one_sentence() -> None:
    class Undecided(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x if x.sum() > 0 else -x

    said = refusal(lambda: trace(Undecided(), torch.zeros(2), "x", ["y"]))
    assert said == (
        "the model could not be traced to ONNX: a branch, a loop or a shape depends on values that "
        "the network computes; write it without, for instance by torch.where"
    )


def test_an_operator_that_onnx_lacks_is_named() -> None:
    class Middle(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.kthvalue(2, 1).values

    said = refusal(lambda: trace(Middle(), torch.zeros(2, 3), "x", ["y"]))
    assert said == (
        "the model could not be traced to ONNX: aten.kthvalue cannot be expressed in ONNX opset "
        "18; compute it by other operators"
    )


@pytest.mark.slow
@pytest.mark.parametrize("scale", [0.25, 0.5, 0.75, 1.0])
@pytest.mark.parametrize("name", list_recipes())
def test_every_recipe_and_scale_traces(name: str, scale: float, tmp_path: Path) -> None:
    lattice = load_recipe(name).warp.lattice
    changes = {
        "scale": scale,
        "variant": "fixed",
        "checkpoint": {},
        "random_weights": 0,
        "warp.saliency": str(saliency_file(tmp_path, lattice)),
    }
    recipe = load_recipe(name, changes)
    _, model = traced(recipe)
    onnx.checker.check_model(model)
    shapes = {
        value.name: [each.dim_value for each in value.type.tensor_type.shape.dim]
        for value in model.graph.output
    }
    for i, level in enumerate(recipe.levels):
        assert shapes[f"level_{i}"][2:] == list(level.size)
        assert shapes[f"unzoomed_{i}"][2:] == [n * recipe.unzoom_scale for n in level.size]
    if isinstance(recipe, SegRecipe):
        assert shapes["labels"] == [recipe.batch, *recipe.view]
        return
    assert isinstance(recipe, DetRecipe | Det3dRecipe)
    width = 9 if isinstance(recipe, Det3dRecipe) else 4
    assert shapes["boxes"] == [recipe.batch, sum(recipe.candidates), width]


class Deformed(nn.Module):
    """A deformable convolution, without bias, of two inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(5, 4, 3, 3))

    def forward(self, x: torch.Tensor, offset: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mask = offset[:, :9].sigmoid()
        settings = ((2, 1), (1, 1), (1, 1), 1, 1)
        y = torch.ops.lzu.deform_conv(x, offset, mask, self.weight, None, *settings)
        return y, y.relu()


def test_a_deformable_convolution_and_several_inputs() -> None:
    torch.manual_seed(0)
    module = Deformed()
    x, offset = torch.randn(2, 4, 8, 7), 2 * torch.randn(2, 18, 4, 7)
    model = trace(module, (x, offset), ("image", "offset"), ["y", "positive"])
    onnx.checker.check_model(model, full_check=True)
    assert {opset.domain: opset.version for opset in model.opset_import} == {"": OPSET, "lzu": 1}
    (call,) = [node for node in model.graph.node if node.domain == "lzu"]
    assert call.op_type == "DeformConv"
    assert "DeformConv" in [each.name for each in model.functions]
    with torch.no_grad():
        expected = module(x, offset)
    got = run_onnx(model, image=x.numpy(), offset=offset.numpy())
    for name, value in zip(("y", "positive"), expected, strict=True):
        np.testing.assert_allclose(got[name], value, atol=1e-5)
