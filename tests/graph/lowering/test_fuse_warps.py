"""INT8 warps: which pairs cancel out, and that a kernel's numbers are the pair's."""

import logging
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from adaptive_samples import chain, quantised_chain
from lzu_export.graph.emulate.half import emulate_half
from lzu_export.graph.half import to_half
from lzu_export.graph.lowering.fuse_warps import fuse_level_pairs
from lzu_export.graph.lowering.resample import lower_resample
from lzu_export.graph.passes import Pass, raise_opset, run_passes
from lzu_export.graph.quantize import OPSET
from lzu_export.warp.tables import Table, table_matrix
from samples import Network, made_by, node_named, random_tables, run_onnx

DROPPED = ("DequantizeLinear/level", "QuantizeLinear/unzoomed")
"""Names of the nodes of a level that a fusion removes, without the level's number."""


def kernel(x: np.ndarray, rows: Table, cols: Table) -> np.ndarray:
    """What a plugin computes on an INT8 map: float32 sums, rounded once, half to even."""
    assert x.dtype == np.int8
    a_y, a_x = table_matrix(rows, x.shape[2]), table_matrix(cols, x.shape[3])
    sums = a_y.astype(np.float32) @ x.astype(np.float32) @ a_x.astype(np.float32).T
    return np.rint(sums).clip(-128, 127).astype(np.int8)


def fused(model: onnx.ModelProto) -> onnx.ModelProto:
    return run_passes(model, [fuse_level_pairs()])[0]


def types(model: onnx.ModelProto) -> dict[str, int]:
    return {value.name: value.type.tensor_type.elem_type for value in model.graph.value_info}


def read_by_a_sigmoid(name: str) -> onnx.ModelProto:
    """The chain, one of whose tensors a Sigmoid named `gate` reads, too."""
    model = quantised_chain()
    model.graph.node.append(helper.make_node("Sigmoid", [name], ["gate"], name="gate"))
    model.graph.output.append(helper.make_tensor_value_info("gate", TensorProto.FLOAT, None))
    return model


def test_levels_between_pairs_of_one_scale_each_are_int8() -> None:
    """Each level has a scale of its own."""
    before = quantised_chain((0.01, 0.02, 0.013))
    after = fused(before)
    unzoom = node_named(after, "SeparableUnzoom")
    levels = [f"level_{i}/int8" for i in range(3)]
    assert list(unzoom.input) == [*levels, "knots_x", "knots_y"]
    assert list(unzoom.output) == [f"unzoomed_{i}/int8" for i in range(3)]
    found = types(after)
    assert {found[name] for name in (*levels, *unzoom.output)} == {TensorProto.INT8}
    assert {made_by(after, name) for name in levels} == {"QuantizeLinear"}
    gone = {f"{pair}_{i}" for i in range(3) for pair in DROPPED}
    assert {n.name for n in before.graph.node} - {n.name for n in after.graph.node} == gone


def test_others_that_read_the_dequantised_map_keep_it() -> None:
    after = fused(read_by_a_sigmoid("level_0/dequantised"))
    assert node_named(after, "SeparableUnzoom").input[0] == "level_0/int8"
    assert node_named(after, "gate").input[0] == "level_0/dequantised"


READERS = "QuantizeLinear/unzoomed_1, gate, not by one QuantizeLinear alone"


def output_unquantised() -> onnx.ModelProto:
    """The chain, one of whose unzoomed levels is an output as it is, too."""
    model = quantised_chain()
    shape = helper.make_tensor_value_info("unzoomed_2", TensorProto.FLOAT, None)
    model.graph.output.append(shape)
    return model


def with_zero_points() -> onnx.ModelProto:
    model = quantised_chain()
    (zero,) = [each for each in model.graph.initializer if each.name == "zero"]
    zero.CopyFrom(numpy_helper.from_array(np.int8(3), zero.name))
    return model


@pytest.mark.parametrize(
    ("make", "level", "why"),
    [
        (lambda: read_by_a_sigmoid("unzoomed_1"), 1, f"its result is read by {READERS}"),
        (output_unquantised, 2, "its result is an output of the graph"),
        (
            lambda: quantised_chain((0.01, 0.02, 0.013), behind=(0.01, 0.04, 0.013)),
            1,
            "its scale is 0.02 before and 0.04 behind",
        ),
        (with_zero_points, 0, "a scale is computed, is one of many, or has a zero point"),
        (chain, 0, "what it samples is not dequantised"),
    ],
)
def test_one_level_that_cannot_leaves_all(
    make: Callable[[], onnx.ModelProto], level: int, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A call has one type; the log names the first level that cannot be INT8, and the reason."""
    model = make()
    with caplog.at_level(logging.INFO, logger="lzu_export.graph.lowering.fuse_warps"):
        after = fused(model)
    assert sorted(n.name for n in after.graph.node) == sorted(n.name for n in model.graph.node)
    assert len(after.functions) == len(model.functions)
    (line,) = (r.getMessage() for r in caplog.records if r.name.endswith("fuse_warps"))
    assert line == f"the warp at unzoomed_{level} is not INT8: {why}"


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
    """Random warps are covered, samples outside the map, and single rows, columns and cells."""
    tables = random_tables(seed, size, out, reach=reach, antialias=antialias)
    assert difference(seed, (2, 3, *size), tables).largest <= 1


def test_a_kernel_and_the_float32_pair_differ_at_ties_only() -> None:
    """Hardly any of 400 000 random values on random warps differ."""
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
    """The kernel is more exact, as float16 rounds weights and sums to 2**-11."""
    tables = random_tables(0, (60, 100), (70, 90), reach=1.1)
    found = [difference(seed, (1, 8, 60, 100), tables, half=True) for seed in range(4)]
    assert max(each.largest for each in found) <= 1
    assert 0 < np.mean([each.share for each in found]) < 0.05
