"""The sampling of non-separable warps: torch, body and both lowerings agree."""

from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest
import torch
from onnx import helper
from operator_checks import check_body

from lzu_export.graph.half import to_half
from lzu_export.graph.lint import lint
from lzu_export.graph.lowering.choose import (
    choose_lowerings,
    exact_lowerings,
    one_node_model,
    without_grid_sample,
)
from lzu_export.graph.lowering.grid import KINDS
from lzu_export.graph.lowering.resample import (
    Kind,
    lower_resample,
    possible_lowerings,
    resample_nodes,
)
from lzu_export.graph.passes import fold_constants, run_passes
from lzu_export.ops.grid_resample import CONTRACT, NAME, OPERATOR, function_body
from lzu_export.ops.torch_ops import REGISTERED
from lzu_export.warp.grids import GridTable, grid_table
from samples import OPSET, dialect, graph_model, run_onnx

grid_resample = REGISTERED["GridResample"]
INPUTS = CONTRACT.input_names()

SHAPE = (2, 3, 12, 20)
OUT = (9, 14)


def random_table(seed: int, size: tuple[int, int] = SHAPE[2:]) -> GridTable:
    """Positions within an input and up to two cells beyond."""
    high = np.array(size[::-1]) + 1
    return grid_table(np.random.default_rng(seed).uniform(-2, high, (*OUT, 2)), size)


def random_image(shape: tuple[int, ...] = SHAPE) -> Any:
    return np.random.default_rng(9).standard_normal(shape).astype(np.float32)


def by_torch(x: np.ndarray, table: GridTable) -> np.ndarray:
    places = [torch.from_numpy(each) for each in table]
    places = [each if each.dim() == 4 else each[None] for each in places]
    with torch.no_grad():  # in training positions are single numbers
        return grid_resample(torch.from_numpy(x), *places).numpy()


def model_of(
    table: GridTable, shape: tuple[int, ...] = SHAPE, *, computed: bool = False
) -> onnx.ModelProto:
    """One call from `x` to `warped`; the positions are constants or inputs."""
    size = {"height": shape[2], "width": shape[3]}
    node = helper.make_node(NAME, ["x", *INPUTS[1:]], ["warped"], name="warp", domain="lzu", **size)
    values = {name: v if v.ndim == 4 else v[None] for name, v in table._asdict().items()}
    inputs = {"x": shape, **({k: v.shape for k, v in values.items()} if computed else {})}
    out = (*shape[:2], *OUT)
    model = graph_model([node], inputs, {"warped": out}, {} if computed else values)
    model.opset_import.append(helper.make_opsetid("lzu", 1))
    model.functions.append(function_body(OPSET))
    return model


def lowered(model: onnx.ModelProto, kind: Kind) -> onnx.ModelProto:
    return run_passes(model, [lower_resample({"warped": kind}), fold_constants()])[0]


@pytest.mark.parametrize("size", [(12, 20), (1, 20), (12, 1), (1, 1)])
@pytest.mark.parametrize("computed", [False, True])
def test_all_forms_agree(size: tuple[int, int], computed: bool) -> None:
    shape = (*SHAPE[:2], *size)
    table, x = random_table(0, size), random_image(shape)
    expected = by_torch(x, table)
    feeds = {"x": x}
    if computed:  # a grid for each image
        pairs = zip(table, random_table(1, size), strict=True)
        table = GridTable(*(np.stack(each) for each in pairs))
        expected = by_torch(x, table)
        feeds |= table._asdict()
    model = model_of(table, shape, computed=computed)
    onnx.checker.check_model(model, full_check=True)
    for each in (model, *(lowered(model, kind) for kind in KINDS)):
        got = run_onnx(each, **feeds)["warped"]
        np.testing.assert_allclose(got, expected, atol=2e-5)


def test_the_torch_operator_is_grid_sample() -> None:
    table, x = random_table(2), random_image()
    cells = table.whole.astype(np.float64) + table.fraction
    grid = torch.from_numpy(cells / (np.array(SHAPE[:1:-1]) - 1) * 2 - 1).expand(2, -1, -1, -1)
    expected = torch.nn.functional.grid_sample(
        torch.from_numpy(x).double(), grid, align_corners=True
    )
    np.testing.assert_allclose(by_torch(x, table), expected, atol=1e-6)


