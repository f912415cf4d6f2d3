"""The lzu operators on float16 features with float32 tables, offsets and masks."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest
import torch
from onnx import TensorProto, helper, shape_inference

from lzu_export.graph.emulate.half import emulate_half
from lzu_export.graph.half import to_half
from lzu_export.graph.lint import lint
from lzu_export.graph.lowering.deform_conv import KINDS, Kind, lower_deform_conv
from lzu_export.graph.lowering.resample import KINDS as WARP_KINDS
from lzu_export.graph.lowering.resample import Kind as WarpKind
from lzu_export.graph.lowering.resample import lower_resample
from lzu_export.graph.passes import Pass, run_passes
from lzu_export.ops.registry import OPERATORS
from lzu_export.ops.torch_ops import REGISTERED
from lzu_export.warp.tables import Table, table_matrix
from samples import (
    deform_model,
    dialect,
    graph_model,
    random_tables,
    run_onnx,
    warp_model,
    warp_node,
)

deform_conv = REGISTERED["DeformConv"]

UNIT = 2.0**-11
"""Relative error of rounding to float16."""
X = (2, 6, 7, 9)
OFFSET_GROUPS = 2

ROUNDINGS = {"body": 2, "deformconv": 1, "gridsample": 2, "taps": 11, "gather": 7}
"""How often a term of the result is rounded to float16 at most.

The samples, if at all, and the result; `taps` the parts of the taps and their sums; `gather` the
factors, the products, three sums of four, the result without and with the bias.
"""


def half_of(model: onnx.ModelProto, *then: Pass) -> onnx.ModelProto:
    """All nodes in float16, but the inputs that are always float32; float32 in and out."""
    half, _ = run_passes(model, [to_half("fp16", {}), *then])
    onnx.checker.check_model(half, full_check=True)
    return half


def halves(generator: np.random.Generator, *shape: int) -> np.ndarray:
    """Float32 numbers that float16 holds."""
    return generator.standard_normal(shape).astype(np.float16).astype(np.float32)


def convolution() -> tuple[onnx.ModelProto, dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Model, inputs, the float64 result, and what the absolute values of its terms add up to."""
    generator = np.random.default_rng(1)
    weight, bias = halves(generator, 5, X[1], 3, 3), halves(generator, 5)
    model = deform_model(X, weight, bias, offset_groups=OFFSET_GROUPS)
    taps = 9 * OFFSET_GROUPS
    inputs = {
        "x": halves(generator, *X),
        "offset": 3 * generator.standard_normal((X[0], 2 * taps, *X[2:])).astype(np.float32),
        "mask": generator.uniform(0, 1, (X[0], taps, *X[2:])).astype(np.float32),
    }
    settings = ([1, 1], [1, 1], [1, 1], 1, OFFSET_GROUPS)

    def exact(*values: np.ndarray) -> np.ndarray:
        tensors = (torch.from_numpy(value.astype(np.float64)) for value in values)
        return np.asarray(deform_conv(*tensors, *settings))

    x, offset, mask = inputs.values()
    magnitude = exact(abs(x), offset, mask, abs(weight), abs(bias))
    return model, inputs, exact(x, offset, mask, weight, bias), magnitude


def forms() -> list[tuple[str, Sequence[Pass]]]:
    return [("body", ()), *((kind, [lower_deform_conv(kind)]) for kind in KINDS)]


@pytest.mark.parametrize(("form", "passes"), forms(), ids=[form for form, _ in forms()])
def test_deformable_convolutions_stay_near_float64(form: str, passes: Sequence[Pass]) -> None:
    model, inputs, exact, magnitude = convolution()
    half = half_of(model, *passes)
    bound = (ROUNDINGS[form] + 0.5) * UNIT * magnitude  # half a rounding for float32's sums
    plain = run_onnx(half, **inputs)["y"]
    assert plain.dtype == np.float32
    assert (abs(plain - exact) <= bound).all()
    if form == "body":
        return
    rounded, _ = run_passes(half, [emulate_half()])
    got = run_onnx(rounded, **inputs)["y"]
    assert (abs(got - exact) <= bound).all()
    assert (got == got.astype(np.float16)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_every_tensor_of_a_lowered_convolution_says_its_type(kind: Kind) -> None:
    assert_types_are_right(half_of(convolution()[0], lower_deform_conv(kind)))


@pytest.mark.parametrize("kind", KINDS)
def test_offsets_and_masks_may_be_float16_too(kind: Kind) -> None:
    model, inputs, exact, magnitude = convolution()
    half = half_of(model)
    graph = half.graph
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    (node,) = [each for each in graph.node if each.op_type == "DeformConv"]
    node.input[0], node.output[0] = "x", "y"
    del graph.node[:]
    graph.node.append(node)
    inputs = {name: value.astype(np.float16) for name, value in inputs.items()}
    lowered, _ = run_passes(half, [lower_deform_conv(kind)])
    onnx.checker.check_model(lowered, full_check=True)
    for each in (half, lowered):
        got = run_onnx(each, **inputs)["y"]
        assert got.dtype == np.float16
        # An offset of 8 pixels is rounded by 2**-9: neighbours differ by some standard deviations.
        assert np.abs(got - exact).max() < 2**-6 * magnitude.max()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "deformconv"])
