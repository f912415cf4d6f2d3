"""Emulated half precision: NumPy's roundings under ONNX Runtime's optimisation, INT8 fused."""

from collections import Counter
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx_graphsurgeon as gs
import onnxruntime as ort
import pytest
from onnx import TensorProto, numpy_helper

from lzu_export.graph.emulate.half import emulate_half
from lzu_export.graph.half import HalfType, stay_high, to_half
from lzu_export.graph.passes import run_passes
from lzu_export.graph.quantize import place, quantise
from samples import Network, node_named, run_onnx

SHAPE = (1, 4, 6, 8)
TYPES: dict[HalfType, Any] = {"fp16": np.float16, "bf16": ml_dtypes.bfloat16}


def half_of(model: onnx.ModelProto, kind: HalfType = "fp16", *keep: str) -> onnx.ModelProto:
    return run_passes(model, [to_half(kind, dict.fromkeys(keep, "for this test"))])[0]


def emulated(model: onnx.ModelProto) -> onnx.ModelProto:
    made, _ = run_passes(model, [emulate_half()])
    onnx.checker.check_model(made, full_check=True)
    return made


def rounded_tensors(model: onnx.ModelProto) -> set[str]:
    """Tensors that are cast to half precision and back."""
    small = (TensorProto.FLOAT16, TensorProto.BFLOAT16)
    casts = [n for n in model.graph.node if n.op_type == "Cast" and n.attribute[0].i in small]
    return {node.input[0].removesuffix("/exact") for node in casts}