def test_gathers_are_exact_in_wide_images() -> None:
    """Where GridSample's one coordinate is not."""
    x = np.zeros((1, 1, 2, 3840), np.float32)
    x[..., ::2] = 1
    cells = np.stack(np.meshgrid(np.linspace(3000, 3830, 14) + 0.123, np.zeros(9)), axis=-1)
    table = grid_table(cells, (2, 3840))
    model = model_of(table, x.shape)
    expected = by_torch(x, table)
    errors = [
        np.abs(run_onnx(lowered(model, kind), x=x)["warped"] - expected).max()
        for kind in ("gridsample", "gather")
    ]
    assert errors[0] > 2e-5
    assert errors[1] < 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_keeps_its_positions(kind: Kind) -> None:
    """Tables and grids are float32 in a half-precision graph; what is sampled need not be."""
    table, x = random_table(3), random_image()
    node = helper.make_node("Relu", ["x"], ["y"], name="before")
    model = model_of(table)
    model.graph.node[0].input[0] = "y"
    model.graph.node.insert(0, node)
    model.graph.value_info.append(helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, SHAPE))
    half, _ = run_passes(model, [to_half("fp16", {})])
    types = {each.name: each.data_type for each in half.graph.initializer}
    assert [types[name] for name in INPUTS[1:]] == [onnx.TensorProto.FLOAT] * 2
    inner = half.graph.node[[n.op_type for n in half.graph.node].index(NAME)].output[0]
    small, _ = run_passes(half, [lower_resample({inner: kind}), fold_constants()])
    lint(small, dialect("tensorrt-rtx"))
    made = {name: each for each in small.graph.node for name in each.output}
    for each in small.graph.node:
        if each.op_type == "GridSample":
            (grid,) = (t for t in small.graph.initializer if t.name == each.input[1])
            assert grid.data_type == onnx.TensorProto.FLOAT
            assert made[each.input[0]].op_type == "Cast"
    got = run_onnx(small, x=x)["warped"]
    np.testing.assert_allclose(got, by_torch(np.maximum(x, 0), table), atol=1e-2)


def test_lowerings_are_chosen_as_those_of_separable_warps() -> None:
    model = model_of(random_table(4))
    (node,) = resample_nodes(gs.import_onnx(model))
    assert possible_lowerings(node) == ["gridsample", "gather"]
    (choice,) = choose_lowerings(
        model, zoom="auto", unzoom="auto", defaults=dialect("tensorrt-rtx").lowerings
    )
    assert choice.kind == "gridsample"
    (exact,) = exact_lowerings(model)
    assert exact.kind == "gather"
    (spelled,) = without_grid_sample(model, [choice], "no such spelling")
    assert (spelled.kind, spelled.reason) == ("gather", "no such spelling")
    wide = model_of(random_table(5, (4, 1920)), (1, 3, 4, 1920))
    (choice,) = choose_lowerings(
        wide, zoom="auto", unzoom="auto", defaults=dialect("tensorrt-rtx").lowerings
    )
    assert choice.kind == "gather"
    assert "beyond 1024 pixels" in choice.reason


def test_computed_positions_are_timed_with_others() -> None:
    model = model_of(random_table(6), computed=True)
    for value in model.graph.input[1:]:
        value.type.tensor_type.shape.dim[0].dim_value = 1
    (node,) = resample_nodes(gs.import_onnx(model))
    for kind in possible_lowerings(node):
        small = one_node_model(node, kind)
        assert run_onnx(small, x=random_image())["y"].shape == (*SHAPE[:2], *OUT)


def test_the_body_fits_its_schema() -> None:
    check_body(function_body(OPSET), OPERATOR.schema())


def test_fake_tensors_have_the_shape_of_the_result() -> None:
    with torch._subclasses.fake_tensor.FakeTensorMode():
        place = torch.empty(1, *OUT, 2)
        assert tuple(grid_resample(torch.empty(SHAPE), place, place).shape) == (2, 3, *OUT)
