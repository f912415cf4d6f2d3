"""INT8 warps: which pairs cancel out, and that a kernel's numbers are the pair's."""

import logging
from typing import NamedTuple

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, numpy_helper

from adaptive_samples import quantised_chain
from lzu_export.graph.emulate.half import emulate_half
from lzu_export.graph.half import stay_high, to_half
from lzu_export.graph.lowering.fuse_warps import fuse_level_pairs, fuse_unzoom_pairs
from lzu_export.graph.lowering.resample import lower_resample
from lzu_export.graph.passes import Pass, raise_opset, run_passes
from lzu_export.graph.quantize import OPSET, place, quantise
from lzu_export.warp.tables import Table, table_matrix
from samples import Network, made_by, node_named, random_tables, run_onnx

MAP = (1, 4, 12, 16)
SHAPE = (4, 4, 3, 3)


def kernel(x: np.ndarray, rows: Table, cols: Table) -> np.ndarray:
    """What a plugin computes on an INT8 map: float32 sums, rounded once, half to even."""
    assert x.dtype == np.int8
    a_y, a_x = table_matrix(rows, x.shape[2]), table_matrix(cols, x.shape[3])
    sums = a_y.astype(np.float32) @ x.astype(np.float32) @ a_x.astype(np.float32).T
    return np.rint(sums).clip(-128, 127).astype(np.int8)


def network() -> Network:
    net = Network(x=MAP)
    net.conv("x", SHAPE, to="first")
    net.op("Relu", "first", to="stem")
    return net


def unzoomed() -> Network:
    """The stem is warped for `after`, and read by `side` as it is."""
    net = network()
    net.warp("stem", MAP, random_tables(0, MAP[2:], (9, 7)), to="warped")
    net.conv("warped", SHAPE, to="after")
    net.conv("after", (4, 4, 1, 1), to="last")
    return net


def int8(model: onnx.ModelProto, *, half: bool = False) -> onnx.ModelProto:
    placement = place(gs.import_onnx(model).toposort())
    ranges = {name: 2.0 + i for i, name in enumerate(placement.calibrated)}
    made, _ = run_passes(model, [quantise(placement, ranges)])
    if half:
        kept = stay_high(gs.import_onnx(made).toposort())
        made, _ = run_passes(made, [to_half("fp16", kept)])
    return made


def fused(model: onnx.ModelProto) -> onnx.ModelProto:
    return run_passes(model, [fuse_unzoom_pairs()])[0]


def types(model: onnx.ModelProto) -> dict[str, int]:
    return {value.name: value.type.tensor_type.elem_type for value in model.graph.value_info}


@pytest.mark.parametrize("half", [False, True])
def test_a_warp_between_one_scale_reads_and_writes_int8(half: bool) -> None:
    before = int8(unzoomed().model("last"), half=half)
    after = fused(before)
    warp = node_named(after, "warped")
    assert warp.input[0] == "stem/int8"
    assert list(warp.output) == ["warped/int8"]
    assert types(after)["stem/int8"] == types(after)["warped/int8"] == TensorProto.INT8
    assert made_by(after, "stem/int8") == "QuantizeLinear"
    (back,) = [node for node in after.graph.node if "warped/int8" in node.input]
    assert back.op_type == "DequantizeLinear"
    assert back.output[0] == node_named(after, "after").input[0]
    gone = {"stem/dequantize", "warped/quantize"}
    assert {n.name for n in before.graph.node} - {n.name for n in after.graph.node} == gone
    assert not after.functions
    assert before.functions


def test_others_that_read_the_dequantised_map_keep_it() -> None:
    net = unzoomed()
    net.conv("stem", SHAPE, to="side")
    net.conv("side", (4, 4, 1, 1), to="side_last")
    after = fused(int8(net.model("last", "side_last")))
    assert node_named(after, "warped").input[0] == "stem/int8"
    assert node_named(after, "side").input[0] == "stem/dequantised"


