"""INT8: where pairs stand, whose scale they carry, how weights are stored, what stays high."""

from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from onnx import TensorProto, helper, numpy_helper

from lzu_export.errors import LzuError
from lzu_export.graph.passes import run_passes
from lzu_export.graph.quantize import (
    LEVELS,
    SMALLEST_SCALE,
    Placement,
    place,
    quantise,
    weight_scales,
)
from lzu_export.warp.geometry import Level
from lzu_export.warp.knots import separable_knots
from lzu_export.warp.tables import table_matrix, unzoom_tables
from samples import Network, made_by, node_named, random_tables, run_onnx

MAP = (1, 4, 12, 16)
SHAPE = (4, 4, 3, 3)
NEAREST = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}


def network(features: str = "stem") -> Network:
    net = Network(x=MAP)
    net.conv("x", SHAPE, to="first")
    net.op("Relu", "first", to=features)
    return net


def finished(net: Network, features: str, *outputs: str) -> onnx.ModelProto:
    """A prediction of these features is the last convolution."""
    net.conv(features, (4, 4, 1, 1), to="last")
    return net.model("last", *outputs)


def placed(model: onnx.ModelProto, *keep: str) -> Placement:
    return place(gs.import_onnx(model).toposort(), keep)


def limits(placement: Placement) -> dict[str, float]:
    """Ranges that tell tensors apart."""
    return {name: 1.0 + i for i, name in enumerate(placement.calibrated)}


def quantised(model: onnx.ModelProto, *keep: str) -> onnx.ModelProto:
    placement = placed(model, *keep)
    made, _ = run_passes(model, [quantise(placement, limits(placement))])
    onnx.checker.check_model(made, full_check=True)
    assert {o.domain: o.version for o in made.opset_import}[""] == 19
    check_pairs(made)
    return made


def constants(model: onnx.ModelProto) -> dict[str, Any]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def check_pairs(model: onnx.ModelProto) -> None:
    """What holds for every pair: symmetric, INT8, scales that float16 holds, same on both sides."""
    held = constants(model)
    quantisers = {n.output[0]: n for n in model.graph.node if n.op_type == "QuantizeLinear"}
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            scale, zero = (held[name] for name in node.input[1:])
            assert zero.dtype == np.int8
            assert not zero.any()
            assert (scale > 0).all()
            assert (scale == scale.astype(np.float16)).all()
        if node.op_type == "DequantizeLinear":
            made_from = node.input[0]
            if made_from in quantisers:
                assert node.input[1:] == quantisers[made_from].input[1:]
            else:
                assert held[made_from].dtype == np.int8
        if node.op_type == "QuantizeLinear":
            readers = [n.op_type for n in model.graph.node if node.output[0] in n.input]
            assert readers == ["DequantizeLinear"]
            assert made_by(model, node.input[0]) not in ("Reshape", "Transpose")


def behind(model: onnx.ModelProto, name: str, i: int) -> str:
    """The tensor that node `name` reads behind a pair at its input i; empty if in front."""
    read = node_named(model, name).input[i]
    if made_by(model, read) != "DequantizeLinear":
        return ""
    (back,) = [node for node in model.graph.node if read in node.output]
    whole = [node for node in model.graph.node if back.input[0] in node.output]
    return whole[0].input[0] if whole else back.input[0]


def scale_of(model: onnx.ModelProto, tensor: str) -> float:
    return float(constants(model)[node_named(model, f"{tensor}/quantize").input[1]])


def pairs(model: onnx.ModelProto) -> set[str]:
    return {n.input[0] for n in model.graph.node if n.op_type == "QuantizeLinear"}


def test_data_and_weights_of_each_convolution_and_nothing_else() -> None:
    net = network()
    net.conv("stem", SHAPE, to="second")
    model = finished(net, "second")
    made = quantised(model)
    assert pairs(made) == {"x", "stem"}
    for name, data in (("first", "x"), ("second", "stem")):
        assert behind(made, name, 0) == data
        assert behind(made, name, 1) == f"model.{name}.weight/int8"
        assert node_named(made, name).input[2] == f"model.{name}.bias"
        (back,) = [n for n in made.graph.node if n.name == f"model.{name}.weight/dequantize"]
        assert helper.get_attribute_value(back.attribute[0]) == 0  # the axis of output channels
    held = constants(made)
    for name in ("first", "second"):
        assert held[f"model.{name}.bias"].dtype == np.float32
        assert held[f"model.{name}.weight/int8"].dtype == np.int8
        assert held[f"model.{name}.weight/scale"].shape == (4,)
        assert f"model.{name}.weight" not in held
    assert behind(made, "last", 0) == behind(made, "last", 1) == ""


