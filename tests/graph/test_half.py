"""Half precision: what stays in float32 and why, one cast per crossing, names and types kept."""

from collections.abc import Callable

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest
from onnx import TensorProto, helper, numpy_helper

from lzu_export.errors import LzuError
from lzu_export.graph.emulate.half import emulate_half
from lzu_export.graph.half import half_tensors, stay_high, to_half
from lzu_export.graph.passes import run_passes
from lzu_export.graph.quantize import place, quantise
from samples import Network, made_by, node_named, random_tables, run_onnx

MAP = (1, 4, 12, 16)


def trunk() -> Network:
    """Normalisation, a first and a last convolution and a decode; to be filled in between."""
    net = Network(x=MAP)
    net.op("Mul", "x", np.float32([0.1]), to="normalised")
    net.conv("normalised", (4, 4, 3, 3), to="first")
    return net


def finished(net: Network, features: str, *outputs: str) -> onnx.ModelProto:
    net.conv(features, (4, 4, 1, 1), to="last")
    net.op("Sigmoid", "last", to="scores")
    return net.model("scores", *outputs)


def reasons(model: onnx.ModelProto, *keep: str) -> dict[str, str]:
    return stay_high(gs.import_onnx(model).toposort(), keep)


def half_of(model: onnx.ModelProto, *keep: str) -> onnx.ModelProto:
    half, _ = run_passes(model, [to_half("fp16", reasons(model, *keep))])
    onnx.checker.check_model(half, full_check=True)
    return half


def types(model: onnx.ModelProto) -> dict[str, int]:
    """The type of every tensor."""
    values = (*model.graph.value_info, *model.graph.input, *model.graph.output)
    found = {value.name: value.type.tensor_type.elem_type for value in values}
    return found | {tensor.name: tensor.data_type for tensor in model.graph.initializer}


def test_the_ends_stay_and_what_is_between_does_not() -> None:
    kept = reasons(finished(trunk(), "first"))
    assert kept == {
        "normalised": "it prepares the image: camera values, and a warp of up to thousands of "
        "pixels",
        "scores": "it decodes: scores, places, sizes",
    }


def between(op: str, **attributes: object) -> Callable[[Network], str]:
    return lambda net: net.op(op, "first", to="middle", **attributes)


def normalised(net: Network) -> str:
    factors = (np.ones(4, np.float32), np.zeros(4, np.float32))
    return net.op("InstanceNormalization", "first", *factors, to="middle")


def reduced(net: Network) -> str:
    return net.op("ReduceMean", "first", np.array([2, 3]), to="middle", keepdims=1)


def cast(net: Network) -> str:
    net.nodes.append(helper.make_node("Cast", ["first"], ["middle"], "middle", to=1))
    return "middle"


FRAGILE = {
    "InstanceNormalization": (normalised, "a normalisation divides by the deviation"),
    "Softmax": (between("Softmax", axis=1), "exponentials overflow"),
    "LogSoftmax": (between("LogSoftmax", axis=1), "exponentials overflow"),
    "Exp": (between("Exp"), "exponentials overflow"),
    "ReduceMean": (reduced, "a mean adds up many values"),
    "GlobalAveragePool": (between("GlobalAveragePool"), "a mean adds up many values"),
    "AveragePool": (between("AveragePool", kernel_shape=[2, 2]), "a mean adds up many values"),
    "Cast": (cast, "its type is an attribute"),
}


@pytest.mark.parametrize("name", FRAGILE)
def test_fragile_operators_stay(name: str) -> None:
    add, reason = FRAGILE[name]
    net = trunk()
    model = finished(net, add(net))
    assert reasons(model)["middle"].startswith(reason)
    half = half_of(model)
    assert types(half)["middle"] == TensorProto.FLOAT
    x = np.random.default_rng(0).standard_normal(MAP).astype(np.float32)
    wanted = run_onnx(model, x=x)["scores"]
    assert np.abs(run_onnx(half, x=x)["scores"] - wanted).max() < 0.01


def test_pooled_means_stay_and_what_enlarges_does_not() -> None:
    net = trunk()
    net.op("MatMul", np.full((3, 12), 1 / 12, np.float32), "first", to="pooled")
    net.op("MatMul", np.full((12, 3), 1 / 3, np.float32), "pooled", to="middle")
    kept = reasons(finished(net, "middle"))
    assert kept["pooled"] == "a pooled mean adds up many values"
    assert "middle" not in kept


