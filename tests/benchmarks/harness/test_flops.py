"""Operations are those that a formula gives."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from lzu_benchmarks.harness.flops import DEFORMED, GRID_SAMPLE, count_flops
from lzu_export.errors import LzuError
from samples import Network, deform_model, graph_model


def test_convolutions_and_products() -> None:
    network = Network(x=(1, 4, 8, 10))
    network.conv("x", (6, 4, 3, 3), to="half", stride=2)
    network.op("MatMul", np.zeros((12, 4), np.float32), "half", to="wide")
    network.op("Relu", "wide", to="y")
    found = count_flops(network.model("y"))
    assert found.network == 2 * 6 * 4 * 5 * (4 * 9) + 2 * (6 * 12 * 5) * 4
    assert found.warps == 0


def test_warps_are_counted_apart() -> None:
    network = Network(x=(2, 3, 8, 8))
    network.op("MatMul", np.zeros((4, 8), np.float32), "x", to="rows")
    model = network.model("rows")
    model.graph.node[0].name = "unzoomed_0/MatMul_2"
    found = count_flops(model)
    assert (found.network, found.warps) == (0, 2 * (2 * 3 * 4 * 8) * 8)
    assert found.total == found.warps


def test_groups_and_grid_samples() -> None:
    weight, grid = np.zeros((4, 1, 3, 3), np.float32), np.zeros((1, 2, 2, 2), np.float32)
    nodes = [
        onnx.helper.make_node("Conv", ["x", "w"], ["y"], group=4, pads=[1] * 4),
        onnx.helper.make_node("GridSample", ["y", "grid"], ["z"]),
        onnx.helper.make_node("Flatten", ["z"], ["flat"]),
        onnx.helper.make_node("Gemm", ["flat", "m"], ["out"], transA=1),
    ]
    matrix = np.zeros((1, 5), np.float32)
    constants = {"w": weight, "grid": grid, "m": matrix}
    model = graph_model(nodes, {"x": (1, 4, 6, 6)}, {"out": (16, 5)}, constants)
    wanted = 2 * (4 * 6 * 6) * 9 + GRID_SAMPLE * 4 * 2 * 2 + 2 * (16 * 5) * 1
    assert count_flops(model).network == wanted


def test_deformable_convolutions_sample_before_they_convolve() -> None:
    weight, bias = np.zeros((6, 4, 3, 3), np.float32), np.zeros(6, np.float32)
    model = deform_model((1, 4, 5, 7), weight, bias)
    found = count_flops(model).network
    assert found == 2 * (6 * 5 * 7) * (4 * 9) + DEFORMED * 4 * (9 * 5 * 7)


def test_an_unknown_shape_is_named() -> None:
    node = onnx.helper.make_node("MatMul", ["x", "x"], ["y"], name="product")
    model = graph_model([node], {"x": ("n", "n")}, {"y": ("n", "n")})
    with pytest.raises(LzuError, match="the shape of y, at node product, is unknown"):
        count_flops(model)


def test_a_bundle_s_file(tiny_bundle: Path) -> None:
    found = count_flops(tiny_bundle / "model.fp32.onnxruntime.onnx")
    assert found.network > 1e6
    assert 0 < found.warps < found.network