def test_a_tensor_that_several_read_has_one_pair_and_float_readers_read_in_front() -> None:
    net = network()
    net.conv("stem", SHAPE, to="left")
    net.conv("stem", SHAPE, to="right")
    net.op("Concat", "left", "right", "stem", to="joined", axis=0)
    made = quantised(finished(net, "joined"))
    assert behind(made, "left", 0) == behind(made, "right", 0) == "stem"
    assert node_named(made, "left").input[0] == node_named(made, "right").input[0]
    assert list(node_named(made, "joined").input) == ["left", "right", "stem"]


def test_an_identity_shortcut_is_quantised_and_the_convolution_added_to_it_is_not() -> None:
    net = network()
    net.residual_block("stem", SHAPE)
    net.conv("out", SHAPE, to="c")
    net.op("Add", "out", "c", to="next")  # the next block's, written the other way round
    net.op("Relu", "next", to="next_out")
    made = quantised(finished(net, "next_out"))
    assert behind(made, "sum", 1) == "stem"
    assert behind(made, "sum", 0) == ""
    assert behind(made, "next", 0) == "out"
    assert behind(made, "next", 1) == ""
    assert pairs(made) == {"x", "stem", "a_relu", "out"}


def test_of_a_downsample_shortcut_the_later_operand_is_quantised() -> None:
    net = network()
    net.conv("stem", SHAPE, to="main", stride=2)
    net.conv("stem", (4, 4, 1, 1), to="downsample", stride=2)
    net.op("Add", "main", "downsample", to="sum")
    made = quantised(finished(net, "sum"))
    assert behind(made, "sum", 1) == "downsample"
    assert behind(made, "sum", 0) == ""


def test_an_addition_of_what_is_no_int8_has_no_pair() -> None:
    net = network()
    net.conv("stem", SHAPE, to="kept")
    net.conv("stem", SHAPE, to="main")
    net.op("Sigmoid", "main", to="gate")
    net.op("Add", "kept", "gate", to="sum")
    net.op("Add", "sum", np.float32([1]), to="shifted")
    made = quantised(finished(net, "shifted"), "kept")
    assert behind(made, "sum", 0) == behind(made, "sum", 1) == behind(made, "shifted", 0) == ""
    assert behind(made, "kept", 0) == behind(made, "kept", 1) == ""
    assert made_by(made, "stem/dequantised") == "DequantizeLinear"


def test_a_convolution_whose_result_someone_else_reads_does_not_fuse() -> None:
    net = network()
    net.conv("stem", SHAPE, to="main")
    net.op("Add", "main", "stem", to="sum")
    net.op("Sigmoid", "main", to="gate")
    net.op("Mul", "sum", "gate", to="gated")
    made = quantised(finished(net, "gated"))
    assert behind(made, "sum", 0) == behind(made, "sum", 1) == ""


def test_a_coarser_level_is_quantised_with_one_scale_before_and_behind_its_resize() -> None:
    net = network()
    net.conv("stem", SHAPE, to="deep", stride=2)
    net.conv("deep", (4, 4, 1, 1), to="top")
    net.conv("stem", (4, 4, 1, 1), to="lateral")
    empty, twice = np.array([], np.float32), np.float32([1, 1, 2, 2])
    net.op("Resize", "top", empty, twice, to="larger", mode="nearest", **NEAREST)
    net.op("Add", "lateral", "larger", to="sum")
    net.conv("sum", SHAPE, to="fine")
    net.conv("top", SHAPE, to="coarse")
    made = quantised(finished(net, "fine", "coarse"), "coarse*")
    assert behind(made, "sum", 1) == "larger"
    assert behind(made, "sum", 0) == ""
    assert behind(made, "larger", 0) == "top"
    assert scale_of(made, "larger") == scale_of(made, "top")
    assert "larger" not in placed(net.model("last", "coarse")).calibrated
    x = np.random.default_rng(0).standard_normal(MAP).astype(np.float32)
    for model in (made, net.model("last", "coarse")):
        model.graph.output.append(helper.make_tensor_value_info("larger", TensorProto.FLOAT, MAP))
    got = run_onnx(made, x=x)["larger"]
    steps = got / scale_of(made, "top")
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-4)  # the second pair loses nothing