@pytest.mark.parametrize(("length", "stays"), [(1023, False), (1024, True), (4096, True)])
def test_long_sums_stay(length: int, stays: bool) -> None:
    net = Network(x=(1, 4, 12, length))
    net.conv("x", (4, 4, 1, 1), to="first")
    net.op("MatMul", "first", np.ones((length, length), np.float32), to="middle")
    kept = reasons(finished(net, "middle"))
    assert kept.get("middle") == (f"its products add up {length} terms" if stays else None)


def test_what_says_where_to_sample_stays_and_what_is_sampled_does_not() -> None:
    net = trunk()
    model = finished(net, net.predicted_deform("first", MAP))
    kept = reasons(model)
    for name in ("conv_offset", "offset", "logit", "mask"):
        assert kept[name] == "it computes where a deformable convolution samples"
    assert "deform" not in kept
    half = half_of(model)
    said = types(half)
    found = [said[name] for name in node_named(half, "deform").input]
    wide, small = TensorProto.FLOAT, TensorProto.FLOAT16
    assert found == [small, small, wide, small, wide]
    x = np.random.default_rng(0).standard_normal(MAP).astype(np.float32)
    wanted = run_onnx(model, x=x)["scores"]
    assert np.abs(run_onnx(half, x=x)["scores"] - wanted).max() < 0.01


def test_the_recipe_keeps_layers_nodes_and_patterns() -> None:
    net = trunk()
    net.conv("first", (4, 4, 1, 1), to="node_7", layer="neck.lateral")
    model = finished(net, "node_7")
    for keep in ("neck.lateral", "node_7", "neck.*"):
        assert reasons(model, keep)["node_7"] == "the recipe keeps it"
    half = half_of(model, "neck.*")
    assert types(half)["model.neck.lateral.weight"] == TensorProto.FLOAT
    assert types(half)["model.first.weight"] == TensorProto.FLOAT16
    assert reasons(model, "scores")["scores"] == "it decodes: scores, places, sizes"
    message = (
        r"higher_precision\.fp16 names neck\.latral, which matches no layer; did you mean neck\.lat"
    )
    with pytest.raises(LzuError, match=message):
        reasons(model, "neck.latral")


def test_a_kept_layer_keeps_what_it_feeds_up_to_the_next_ones() -> None:
    """Activation, warp, sum and pooling behind it stay float32; its neighbours become half."""
    net = trunk()
    net.op("Relu", "first", to="before")
    net.conv("before", (4, 4, 3, 3), to="kept")
    net.op("Relu", "kept", to="active")
    net.warp("active", MAP, random_tables(0, MAP[2:], MAP[2:]), to="warped")
    net.op("Add", "warped", "before", to="sum")
    net.op("MaxPool", "sum", to="pooled", kernel_shape=[1, 1])
    net.conv("pooled", (4, 4, 3, 3), to="next")
    net.op("Relu", "next", to="after")
    model = finished(net, "after")
    kept = reasons(model, "kept")
    assert kept["kept"] == "the recipe keeps it"
    passed_on = {name for name, why in kept.items() if why.startswith("it passes on what a layer")}
    assert passed_on == {"active", "warped", "sum", "pooled"}
    said = types(half_of(model, "kept"))
    wide = [name for name in ("kept", "active", "warped", "sum", "pooled") if said[name] == 1]
    assert wide == ["kept", "active", "warped", "sum", "pooled"]
    small = [said[name] for name in ("first", "before", "next", "after")]
    assert small == [TensorProto.FLOAT16] * 4
    x = np.random.default_rng(0).standard_normal(MAP).astype(np.float32)
    wanted = run_onnx(model, x=x)["scores"]
    assert np.abs(run_onnx(half_of(model, "kept"), x=x)["scores"] - wanted).max() < 0.01


def test_a_tensor_beyond_the_range_survives_between_kept_layers() -> None:
    """One layer enlarges it and the next shrinks it; in FP16 it would be infinite between them."""
    net = trunk()
    net.conv("first", (4, 4, 3, 3), to="large")
    net.op("Relu", "large", to="active")
    net.conv("active", (4, 4, 3, 3), to="small")
    net.constants["model.large.weight"] *= np.float32(3e4)
    net.constants["model.small.weight"] /= np.float32(3e4)
    net.constants["model.small.bias"] *= 0
    model = finished(net, "small")
    x = 30 * np.random.default_rng(0).standard_normal(MAP).astype(np.float32)
    wanted = run_onnx(model, x=x)["scores"]

    def error(*keep: str) -> float:
        rounded, _ = run_passes(half_of(model, *keep), [emulate_half()])
        return float(np.abs(run_onnx(rounded, x=x)["scores"] - wanted).max())

    assert error("large", "small") < 0.01
    assert not error("large") < 0.1  # NaN, too


