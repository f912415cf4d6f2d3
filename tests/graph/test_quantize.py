"""INT8: where pairs stand, and whose scale they carry."""

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from quantised_networks import (
    MAP,
    SHAPE,
    behind,
    constants,
    finished,
    network,
    pairs,
    placed,
    quantised,
    scale_of,
)

from lzu_export.warp.geometry import Level
from lzu_export.warp.knots import separable_knots
from lzu_export.warp.tables import table_matrix, unzoom_tables
from samples import Network, made_by, node_named, random_tables, run_onnx

NEAREST = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}


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