def test_a_linear_resize_is_no_rearrangement() -> None:
    net = network()
    net.conv("stem", SHAPE, to="deep", stride=2)
    empty, twice = np.array([], np.float32), np.float32([1, 1, 2, 2])
    net.op("Resize", "deep", empty, twice, to="larger", mode="linear")
    net.conv("larger", SHAPE, to="after")
    model = finished(net, "after")
    assert behind(quantised(model), "larger", 0) == ""
    assert "larger" in placed(model).calibrated


def test_a_max_pool_runs_between_a_convolution_and_its_pair() -> None:
    net = network()
    net.op("MaxPool", "stem", to="pooled", kernel_shape=[2, 2], strides=[2, 2])
    net.conv("pooled", SHAPE, to="main")
    net.op("Add", "main", "pooled", to="sum")
    made = quantised(finished(net, "sum"))
    assert pairs(made) == {"x", "pooled"}
    assert behind(made, "sum", 1) == "pooled"


def test_an_unzoom_stands_between_pairs_of_its_producer_s_scale() -> None:
    net = network()
    net.warp("stem", MAP, random_tables(0, MAP[2:], (9, 7)), to="warped")
    net.conv("warped", SHAPE, to="after")
    model = finished(net, "after")
    made = quantised(model)
    assert behind(made, "warped", 0) == "stem"
    assert behind(made, "after", 0) == "warped"
    assert scale_of(made, "warped") == scale_of(made, "stem")
    assert placed(model).calibrated == ("x", "stem")
    assert placed(model).sources["warped"] == "stem"


def partial_warps(net: Network, source: str = "stem", other: str = "stem") -> Network:
    net.warp(source, MAP, random_tables(0, MAP[2:], (9, 7)), to="main")
    net.warp(other, MAP, random_tables(1, MAP[2:], (9, 7)), to="edge")
    net.op("Add", "main", "edge", to="sum")
    net.conv("sum", SHAPE, to="after")
    return net


def test_partial_warps_of_one_map_are_summed_between_its_pairs() -> None:
    net = partial_warps(network())
    made = quantised(finished(net, "after"))
    assert behind(made, "main", 0) == behind(made, "edge", 0) == "stem"
    assert behind(made, "sum", 0) == behind(made, "sum", 1) == ""
    assert behind(made, "after", 0) == "sum"
    assert scale_of(made, "sum") == scale_of(made, "stem")


def test_warps_of_different_maps_have_a_range_of_their_own_where_they_are_summed() -> None:
    net = network()
    net.conv("stem", SHAPE, to="other")
    partial_warps(net, other="other")
    model = finished(net, "after")
    made = quantised(model)
    assert "sum" in placed(model).calibrated
    assert behind(made, "main", 0) == behind(made, "edge", 0) == ""


@pytest.mark.parametrize("unfilled", [(), ("bottom",), ("right", "bottom", "top", "left")])
@pytest.mark.parametrize("size", [(15, 22), (16, 25)])
def test_partial_warps_have_weights_that_add_up_to_one_at_most(
    size: tuple[int, int], unfilled: tuple[Any, ...]
) -> None:
    """Therefore the range of a warp's input covers its output."""
    saliency = np.random.default_rng(0).uniform(0.1, 1, (9, 13))
    knots_x, knots_y = separable_knots(saliency, 4.0)
    level, canvas = Level(8, size), (size[0] * 8, size[1] * 8)
    for geometry in ("published", "consistent"):
        tables = unzoom_tables(
            knots_x, knots_y, level, canvas, geometry=geometry, unfilled=unfilled
        )
        total = 0.0
        for rows, cols in tables:
            a_y, a_x = table_matrix(rows, size[0]), table_matrix(cols, size[1])
            assert min(a_y.min(), a_x.min()) >= 0
            total = total + np.outer(a_y.sum(axis=1), a_x.sum(axis=1))
        assert np.max(total) <= 1 + 1e-6


