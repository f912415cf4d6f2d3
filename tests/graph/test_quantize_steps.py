"""INT8: how weights, biases and ranges become steps, and how far these are off."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from onnx import TensorProto, helper
from quantised_networks import (
    MAP,
    SHAPE,
    behind,
    constants,
    finished,
    limits,
    network,
    placed,
    quantised,
    scale_of,
)

from lzu_export.errors import LzuError
from lzu_export.graph.passes import run_passes
from lzu_export.graph.quantize import LEVELS, SMALLEST_SCALE, quantise, weight_scales
from samples import Network, random_tables, run_onnx


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
