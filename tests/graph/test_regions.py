"""Parts of a network: preparation, decode, predictions, positions; names of layers."""

import numpy as np
import onnx_graphsurgeon as gs
import pytest

from lzu_export.graph.passes import run_passes
from lzu_export.graph.quantize import place, quantise
from lzu_export.graph.regions import Regions, find_regions, is_pooled_mean, layer_name
from samples import Network, random_tables

MAP = (1, 4, 12, 16)


def detector() -> Network:
    """frame -> zoom, normalised -> stem -> two levels -> one head -> decode with camera values."""
    net = Network(frame=(1, 3, 24, 32), camera=(1, 1, 1, 1))
    net.warp("frame", (1, 3, 24, 32), random_tables(0, (24, 32), MAP[2:]), to="zoom")
    net.op("Mul", "zoom", np.float32([0.1]), to="scaled")
    net.op("Add", "scaled", np.float32([-0.5]), to="normalised")
    net.conv("normalised", (4, 3, 3, 3), to="stem")
    net.op("Relu", "stem", to="rectified")
    net.op("MaxPool", "rectified", to="coarse", kernel_shape=[2, 2], strides=[2, 2])
    for level, x in (("fine", "rectified"), ("low", "coarse")):
        net.conv(x, (4, 4, 3, 3), to=f"{level}_tower", layer="tower")
        net.op("Relu", f"{level}_tower", to=f"{level}_features")
        net.conv(f"{level}_features", (2, 4, 1, 1), to=f"{level}_scores", layer="classes")
        net.op("Sigmoid", f"{level}_scores", to=f"{level}_probable")
        net.op("Mul", f"{level}_probable", "focal", to=f"{level}_decoded")
    net.op("Sqrt", "camera", to="focal")
    net.op("Neg", np.float32([1]), to="anchors")
    net.nodes.insert(0, net.nodes.pop(-2))
    net.op("Add", "fine_decoded", "anchors", to="boxes")
    return net


def parts_of(net: Network, *outputs: str) -> Regions:
    return find_regions(gs.import_onnx(net.model(*outputs)).toposort())


def test_a_detector_falls_into_its_parts() -> None:
    parts = parts_of(detector(), "boxes", "low_decoded")
    assert parts.preparation == {"zoom", "scaled", "normalised"}
    assert parts.predictions == {"fine_scores", "low_scores"}
    decode = {f"{level}_{what}" for level in ("fine", "low") for what in ("probable", "decoded")}
    assert parts.decode == {*decode, "focal", "anchors", "boxes"}
    assert not parts.positions


def test_what_computes_weights_is_no_preparation() -> None:
    net = Network(x=MAP)
    net.op("Neg", np.ones((4, 4, 1, 1), np.float32), to="weight")
    net.op("Conv", "x", "weight", to="first")
    net.conv("first", (4, 4, 1, 1), to="last")
    parts = parts_of(net, "last")
    assert not parts.preparation
    assert not parts.decode
    assert parts.predictions == {"last"}


def test_a_side_branch_is_a_prediction_only_where_no_convolution_follows() -> None:
    net = Network(x=MAP)
    net.conv("x", (4, 4, 1, 1), to="trunk")
    net.conv("trunk", (4, 4, 1, 1), to="side")
    net.op("Add", "trunk", "side", to="sum")
    net.conv("sum", (4, 4, 1, 1), to="last")
    net.conv("trunk", (4, 4, 1, 1), to="auxiliary")
    assert parts_of(net, "last", "auxiliary").predictions == {"last", "auxiliary"}


def test_positions_reach_back_to_the_convolution_they_are_of() -> None:
    net = Network(x=MAP)
    net.conv("x", (4, 4, 3, 3), to="before")
    net.predicted_deform("before", MAP)
    net.conv("deform", (4, 4, 1, 1), to="last")
    parts = parts_of(net, "last")
    assert parts.positions == {"conv_offset", "offset", "logit", "mask"}
    assert parts.predictions == {"last"}


def test_layers_go_by_their_weights_also_where_those_are_int8() -> None:
    model = detector().model("boxes", "low_decoded")
    graph = gs.import_onnx(model)
    names = {node.name: layer_name(node) for node in graph.nodes}
    assert names["stem"] == "stem"
    assert names["fine_tower"] == names["low_tower"] == "tower"
    assert names["zoom"] == "zoom"
    placement = place(graph.toposort())
    ranges = dict.fromkeys(placement.calibrated, 1.0)
    quantised, _ = run_passes(model, [quantise(placement, ranges)])
    again = {node.name: layer_name(node) for node in gs.import_onnx(quantised).nodes}
    assert {name: again[name] for name in names} == names


def test_a_convolution_of_unnamed_weights_goes_by_its_own_name() -> None:
    net = Network(x=MAP)
    net.op("Conv", "x", np.ones((4, 4, 1, 1), np.float32), to="first")
    assert [layer_name(node) for node in gs.import_onnx(net.model("first")).nodes] == ["first"]


@pytest.mark.parametrize(("cells", "mean"), [(3, True), (12, False), (20, False)])
def test_a_pooled_mean_is_a_product_with_fewer_rows(cells: int, mean: bool) -> None:
    net = Network(x=MAP)
    net.op("MatMul", np.full((cells, 12), 1 / 12, np.float32), "x", to="pooled")
    (node,) = gs.import_onnx(net.model("pooled")).nodes
    assert is_pooled_mean(node) is mean


def test_a_product_of_two_features_is_no_pooled_mean() -> None:
    net = Network(x=(1, 2, 12, 16), y=(1, 2, 16, 3))
    net.op("MatMul", "x", "y", to="product")
    net.op("Relu", "product", to="rectified")
    assert not any(map(is_pooled_mean, gs.import_onnx(net.model("rectified")).nodes))