def test_joined_maps_are_quantised_together_and_the_warped_one_before_it_too() -> None:
    net = network()
    net.warp("stem", MAP, random_tables(0, MAP[2:], MAP[2:]), to="warped")
    net.conv("stem", SHAPE, to="other")
    net.op("Concat", "warped", "other", to="joined", axis=1)
    net.conv("joined", (4, 8, 3, 3), to="after")
    made = quantised(finished(net, "after"))
    assert behind(made, "after", 0) == "joined"
    assert behind(made, "joined", 0) == "warped"
    assert behind(made, "joined", 1) == ""
    assert behind(made, "warped", 0) == "stem"
    assert scale_of(made, "warped") == scale_of(made, "stem")


def test_the_image_keeps_its_resolution_up_to_the_zoom() -> None:
    net = Network(x=(1, 3, 24, 32))
    net.op("Mul", "x", np.float32([0.1]), to="scaled")
    net.warp("scaled", (1, 3, 24, 32), random_tables(0, (24, 32), MAP[2:]), to="zoom")
    net.conv("zoom", (4, 3, 3, 3), to="first")
    model = finished(net, "first")
    made = quantised(model)
    assert behind(made, "zoom", 0) == ""
    assert behind(made, "first", 0) == "zoom"
    assert placed(model).calibrated == ("zoom",)


def test_there_is_no_pair_around_what_only_changes_the_shape() -> None:
    """The graph is a group normalisation as it is exported."""
    net = network()
    net.op("Reshape", "stem", np.array([1, 2, -1]), to="groups")
    ones = (np.ones(2, np.float32), np.zeros(2, np.float32))
    net.op("InstanceNormalization", "groups", *ones, to="normal")
    net.op("Reshape", "normal", np.array(MAP), to="back")
    net.op("Mul", "back", np.ones((4, 1, 1), np.float32), to="scaled")
    net.op("Relu", "scaled", to="positive")
    net.conv("positive", SHAPE, to="after")
    net.op("Transpose", "after", to="turned", perm=[0, 2, 3, 1])
    net.op("Reshape", "turned", np.array([1, -1, 4]), to="rows")
    made = quantised(finished(net, "after", "rows"))
    assert pairs(made) == {"x", "positive"}


def test_predictions_deformable_convolutions_and_their_offsets_stay() -> None:
    net = network()
    net.predicted_deform("stem", MAP)
    net.conv("deform", SHAPE, to="after")
    net.op("MatMul", np.full((3, 12), 1 / 12, np.float32), "after", to="means")
    net.conv("means", (4, 4, 1, 1), to="pooled")
    net.op("Neg", np.ones((4, 4, 1, 1), np.float32), to="weight")
    net.op("Conv", "pooled", "weight", to="computed")
    model = finished(net, "computed")
    placement = placed(model)
    assert set(placement.layers) == {"first", "after"}
    assert placement.kept == {
        "conv_offset": "it computes where a deformable convolution samples",
        "deform": "a deformable convolution has no INT8 kernel",
        "pooled": "its data are pooled means, few and precise",
        "computed": "its weights are computed",
        "last": "a prediction: scores and regressions keep their resolution",
    }
    made = quantised(model)
    for name in placement.kept:
        assert behind(made, name, 0) == behind(made, name, 1) == ""


def test_the_recipe_keeps_layers_by_pattern_and_mistakes_are_told_the_nearest() -> None:
    net = network()
    net.conv("stem", SHAPE, to="layer1.0.conv1")
    net.conv("layer1.0.conv1", SHAPE, to="layer1.0.conv2")
    model = finished(net, "layer1.0.conv2")
    placement = placed(model, "layer1.*")
    assert set(placement.layers) == {"first"}
    assert placement.kept["layer1.0.conv1"] == "the recipe keeps it"
    assert pairs(quantised(model, "layer1.*")) == {"x"}
    message = (
        r"higher_precision\.int8 names layer1\.0\.conv, which matches no layer; did you mean layer1"
    )
    with pytest.raises(LzuError, match=message):
        placed(model, "layer1.0.conv")
    with pytest.raises(LzuError, match="matches no layer"):
        placed(model, "stem")  # a tensor, no layer


def test_a_layer_of_several_levels_has_one_set_of_weights_and_is_kept_as_a_whole() -> None:
    net = network()
    net.op("MaxPool", "stem", to="coarse", kernel_shape=[2, 2], strides=[2, 2])
    for level, x in (("fine", "stem"), ("low", "coarse")):
        net.conv(x, SHAPE, to=f"{level}_tower", layer="tower")
        net.conv(f"{level}_tower", (4, 4, 1, 1), to=f"{level}_scores", layer="scores")
    model = net.model("fine_scores", "low_scores")
    assert placed(model).layers == {"first": ("first",), "tower": ("fine_tower", "low_tower")}
    made = quantised(model)
    read = [node_named(made, f"{level}_tower").input[1] for level in ("fine", "low")]
    assert read[0] == read[1]
    assert sum(name.endswith("weight/int8") for name in constants(made)) == 2
    assert set(placed(model, "tower").layers) == {"first"}


