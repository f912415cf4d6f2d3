"""The ONNX Runtime flavour of INT8: float32 between the pairs, whatever was half in the graph."""

from collections import Counter

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest
from onnx import TensorProto, helper, numpy_helper

from lzu_export.errors import LzuError
from lzu_export.graph.derivation import lower_for
from lzu_export.graph.half import stay_high, to_half
from lzu_export.graph.lint import lint
from lzu_export.graph.passes import run_passes
from lzu_export.graph.quantize import place, quantise
from lzu_export.graph.widen import widen_half
from lzu_export.support.limits import EMULATED
from samples import Network, dialect, run_onnx

SHAPE = (1, 4, 12, 16)
HALVES = {TensorProto.FLOAT16, TensorProto.BFLOAT16}


def residual_block() -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """In INT8, with float32 and with float16 in between; the mean stays float32 in both."""
    net = Network(x=SHAPE)
    weight = (4, 4, 3, 3)
    net.conv("x", weight, to="first")
    net.op("Relu", "first", to="stem")
    net.conv("stem", weight, to="a")
    net.op("Add", "a", "stem", to="sum")
    net.op("Relu", "sum", to="out")
    net.conv("out", weight, to="b")
    net.op("GlobalAveragePool", "b", to="pooled")
    net.conv("out", (4, 4, 1, 1), to="last")
    model = net.model("last", "pooled")
    placement = place(gs.import_onnx(model).toposort())
    wide, _ = run_passes(model, [quantise(placement, dict.fromkeys(placement.calibrated, 3.0))])
    kept = stay_high(gs.import_onnx(wide).toposort())
    return wide, run_passes(wide, [to_half("fp16", kept)])[0]


def types_of(model: onnx.ModelProto) -> set[int]:
    values = (*model.graph.value_info, *model.graph.input, *model.graph.output)
    types = {value.type.tensor_type.elem_type for value in values}
    return types | {tensor.data_type for tensor in model.graph.initializer}


def test_no_float16_tensor_enters_a_pair_of_the_onnx_runtime_flavour() -> None:
    half = residual_block()[1]
    assert types_of(half) & HALVES
    flavour, records = lower_for(dialect("onnxruntime"), half, {})
    assert records[-1].name == "widen-half"
    assert not types_of(flavour) & HALVES
    stored = {each.name: each for each in flavour.graph.initializer}
    pairs = [node for node in flavour.graph.node if node.op_type == "QuantizeLinear"]
    assert pairs
    for node in pairs:
        assert stored[node.input[1]].data_type == TensorProto.FLOAT
    lint(flavour, dialect("onnxruntime"))


def test_other_targets_and_fp16_keep_their_halves() -> None:
    wide, half = residual_block()
    assert types_of(lower_for(dialect("tensorrt-rtx"), half, {})[0]) & HALVES
    net = Network(x=SHAPE)
    net.conv("x", (4, 4, 3, 3), to="y")
    plain, _ = run_passes(net.model("y"), [to_half("fp16", {})])
    assert types_of(lower_for(dialect("onnxruntime"), plain, {})[0]) & HALVES
    assert not types_of(wide) & HALVES


def test_the_flavour_computes_the_float32_graph_of_rounded_constants() -> None:
    """Weights are INT8 and scales exact in float16, so only biases were rounded."""
    wide, half = residual_block()
    widened, _ = run_passes(half, [widen_half()])
    biases = {each.name: each for each in widened.graph.initializer}
    for tensor in wide.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and tensor.name in biases:
            tensor.CopyFrom(
                numpy_helper.from_array(values.astype(np.float16).astype(np.float32), tensor.name)
            )
    x = np.random.default_rng(5).standard_normal(SHAPE).astype(np.float32)
    wanted, got = (run_onnx(each, x=x) for each in (wide, widened))
    for name, value in wanted.items():
        np.testing.assert_allclose(got[name], value, atol=1e-6)


def test_casts_that_cast_nothing_are_gone() -> None:
    half = residual_block()[1]
    assert Counter(node.op_type for node in half.graph.node)["Cast"] > 0
    widened, _ = run_passes(half, [widen_half()])
    casts = [node for node in widened.graph.node if node.op_type == "Cast"]
    # Outputs keep their names, and those that were half are casts still.
    assert {name for node in casts for name in node.output} <= {"last", "pooled"}
    assert [each.name for each in widened.graph.output] == ["last", "pooled"]


def test_a_cast_of_whole_numbers_stays() -> None:
    net = Network(x=SHAPE)
    net.op("ArgMax", "x", to="best", axis=1)
    for x, y, kind in (("best", "y", TensorProto.FLOAT16), ("y", "z", TensorProto.FLOAT)):
        net.nodes.append(helper.make_node("Cast", [x], [y], name=y, to=kind))
    model = net.model("z")
    x = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    widened, _ = run_passes(model, [widen_half()])
    assert not types_of(widened) & HALVES
    np.testing.assert_array_equal(run_onnx(widened, x=x)["z"], run_onnx(model, x=x)["z"])


def test_lint_refuses_pairs_of_half_precision_for_onnx_runtime_alone() -> None:
    half = residual_block()[1]
    lint(half, dialect("tensorrt-rtx"))
    with pytest.raises(LzuError, match="is of half precision, which ONNX Runtime cuts off before"):
        lint(half, dialect("onnxruntime"))


def test_the_emulated_graph_rounds_what_the_flavour_does_not() -> None:
    half = residual_block()[1]
    emulated, records = lower_for(dialect(EMULATED), half, {})
    assert records[-1].name == "emulate-half"
    to = [
        each.i
        for node in emulated.graph.node
        if node.op_type == "Cast"
        for each in node.attribute
        if each.name == "to"
    ]
    assert TensorProto.FLOAT16 in to