def data(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(SHAPE).astype(np.float32)


@pytest.mark.parametrize("kind", TYPES)
def test_every_operator_rounds_once_as_numpy_does(kind: HalfType) -> None:
    half = TYPES[kind]
    values = dict(zip("abcd", (1.1, 0.3, -2.7, 0.77), strict=True))
    net = Network(x=SHAPE)
    constants = {name: np.float32([value]) for name, value in values.items()}
    net.op("Mul", "x", constants["a"], to="product")
    net.op("Add", "product", constants["b"], to="sum")
    net.op("Relu", "sum", to="positive")
    net.op("Mul", "positive", "positive", to="square")
    net.op("Sub", "square", constants["c"], to="difference")
    net.op("Div", "difference", constants["d"], to="ratio")
    net.op("Sqrt", "ratio", to="root")
    net.op("Add", "root", "product", to="y")
    model = half_of(net.model("y"), kind)

    def rounded(value: Any) -> np.ndarray:
        return np.asarray(value).astype(np.float32).astype(half).astype(np.float32)

    a, b, c, d = (rounded(value) for value in constants.values())
    x = data()
    product = rounded(rounded(x) * a)
    square = rounded(np.maximum(rounded(product + b), 0) ** 2)
    ratio = rounded(rounded(square - c) / d)
    wanted = rounded(rounded(np.sqrt(ratio)) + product)
    got = run_onnx(emulated(model), x=x)["y"]
    np.testing.assert_array_equal(got, wanted)
    assert np.abs(got - run_onnx(net.model("y"), x=x)["y"]).max() > 2**-11


def test_numpy_s_own_float16_gives_the_same() -> None:
    net = Network(x=SHAPE)
    net.op("Mul", "x", np.float32([1.1]), to="product")
    net.op("Add", "product", "x", to="sum")
    net.op("Div", "sum", np.float32([0.3]), to="y")
    x = data().astype(np.float16)
    wanted = (x * np.float16(1.1) + x) / np.float16(0.3)
    assert wanted.dtype == np.float16
    got = run_onnx(emulated(half_of(net.model("y"))), x=x.astype(np.float32))["y"]
    np.testing.assert_array_equal(got, wanted.astype(np.float32))


def test_a_convolution_rounds_its_sum_once_and_a_relu_does_not_round_again() -> None:
    net = Network(x=SHAPE)
    # Whole numbers: the sums are exact in any order, and too long for float16.
    weight = np.random.default_rng(1).integers(-40, 40, (4, 4, 3, 3)).astype(np.float32)
    net.constants["model.a.weight"] = weight
    net.op("Conv", "x", "model.a.weight", to="a", pads=[1] * 4)
    net.op("Relu", "a", to="y")
    model = emulated(half_of(net.model("y")))
    assert rounded_tensors(model) == {"x/float16", "a"}
    x = np.random.default_rng(2).integers(-40, 40, SHAPE).astype(np.float32)
    exact = run_onnx(net.model("y"), x=x)["y"]
    assert np.abs(exact).max() > 4096
    wanted = exact.astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(run_onnx(model, x=x)["y"], wanted)
    assert (wanted != exact).any()


def test_nothing_is_left_in_half_precision_but_the_roundings() -> None:
    net = Network(x=SHAPE)
    net.conv("x", (4, 4, 3, 3), to="a")
    net.op("Softmax", "a", to="wide", axis=1)
    net.op("Concat", "a", "wide", to="y", axis=1)
    half = half_of(net.model("y", "a"), "fp16", "wide")
    made = emulated(half)
    types = {tensor.data_type for tensor in made.graph.initializer}
    assert types == {TensorProto.FLOAT}
    small = [
        v for v in made.graph.value_info if v.type.tensor_type.elem_type == TensorProto.FLOAT16
    ]
    assert all(value.name.endswith("/rounded") for value in small)
    assert [value.name for value in made.graph.output] == ["y", "a"]
    stored = {t.name: numpy_helper.to_array(t) for t in half.graph.initializer}
    for tensor in made.graph.initializer:
        np.testing.assert_array_equal(numpy_helper.to_array(tensor), stored[tensor.name])


def test_what_float32_nodes_give_is_rounded_where_it_enters() -> None:
    net = Network(x=SHAPE)
    net.op("Mul", "x", np.float32([1.1]), to="wide")
    net.op("Relu", "wide", to="y")
    model = emulated(half_of(net.model("y"), "fp16", "wide"))
    x = data()
    wanted = np.maximum((x * np.float32(1.1)).astype(np.float16), 0)
    np.testing.assert_array_equal(run_onnx(model, x=x)["y"], wanted)


def int8_model(*, side: bool = False) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """An INT8 residual block, with float32 and with half precision in between.

    `side`: the sum is read by a convolution that is not INT8, too.
    """
    net = Network(x=SHAPE)
    weight = (4, 4, 3, 3)
    net.conv("x", weight, to="first")
    net.op("Relu", "first", to="stem")
    net.residual_block("stem", weight)
    net.conv("out", weight, to="c")
    net.conv("c", (4, 4, 1, 1), to="last")
    outputs = ["last"]
    if side:
        net.conv("out", (4, 4, 1, 1), to="side")
        outputs.append("side")
    model = net.model(*outputs)
    placement = place(gs.import_onnx(model).toposort())
    made, _ = run_passes(model, [quantise(placement, dict.fromkeys(placement.calibrated, 4.0))])
    kept = stay_high(gs.import_onnx(made).toposort())
    half, _ = run_passes(made, [to_half("fp16", kept)])
    return made, half


def test_nothing_is_rounded_between_int8_tensors() -> None:
    model = emulated(int8_model()[1])
    # `c` and `last` are not INT8 tensors; weights and data are exact in INT8 times float16.
    assert rounded_tensors(model) == {"c", "last/half"}
    for name, reader in (("first", "stem"), ("b", "sum"), ("sum", "out")):
        assert name in node_named(model, reader).input
    assert node_named(model, "out").output[0] == node_named(model, "out/quantize").input[0]


def test_what_somebody_else_reads_is_rounded_on_its_way_to_int8() -> None:
    model = emulated(int8_model(side=True)[1])
    assert rounded_tensors(model) == {"b", "sum", "c", "last/half", "side/half"}


def test_onnx_runtime_fuses_as_much_int8_as_without_half_precision(tmp_path: Path) -> None:
    def fused(model: onnx.ModelProto) -> Counter[str]:
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
        ort.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
        nodes = onnx.load(tmp_path / "optimised.onnx").graph.node
        return Counter(node.op_type for node in nodes if node.op_type != "Cast")

    wide, half = int8_model()
    assert fused(emulated(half)) == fused(wide)
    assert fused(wide)["FusedConv"] == 3
    assert fused(half) != fused(wide)


def test_emulated_int8_differs_from_float32_s_by_roundings_only() -> None:
    wide, half = int8_model()
    x = data()
    wanted, got = (run_onnx(each, x=x)["last"] for each in (wide, emulated(half)))
    assert 0 < np.abs(got - wanted).max() < 8 * 2**-11 * np.abs(wanted).max()


def test_a_graph_without_half_precision_stays_as_it_is() -> None:
    net = Network(x=SHAPE)
    net.conv("x", (4, 4, 3, 3), to="y")
    made = emulated(net.model("y"))
    assert [node.op_type for node in made.graph.node] == ["Conv"]