def test_kept_layers_in_int8_have_no_casts_behind_their_dequantisations() -> None:
    """The pair between two kept layers stays, too, unless other layers read it."""
    net = trunk()
    net.op("Relu", "first", to="active")
    net.conv("active", (4, 4, 3, 3), to="second")
    net.conv("active", (4, 4, 3, 3), to="other")
    net.op("Add", "second", "other", to="sum")
    model = finished(net, "sum")
    placement = place(gs.import_onnx(model).toposort())
    ranges = dict.fromkeys(placement.calibrated, 2.0)
    quantised, _ = run_passes(model, [quantise(placement, ranges)])
    said = types(half_of(quantised, "first", "second", "other"))
    assert said["active/dequantised"] == TensorProto.FLOAT
    half = half_of(quantised, "first", "second")
    assert types(half)["active/dequantised"] == TensorProto.FLOAT16
    assert made_by(half, node_named(half, "other").input[0]) == "DequantizeLinear"
    # Not rounded to FP16, where it may not fit, before it is quantised.
    assert types(half)[node_named(half, "active/quantize").input[0]] == TensorProto.FLOAT


def test_a_dequantisation_for_float32_nodes_alone_has_a_float32_scale() -> None:
    """A half-precision scale would round its result, and put a cast behind it."""
    net = trunk()
    net.op("Relu", "first", to="active")
    net.conv("active", (4, 4, 3, 3), to="second")
    model = finished(net, "second")
    placement = place(gs.import_onnx(model).toposort())
    quantised, _ = run_passes(
        model, [quantise(placement, dict.fromkeys(placement.calibrated, 2.0))]
    )
    pair = node_named(quantised, "active/dequantize")
    (convolution,) = (each for each in quantised.graph.node if "active/dequantised" in each.input)
    convolution.op_type = "Softmax"
    del convolution.input[1:], convolution.attribute[:]
    half = half_of(quantised)
    kept = node_named(half, "active/dequantize")
    assert types(half)[pair.output[0]] == TensorProto.FLOAT
    scales = {each.name: each.data_type for each in half.graph.initializer}
    assert scales[kept.input[1]] == TensorProto.FLOAT
    assert list(node_named(half, convolution.name).input) == [pair.output[0]]


def test_a_tensor_that_crosses_is_cast_once() -> None:
    net = trunk()
    for name in ("a", "b"):
        net.op("Softmax", "first", to=f"wide_{name}", axis=1)
        net.op("Relu", "first", to=f"small_{name}")
    net.op("Sum", "small_a", "small_b", "wide_a", "wide_b", to="sum")
    net.op("Mul", "sum", "wide_a", to="again")
    half = half_of(finished(net, "again"))
    casts = [(node.input[0], node.output[0]) for node in half.graph.node if node.op_type == "Cast"]
    assert len({source for source, _ in casts}) == len(casts)
    assert {source for source, _ in casts} == {"normalised", "first", "wide_a", "wide_b", "last"}
    for reader in ("wide_a", "wide_b"):
        assert list(node_named(half, reader).input) == ["first/float32"]


def test_an_output_that_float32_nodes_read_too_is_cast_once() -> None:
    net = trunk()
    net.op("Softmax", "first", to="wide", axis=1)
    half = half_of(finished(net, "wide", "first"))
    readers = [node for node in half.graph.node if "first/half" in node.input]
    assert [node.op_type for node in readers] == ["Cast"]
    assert list(node_named(half, "wide").input) == ["first"]


def test_inputs_and_outputs_keep_names_types_and_order() -> None:
    net = trunk()
    model = finished(net, "first", "first", "last", "normalised")
    half = half_of(model)
    assert list(half.graph.input) == list(model.graph.input)
    assert list(half.graph.output) == list(model.graph.output)
    assert made_by(half, "last") == made_by(half, "first") == "Cast"
    x = np.random.default_rng(0).standard_normal(MAP).astype(np.float32)
    wanted, got = run_onnx(model, x=x), run_onnx(half, x=x)
    for name, value in wanted.items():
        assert np.abs(got[name] - value).max() < 0.01