def left_alone(
    model: onnx.ModelProto, caplog: pytest.LogCaptureFixture, *reasons: str
) -> onnx.ModelProto:
    with caplog.at_level(logging.INFO, logger="lzu_export.graph.lowering.fuse_warps"):
        after = fused(model)
    lines = [
        r.getMessage() for r in caplog.records if r.name == "lzu_export.graph.lowering.fuse_warps"
    ]
    assert lines == list(reasons)
    assert len(after.functions) == len(model.functions)
    for name in ("stem", "warped"):
        assert f"{name}/int8" not in node_named(after, "warped").input
    return after


def test_a_result_that_others_read_in_float_is_left(caplog: pytest.LogCaptureFixture) -> None:
    net = unzoomed()
    net.op("Sigmoid", "warped", to="gate")
    readers = "gate, warped/quantize, not by one QuantizeLinear alone"
    reason = f"the warp at warped is not INT8: its result is read by {readers}"
    left_alone(int8(net.model("last", "gate")), caplog, reason)
    caplog.clear()
    reason = "the warp at warped is not INT8: its result is an output of the graph"
    left_alone(int8(unzoomed().model("last", "warped")), caplog, reason)


def test_unequal_scales_are_left(caplog: pytest.LogCaptureFixture) -> None:
    model = int8(unzoomed().model("last"))
    (scale,) = [each for each in model.graph.initializer if each.name == "warped/scale"]
    scale.CopyFrom(numpy_helper.from_array(np.float32(0.5), scale.name))
    reason = "the warp at warped is not INT8: its scale is 0.0236359 before and 0.5 behind"
    left_alone(model, caplog, reason)


def test_zero_points_are_left(caplog: pytest.LogCaptureFixture) -> None:
    model = int8(unzoomed().model("last"))
    (zero,) = [each for each in model.graph.initializer if each.name == "warped/zero"]
    zero.CopyFrom(numpy_helper.from_array(np.int8(3), zero.name))
    reason = "a scale is computed, is one of many, or has a zero point"
    left_alone(model, caplog, f"the warp at warped is not INT8: {reason}")


def test_partial_warps_and_the_zoom_are_left(caplog: pytest.LogCaptureFixture) -> None:
    net = Network(x=MAP)
    net.warp("x", MAP, random_tables(5, MAP[2:], MAP[2:]), to="zoom")
    net.conv("zoom", SHAPE, to="stem")
    for seed, name in enumerate(("warped", "edge")):
        net.warp("stem", MAP, random_tables(seed, MAP[2:], (9, 7)), to=name)
    net.op("Add", "warped", "edge", to="sum")
    net.conv("sum", SHAPE, to="after")
    net.conv("after", (4, 4, 1, 1), to="last")
    model = int8(net.model("last"))
    why = "is not INT8: its result is read by sum, not by one QuantizeLinear alone"
    after = left_alone(
        model,
        caplog,
        "the warp at zoom is not INT8: what it samples is not dequantised",
        f"the warp at warped {why}",
        f"the warp at edge {why}",
    )
    assert [node.name for node in after.graph.node] == [node.name for node in model.graph.node]


class Difference(NamedTuple):
    """Between a kernel and the pair, in steps."""

    largest: int
    share: float


def difference(
    seed: int,
    shape: tuple[int, ...],
    tables: tuple[Table, Table],
    *,
    half: bool = False,
    limit: float | None = None,
) -> Difference:
    """`limit` is the map's range; random if not given."""
    generator = np.random.default_rng(seed)
    limit = generator.uniform(0.1, 50) if limit is None else limit
    scale = np.float32(np.float16(limit / 127))
    net = Network(x=shape)
    pair = (scale, np.int8(0))
    net.op("QuantizeLinear", "x", *map(np.asarray, pair), to="whole")
    net.op("DequantizeLinear", "whole", *map(np.asarray, pair), to="back")
    net.warp("back", shape, tables, to="warped")
    net.op("QuantizeLinear", "warped", *map(np.asarray, pair), to="again")
    net.op("DequantizeLinear", "again", *map(np.asarray, pair), to="y")
    model = net.model("y")
    after = fused(model)
    assert [node.op_type for node in after.graph.node] == [
        "QuantizeLinear",
        "SeparableResample",
        "DequantizeLinear",
    ]
    if half:
        opset = Pass("opset", "scales in float16", lambda graph: raise_opset(graph, OPSET) or graph)
        passes = [opset, to_half("fp16", {}), lower_resample({"warped": "matmul"}), emulate_half()]
        model, _ = run_passes(model, passes)
    steps = generator.integers(-127, 128, shape)
    wanted = run_onnx(model, x=(steps * scale).astype(np.float32))["y"] / scale
    apart = np.abs(np.rint(wanted) - kernel(steps.astype(np.int8), *tables))
    return Difference(int(apart.max()), float((apart > 0).mean()))


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    size=st.tuples(st.integers(1, 24), st.integers(1, 24)),
    out=st.tuples(st.integers(1, 24), st.integers(1, 24)),
    reach=st.sampled_from([0.5, 1.0, 1.7, 3.0]),
    antialias=st.booleans(),
)
def test_a_kernel_gives_the_pair_s_steps(
    seed: int, size: tuple[int, int], out: tuple[int, int], reach: float, antialias: bool
) -> None:
    """Random warps, samples outside the map, single rows, columns and cells."""
    tables = random_tables(seed, size, out, reach=reach, antialias=antialias)
    assert difference(seed, (2, 3, *size), tables).largest <= 1