def test_tensorrt_rtx_builds_deformable_convolutions(kind: Kind, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx")
    from lzu_export.targets.tensorrt.rtx import build

    model = half_of(convolution()[0], lower_deform_conv(kind))
    lint(model, dialect("tensorrt-rtx"))
    onnx.save(model, tmp_path / "deform.onnx")
    built = build(tmp_path / "deform.onnx", tmp_path / "engine", compute_capabilities=["8.6"])
    assert [each.dtype for each in (*built.inputs, *built.outputs)] == ["float32"] * 4


def test_convolutions_of_the_same_weights_share_them_widened() -> None:
    model = convolution()[0]
    again = onnx.NodeProto.FromString(model.graph.node[0].SerializeToString())
    again.name, again.output[0] = "again", "z"
    model.graph.node.append(again)
    shape = [each.dim_value for each in model.graph.output[0].type.tensor_type.shape.dim]
    model.graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, shape))
    lowered = half_of(model, lower_deform_conv("deformconv"))
    assert sorted(each.name for each in lowered.graph.initializer) == [
        "bias/float32",
        "weight/float32",
    ]


PARTS = {"matmul": 4, "banded": 4, "gridsample": 2}
"""Roundings of one warp's value: both products' weights and results; the sample and its result."""


def warped_sum() -> tuple[onnx.ModelProto, list[tuple[Table, Table]]]:
    """Two warps of one map, added, as the published geometry's main and edge terms."""
    shape, out = (2, 3, 70, 90), (75, 66)
    pairs = [random_tables(seed, shape[2:], out, reach=1.2) for seed in (1, 2)]
    pairs[0][0][3, -1] = 0  # the main term loses its last row
    pairs[1][0][3] = 0
    pairs[1][0][:, -1] = (40, 0.3, 1, 1)  # which is all that the edge term gives
    nodes = [warp_node("x", "main", shape, name="main"), warp_node("x", "edge", shape, name="edge")]
    constants = {}
    for node, (rows, cols) in zip(nodes, pairs, strict=True):
        node.input[1:] = [f"{node.name}_rows", f"{node.name}_cols"]
        constants.update(zip(node.input[1:], (rows, cols), strict=True))
    nodes.append(helper.make_node("Add", ["main", "edge"], ["y"], name="add"))
    whole = (*shape[:2], *out)
    model = graph_model(nodes, {"x": shape}, {"y": whole}, constants)
    for name in ("main", "edge"):
        info = helper.make_tensor_value_info(name, TensorProto.FLOAT, whole)
        model.graph.value_info.append(info)
    model.opset_import.append(helper.make_opsetid("lzu", 1))
    model.functions.extend(warp_model(shape, *pairs[0]).functions)
    return model, pairs


@pytest.mark.parametrize("kind", [None, *WARP_KINDS])
def test_partial_warps_of_a_batch_stay_near_float64(kind: WarpKind | None) -> None:
    model, pairs = warped_sum()
    passes = [] if kind is None else [lower_resample({"main": kind, "edge": kind})]
    half = half_of(model, *passes)
    x = halves(np.random.default_rng(3), 2, 3, 70, 90)

    def exact(values: np.ndarray) -> np.ndarray:
        products = [(table_matrix(rows, 70), table_matrix(cols, 90)) for rows, cols in pairs]
        return np.asarray(sum(a_y @ values.astype(np.float64) @ a_x.T for a_y, a_x in products))

    # One more rounding for the sum; tiny products below float16's normal numbers are off by 2**-25.
    bound = (PARTS[kind or "matmul"] + 1.5) * UNIT * exact(abs(x)) + 2**-22
    assert (abs(run_onnx(half, x=x)["y"] - exact(x)) <= bound).all()
    if kind is not None:
        assert_types_are_right(half)
        rounded, _ = run_passes(half, [emulate_half()])
        got = run_onnx(rounded, x=x)["y"]
        assert (abs(got - exact(x)) <= bound).all()
        assert (got == got.astype(np.float16)).all()
        assert np.abs(got - exact(x)).max() > UNIT / 4  # it is rounded, indeed


def test_an_edge_term_gives_its_row_only() -> None:
    model, _ = warped_sum()
    half = half_of(model, lower_resample({"main": "matmul", "edge": "matmul"}))
    x = halves(np.random.default_rng(3), 2, 3, 70, 90)
    wanted = run_onnx(model, x=x)["y"]
    got = run_onnx(half, x=x)["y"]
    assert np.abs(wanted[:, :, -1]).max() > 0.1
    assert np.abs(got - wanted)[:, :, -1].max() < 0.01


def test_the_schemas_take_what_the_casts_make() -> None:
    deform, resample = (OPERATORS[n].schema() for n in ("DeformConv", "SeparableResample"))
    types = {each.type_param_str: each.allowed_type_strs for each in deform.type_constraints}
    assert [each.type_str for each in deform.inputs] == ["T", "T", "P", "T", "P"]
    for each in ("T", "P"):
        assert {"tensor(float)", "tensor(float16)"} <= set(types[each])
    assert [each.type_str for each in resample.inputs] == ["T", "tensor(float)", "tensor(float)"]


def assert_types_are_right(model: onnx.ModelProto) -> None:
    """What the graph says of its tensors is what ONNX infers without being told."""
    said = {value.name: value.type.tensor_type.elem_type for value in model.graph.value_info}
    bare = onnx.ModelProto.FromString(model.SerializeToString())
    del bare.graph.value_info[:]
    inferred = shape_inference.infer_shapes(bare, check_type=True, strict_mode=True)
    found = {value.name: value.type.tensor_type.elem_type for value in inferred.graph.value_info}
    made = {name for node in model.graph.node for name in node.output}
    inner = made - {value.name for value in model.graph.output}
    assert inner <= set(said)
    assert {name: found[name] for name in inner} == {name: said[name] for name in inner}
    assert TensorProto.FLOAT16 in said.values()
    assert all(tensor.dtype is not None for tensor in gs.import_onnx(model).tensors().values())