def test_a_constant_that_both_read_is_stored_in_both_types() -> None:
    net = trunk()
    factor = np.full((1, 4, 1, 1), 0.3, np.float32)
    net.constants["shared"] = factor
    net.op("Mul", "first", "shared", to="small")
    net.op("Exp", "small", to="wide")
    net.op("Mul", "wide", "shared", to="narrow")
    net.op("Add", "narrow", "shared", to="both")
    model = finished(net, "both")
    half, _ = run_passes(model, [to_half("fp16", {**reasons(model), "narrow": "for this test"})])
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in half.graph.initializer}
    assert stored["shared"].dtype == np.float32
    np.testing.assert_array_equal(stored["shared"], factor)
    assert stored["shared/float16"].dtype == np.float16
    assert [node_named(half, n).input[1] for n in ("small", "narrow", "both")] == [
        "shared/float16",
        "shared",
        "shared/float16",
    ]


def test_scales_of_a_resize_and_whole_numbers_stay_as_they_are() -> None:
    net = trunk()
    scales = np.float32([1, 1, 2, 2])
    roi = np.array([], np.float32)
    attributes = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    net.op("Resize", "first", roi, scales, to="middle", mode="nearest", **attributes)
    half = half_of(finished(net, "middle"))
    said = types(half)
    assert said["middle"] == TensorProto.FLOAT16
    assert said["middle_2"] == TensorProto.FLOAT


def test_tables_of_a_warp_stay_and_its_features_do_not() -> None:
    net = trunk()
    net.warp("first", MAP, random_tables(0, MAP[2:], (9, 7)), to="warped")
    half = half_of(finished(net, "warped"))
    said = types(half)
    assert [said[each] for each in node_named(half, "warped").input] == [
        TensorProto.FLOAT16,
        TensorProto.FLOAT,
        TensorProto.FLOAT,
    ]


def test_too_large_a_constant_is_refused_by_name_but_not_an_infinite_one() -> None:
    def model(value: float) -> onnx.ModelProto:
        net = trunk()
        net.constants["limit"] = np.float32([value])
        return finished(net, net.op("Min", "first", "limit", to="middle"))

    with pytest.raises(LzuError, match=r"the constant limit holds 7e\+04, more than half prec"):
        half_of(model(70000))
    assert types(half_of(model(np.inf)))["limit"] == TensorProto.FLOAT16
    assert types(half_of(model(65504)))["limit"] == TensorProto.FLOAT16


def test_a_graph_without_types_is_refused() -> None:
    model = finished(trunk(), "first")
    kept = reasons(model)
    for i, value in enumerate(model.graph.value_info):
        if value.name == "first":
            del model.graph.value_info[i]
            break
    with pytest.raises(LzuError, match="the tensor first has no type in the graph; export it aga"):
        run_passes(model, [to_half("fp16", kept)])


def test_tensors_to_be_half_are_told_beforehand() -> None:
    """The list includes tensors cast to half, but no tables, and each tensor once."""
    net = trunk()
    net.op("Exp", "first", to="wide")
    net.op("Add", "wide", "first", to="sum")
    net.warp("sum", MAP, random_tables(0, MAP[2:], (9, 7)), to="warped")
    model = finished(net, "warped")
    graph = gs.import_onnx(model).toposort()
    found = half_tensors(graph, stay_high(graph))
    assert found == ["normalised", "first", "wide", "sum", "warped", "last"]
    half = half_of(model)
    small = {n for n, kind in types(half).items() if kind == TensorProto.FLOAT16}
    stored = {tensor.name for tensor in half.graph.initializer}
    assert {n.removesuffix("/float16") for n in small - stored} == set(found)


def test_the_data_of_an_int8_convolution_come_from_its_dequantisation() -> None:
    """This holds for the first convolution, too, although its input stays in float32."""
    net = trunk()
    net.op("Relu", "first", to="rectified")
    net.conv("rectified", (4, 4, 3, 3), to="second")
    model = finished(net, "second")
    placement = place(gs.import_onnx(model).toposort())
    assert set(placement.layers) == {"first", "second"}
    ranges = dict.fromkeys(placement.calibrated, 2.0)
    quantised, _ = run_passes(model, [quantise(placement, ranges)])
    half = half_of(quantised)
    said = types(half)
    for name in ("first", "second"):
        for tensor in node_named(half, name).input[:2]:
            assert made_by(half, tensor) == "DequantizeLinear"
            assert said[tensor] == TensorProto.FLOAT16
    # What is quantised first is not rounded to half before.
    assert said[node_named(half, "normalised/quantize").input[0]] == TensorProto.FLOAT
    assert reasons(quantised, "first")["first"] == "the recipe keeps it"


def test_values_are_written_into_the_graph_where_they_say_their_type() -> None:
    net = trunk()
    net.op("Constant", to="one", value=numpy_helper.from_array(np.float32([1])))
    half = half_of(finished(net, net.op("Add", "first", "one", to="middle")))
    assert types(half)["middle"] == TensorProto.FLOAT16