def test_one_level_that_predicts_keeps_its_layer_high_everywhere() -> None:
    net = network()
    net.conv("stem", SHAPE, to="inner", layer="shared")
    net.conv("inner", SHAPE, to="outer", layer="shared")
    placement = placed(net.model("outer"))
    assert set(placement.layers) == {"first"}
    assert placement.kept["shared"].startswith("a prediction")


def test_weights_that_a_float_convolution_reads_too_are_stored_twice() -> None:
    net = network()
    net.constants["shared"] = np.ones(SHAPE, np.float32)
    net.op("Conv", "stem", "shared", to="inner", pads=[1] * 4)
    net.op("Conv", "inner", "shared", to="outer", pads=[1] * 4)
    made = quantised(net.model("outer"))
    held = constants(made)
    assert held["shared"].dtype == np.float32
    assert held["shared/int8"].dtype == np.int8
    assert (behind(made, "inner", 1), behind(made, "outer", 1)) == ("shared/int8", "")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "there is no range for the tensor stem; calibrate the model again"),
        (float("nan"), "the range of the tensor stem is nan; calibrate again on frames that"),
        (float("inf"), "the range of the tensor stem is inf; calibrate again"),
        (
            0.0,
            r"the range of the tensor stem is 0\.0; .*keep what reads it .*higher_precision\.int8",
        ),
        (1e9, r"the range of the tensor stem is 1000000000\.0"),
        (-1.0, r"the range of the tensor stem is -1\.0"),
    ],
)
def test_ranges_that_are_none_are_refused_by_name(value: float | None, message: str) -> None:
    net = network()
    net.conv("stem", SHAPE, to="second")
    placement = placed(finished(net, "second"))
    ranges = limits(placement)
    del ranges["stem"]
    if value is not None:
        ranges["stem"] = value
    with pytest.raises(LzuError, match=message):
        quantise(placement, ranges)


def test_an_int8_network_stays_near_its_own_float32() -> None:
    net = network()
    net.conv("stem", SHAPE, to="main")
    net.op("Add", "main", "stem", to="sum")
    net.op("Relu", "sum", to="positive")
    net.warp("positive", MAP, random_tables(0, MAP[2:], MAP[2:]), to="warped")
    net.conv("warped", SHAPE, to="after")
    model = finished(net, "after", "stem", "positive")
    x = np.random.default_rng(0).standard_normal(MAP).astype(np.float32)
    wanted = run_onnx(model, x=x)
    placement = placed(model)
    ranges = {n: float(np.abs(x if n == "x" else wanted[n]).max()) for n in placement.calibrated}
    made, _ = run_passes(model, [quantise(placement, ranges)])
    got = run_onnx(made, x=x)["last"]
    noise = np.linalg.norm(got - wanted["last"]) / np.linalg.norm(wanted["last"])
    assert 1e-4 < noise < 0.05


FLOATS = st.floats(-100, 100, width=32)
WEIGHTS = arrays.arrays(np.float32, (3, 2, 1, 2), elements=FLOATS)