def test_a_kernel_and_the_float32_pair_differ_at_ties_only() -> None:
    """Of 400 000 random values on random warps none or a few differ."""
    tables = random_tables(0, (60, 100), (70, 90), reach=1.1)
    found = [difference(seed, (1, 8, 60, 100), tables) for seed in range(8)]
    assert max(each.largest for each in found) <= 1
    assert np.mean([each.share for each in found]) < 1e-4


def test_a_warp_of_halves_is_all_ties_and_still_within_a_step() -> None:
    tables = random_tables(0, (60, 100), (59, 99))
    for table, count in zip(tables, (59, 99), strict=True):
        table[:] = np.stack([np.arange(count), *np.full((1, count), 0.5), *np.ones((2, count))])
    found = difference(1, (1, 8, 60, 100), tables, limit=127.0)
    assert found == (0, 0.0)  # a scale of 1: the pair's products are exact, both round to even
    assert difference(1, (1, 8, 60, 100), tables, limit=10.0).largest <= 1


def test_the_pair_in_half_precision_is_within_a_step_of_the_kernel() -> None:
    """The kernel is the finer of the two: float16 rounds weights and sums to 2**-11."""
    tables = random_tables(0, (60, 100), (70, 90), reach=1.1)
    found = [difference(seed, (1, 8, 60, 100), tables, half=True) for seed in range(4)]
    assert max(each.largest for each in found) <= 1
    assert 0 < np.mean([each.share for each in found]) < 0.05


def test_levels_between_pairs_of_one_scale_each_are_int8() -> None:
    """The scales of different levels are their own."""
    after, _ = run_passes(quantised_chain((0.01, 0.02, 0.013)), [fuse_level_pairs()])
    unzoom = next(node for node in after.graph.node if node.op_type == "SeparableUnzoom")
    levels = [f"level_{i}/int8" for i in range(3)]
    assert list(unzoom.input) == [*levels, "knots_x", "knots_y"]
    assert list(unzoom.output) == [f"unzoomed_{i}/int8" for i in range(3)]
    found = types(after)
    assert {found[name] for name in (*levels, *unzoom.output)} == {TensorProto.INT8}
    kinds = [node.op_type for node in after.graph.node]
    assert kinds.count("QuantizeLinear") == kinds.count("DequantizeLinear") == 3


def test_one_level_that_cannot_leaves_all(caplog: pytest.LogCaptureFixture) -> None:
    """A call has one type; the log names the level and the reason."""
    model = quantised_chain((0.01, 0.02, 0.013), behind=(0.01, 0.04, 0.013))
    with caplog.at_level(logging.INFO, logger="lzu_export.graph.lowering.fuse_warps"):
        after, _ = run_passes(model, [fuse_level_pairs()])
    assert sorted(n.name for n in after.graph.node) == sorted(n.name for n in model.graph.node)
    (line,) = (r.getMessage() for r in caplog.records if r.name.endswith("fuse_warps"))
    assert line == "the warp at unzoomed_1 is not INT8: its scale is 0.02 before and 0.04 behind"
