"""What lint refuses of quantised graphs, one hand-made graph each; and what it lets pass."""

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest
from numpy.typing import NDArray

from lzu_export.errors import LzuError
from lzu_export.graph.half import stay_high, to_half
from lzu_export.graph.lint import lint
from lzu_export.graph.lowering.resample import KINDS, Kind, lower_resample
from lzu_export.graph.passes import run_passes
from lzu_export.graph.quantize import place, quantise
from lzu_export.graph.widen import widen_half
from samples import Network, dialect, random_tables

TARGETS = ("onnxruntime", "tensorrt-rtx")
MAP = (1, 4, 12, 16)
SCALE = np.float32(0.1)
ZERO = np.int8(0)

pytestmark = pytest.mark.parametrize("target", TARGETS)


def refusal(model: onnx.ModelProto, target: str) -> str:
    with pytest.raises(LzuError) as caught:
        lint(model, dialect(target))
    message = str(caught.value)
    assert "\n" not in message
    return message.removeprefix(f"the {target} graph is refused: ")


def pair(net: Network, x: str, *, to: str, zero: NDArray | None = None) -> str:
    """`x` behind a pair."""
    constants = [np.asarray(SCALE), np.asarray(ZERO if zero is None else zero)]
    net.op("QuantizeLinear", x, *constants, to=f"{to}_q")
    return net.op("DequantizeLinear", f"{to}_q", *constants, to=to)


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_passes_make_is_let_through(target: str, kind: Kind) -> None:
    net = Network(x=MAP)
    net.conv("x", (4, 4, 3, 3), to="first")
    net.op("Relu", "first", to="stem")
    net.warp("stem", MAP, random_tables(0, MAP[2:], (9, 7)), to="warped")
    net.conv("warped", (4, 4, 3, 3), to="after")
    net.op("Reshape", "after", np.array([1, 4, -1]), to="flat")
    net.conv("after", (4, 4, 1, 1), to="last")
    model = net.model("last", "flat")
    placement = place(gs.import_onnx(model).toposort())
    made, _ = run_passes(model, [quantise(placement, dict.fromkeys(placement.calibrated, 2.0))])
    kept = stay_high(gs.import_onnx(made).toposort())
    passes = [to_half("fp16", kept), lower_resample({"warped": kind})]
    if target == "onnxruntime":
        passes.append(widen_half())
    lint(run_passes(made, passes)[0], dialect(target))


def test_dequantised_biases(target: str) -> None:
    net = Network(x=MAP)
    net.constants["bias"] = np.int32([1, 2, 3, 4])
    net.op("DequantizeLinear", "bias", np.asarray(SCALE), to="back")
    net.op("Conv", "x", np.ones((4, 4, 1, 1), np.float32), "back", to="y")
    message = "node back dequantises int32, as biases have it in other tools; leave biases in float"
    assert refusal(net.model("y"), target).startswith(message)


def test_zero_points(target: str) -> None:
    net = Network(x=MAP)
    pair(net, "x", to="y", zero=np.int8(3))
    message = "node y_q has a zero point that is not 0, which TensorRT has not; quantise symm"
    assert refusal(net.model("y"), target).startswith(message)


def test_zero_points_of_some_channel(target: str) -> None:
    net = Network(x=MAP)
    net.constants["weight"] = np.ones((4, 4, 1, 1), np.int8)
    scales = np.full(4, SCALE)
    net.op("DequantizeLinear", "weight", scales, np.int8([0, 0, 1, 0]), to="back", axis=0)
    net.op("Conv", "x", "back", to="y")
    assert refusal(net.model("y"), target).startswith("node back has a zero point that is not 0")


def test_computed_zero_points(target: str) -> None:
    net = Network(x=MAP)
    net.op("Identity", np.asarray(ZERO), to="zero")
    net.op("QuantizeLinear", "x", np.asarray(SCALE), "zero", to="whole")
    net.op("DequantizeLinear", "whole", np.asarray(SCALE), "zero", to="y")
    wanted = "node whole has a computed zero point; make it a constant 0"
    assert refusal(net.model("y"), target) == wanted


@pytest.mark.parametrize("zero", [0, 128])
def test_unsigned_maps(target: str, zero: int) -> None:
    net = Network(x=MAP)
    pair(net, "x", to="y", zero=np.uint8(zero))
    wanted = "node y_q is of uint8; quantise to int8 with a zero point of 0"
    assert refusal(net.model("y"), target) == wanted


def test_maps_that_are_unsigned_for_want_of_a_zero_point(target: str) -> None:
    net = Network(x=MAP)
    net.op("QuantizeLinear", "x", np.asarray(SCALE), to="whole")
    net.op("DequantizeLinear", "whole", np.asarray(SCALE), to="y")
    assert refusal(net.model("y"), target).startswith("node whole is of uint8")


@pytest.mark.parametrize("through", [None, "Transpose", "Cast"])
def test_matrices_in_int8(target: str, through: str | None) -> None:
    net = Network(x=MAP)
    net.constants["matrix"] = np.ones((12, 12), np.int8)
    matrix = net.op("DequantizeLinear", "matrix", np.asarray(SCALE), to="back")
    if through == "Transpose":
        matrix = net.op("Transpose", matrix, to="turned", perm=[1, 0])
    elif through == "Cast":
        net.nodes.append(onnx.helper.make_node("Cast", [matrix], ["wide"], "wide", to=1))
        matrix = "wide"
    net.op("MatMul", matrix, "x", to="y")
    wanted = (
        "node y is a MatMul by a quantised constant, as a warp's weights must not be; keep it in "
        "float"
    )
    assert refusal(net.model("y"), target) == wanted


def test_matrices_that_are_quantised_as_they_are_read(target: str) -> None:
    net = Network(x=MAP)
    net.constants["matrix"] = np.ones((16, 5), np.float32)
    net.op("MatMul", "x", pair(net, "matrix", to="back"), to="y")
    assert refusal(net.model("y"), target).startswith("node y is a MatMul by a quantised constant")


def test_grids_in_int8(target: str) -> None:
    net = Network(x=MAP)
    net.constants["grid"] = np.zeros((1, 5, 6, 2), np.float32)
    net.op("GridSample", "x", pair(net, "grid", to="back"), to="y", align_corners=1)
    assert refusal(net.model("y"), target).startswith("node y is a GridSample by a quantised const")


@pytest.mark.parametrize("more", [False, True])
def test_islands_around_changes_of_shape(target: str, more: bool) -> None:
    net = Network(x=MAP)
    net.op("Reshape", pair(net, "x", to="back"), np.array([1, 4, -1]), to="flat")
    moved = net.op("Transpose", "flat", to="turned", perm=[0, 2, 1]) if more else "flat"
    net.op("Relu", pair(net, moved, to="again"), to="y")
    wanted = "node flat is a Reshape between back and again_q, where INT8 gains nothing; leave the"
    assert refusal(net.model("y"), target).startswith(wanted)


def test_a_resize_or_a_concat_between_pairs_is_no_island(target: str) -> None:
    net = Network(x=MAP)
    net.op("Concat", pair(net, "x", to="back"), "back", to="joined", axis=1)
    net.op("Relu", pair(net, "joined", to="again"), to="y")
    lint(net.model("y"), dialect(target))


def test_a_change_of_shape_behind_float_is_none_either(target: str) -> None:
    net = Network(x=MAP)
    net.op("Relu", pair(net, "x", to="back"), to="positive")
    net.op("Reshape", "positive", np.array(MAP), to="same")
    net.op("Relu", pair(net, "same", to="again"), to="y")
    lint(net.model("y"), dialect(target))