def stored_weights(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights as INT8 and their scales, of the pass."""
    net = Network(x=(1, 2, 3, 4))
    net.constants["model.a.weight"] = weight
    net.op("Conv", "x", "model.a.weight", to="a")
    net.op("Conv", "a", np.ones((1, 3, 1, 1), np.float32), to="last")
    held = constants(quantised(net.model("last")))
    return held["model.a.weight/int8"], held["model.a.weight/scale"]


@settings(max_examples=60, deadline=None)
@given(WEIGHTS)
def test_weights_are_off_by_half_a_step_at_most(weight: np.ndarray) -> None:
    assume(not 0 < np.abs(weight).max() < LEVELS * SMALLEST_SCALE)  # these are not quantised
    steps, scales = stored_weights(weight)
    assert steps.min() >= -LEVELS
    np.testing.assert_array_equal(scales, weight_scales(weight))
    column = scales.reshape(-1, 1, 1, 1).astype(np.float64)
    assert (np.abs(steps * column - weight) <= 0.5 * column * (1 + 1e-6)).all()
    largest = np.abs(weight).reshape(3, -1).max(axis=1)
    assert (scales >= largest / LEVELS * (1 - 1e-7)).all()
    fine = largest / LEVELS > 2**-14  # where float16 has its full precision
    assert (scales[fine] <= largest[fine] / LEVELS * (1 + 2**-10)).all()


def test_a_channel_of_zeros_has_a_scale_and_stays_zero() -> None:
    weight = np.ones((3, 2, 1, 2), np.float32)
    weight[1] = 0
    weight[2] = 1e-12
    steps, scales = stored_weights(weight)
    assert (steps[0] == LEVELS).all()
    assert not steps[1:].any()
    assert (scales[1:] == SMALLEST_SCALE).all()


@pytest.mark.parametrize("limit", [2.0, 0.05, 0.001])
def test_a_bias_of_a_dead_channel_survives_where_it_is_made_int32(limit: float) -> None:
    """ONNX Runtime divides it by both scales, and a dead channel's scale is nearly zero."""
    net = Network(x=MAP)
    weight = np.random.default_rng(0).normal(0, 0.3, SHAPE).astype(np.float32)
    weight[1], weight[2] = 0, 1e-7
    net.constants["model.a.weight"] = weight
    net.constants["model.a.bias"] = np.float32([0.1, 10, -10, 0.3])
    net.op("Mul", "x", np.float32([0.5]), to="smaller")
    for name, x in (("near", "x"), ("far", "smaller")):
        net.conv(x, SHAPE, to=name, layer="a")
        net.op("Relu", name, to=f"{name}_relu")
        net.conv(f"{name}_relu", (4, 4, 1, 1), to=f"{name}_last", layer="last")
    model = net.model("near_last", "far_last")
    placement = placed(model)
    ranges = dict.fromkeys(placement.calibrated, limit) | {"smaller": limit / 2}
    made, _ = run_passes(model, [quantise(placement, ranges)])
    held = constants(made)
    step = held["model.a.weight/scale"] * held["smaller/scale"]
    assert (np.abs(held["model.a.bias"]) / step < 2**30 * 1.001).all()
    x = np.random.default_rng(1).uniform(-limit, limit, MAP).astype(np.float32)
    wanted, got = run_onnx(model, x=x), run_onnx(made, x=x)
    for name, value in wanted.items():
        assert np.linalg.norm(got[name] - value) < 0.01 * np.linalg.norm(value)


@settings(max_examples=60, deadline=None)
@given(
    limit=st.floats(0.01, 1e4),
    values=arrays.arrays(np.float64, 24, elements=st.floats(-1, 1)),
)
def test_values_within_the_range_are_off_by_half_a_step_at_most(
    limit: float, values: np.ndarray
) -> None:
    net = Network(x=(1, 1, 4, 6))
    net.constants["model.a.weight"] = np.ones((1, 1, 1, 1), np.float32)
    net.op("Conv", "x", "model.a.weight", to="a")
    net.op("Conv", "a", np.ones((1, 1, 1, 1), np.float32), to="last")
    model = net.model("last")
    made, _ = run_passes(model, [quantise(placed(model), {"x": limit})])
    info = helper.make_tensor_value_info("x/dequantised", TensorProto.FLOAT, (1, 1, 4, 6))
    made.graph.output.append(info)
    x = (values * limit).astype(np.float32).reshape(1, 1, 4, 6)
    scale = scale_of(made, "x")
    assert limit / LEVELS * (1 - 1e-6) <= scale <= limit / LEVELS * (1 + 2**-10)
    back = run_onnx(made, x=x)["x/dequantised"]
    assert (np.abs(back - x) <= 0.5 * scale * (1 + 1e-5)).all()


def test_weights_too_small_for_a_scale_stay_high_and_single_channels_do_not() -> None:
    """In INT8 such weights would become a few steps or zero, which a later layer enlarges."""
    net = network()
    net.conv("stem", SHAPE, to="small")
    net.conv("small", SHAPE, to="mixed")
    net.constants["model.small.weight"] *= np.float32(1e-5)
    net.constants["model.mixed.weight"][1:] *= np.float32(1e-20)
    placement = placed(finished(net, "mixed"))
    assert placement.kept["small"] == "its weights are smaller than a float16 scale can resolve"
    assert set(placement.layers) == {"first", "mixed"}
