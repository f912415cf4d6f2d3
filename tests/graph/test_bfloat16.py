"""bfloat16 end to end: the opset it needs, its file, its emulation, TensorRT-RTX."""

from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest
from onnx import TensorProto, numpy_helper

from lzu_export.errors import LzuError
from lzu_export.graph.emulate.half import emulate_half
from lzu_export.graph.half import BF16_OPSET, stay_high, to_half
from lzu_export.graph.lint import lint
from lzu_export.graph.lowering.deform_conv import KINDS, Kind, lower_deform_conv
from lzu_export.graph.lowering.resample import lower_resample
from lzu_export.graph.passes import Pass, import_graph, raise_opset, run_passes
from lzu_export.graph.quantize import place, quantise
from samples import Network, dialect, node_named, random_tables, run_onnx

MAP = (1, 4, 12, 16)
UNIT = 2.0**-8
"""Relative error of rounding to bfloat16."""


def network(*, deform: bool = False) -> onnx.ModelProto:
    """x -> zoom -> first -> warped, deformed if asked -> last -> scores."""
    net = Network(x=MAP)
    net.warp("x", MAP, random_tables(0, MAP[2:], MAP[2:]), to="zoom")
    net.conv("zoom", (4, 4, 3, 3), to="first")
    features = net.warp("first", MAP, random_tables(1, MAP[2:], MAP[2:]), to="warped")
    if deform:
        features = net.predicted_deform("warped", MAP)
    net.conv(features, (4, 4, 1, 1), to="last")
    net.op("Sigmoid", "last", to="scores")
    return net.model("scores", "last")


def bf16(model: onnx.ModelProto, *then: Pass) -> onnx.ModelProto:
    kept = stay_high(gs.import_onnx(model).toposort())
    made, _ = run_passes(model, [to_half("bf16", kept)])
    onnx.checker.check_model(made, full_check=True)
    return run_passes(made, then)[0] if then else made


def opset(model: onnx.ModelProto) -> int:
    return {each.domain: each.version for each in model.opset_import}[""]


def test_the_file_is_of_the_first_opset_whose_convolutions_take_it() -> None:
    made = bf16(network())
    assert opset(made) == BF16_OPSET
    assert {o.version for f in made.functions for o in f.opset_import} == {BF16_OPSET}
    assert made.ir_version <= 10
    older = onnx.ModelProto.FromString(made.SerializeToString())
    for each in (*older.opset_import, *older.functions[0].opset_import):
        each.version = BF16_OPSET - 1 if each.domain == "" else each.version
    with pytest.raises(onnx.shape_inference.InferenceError, match="bfloat16"):
        onnx.checker.check_model(older, full_check=True)
    half, _ = run_passes(network(), [to_half("fp16", {})])
    assert opset(half) == opset(network())  # float16 needs no other one


def test_what_is_written_is_read_again() -> None:
    model = network()
    made = bf16(model)
    (stored,) = [t for t in made.graph.initializer if t.name == "model.first.weight"]
    assert stored.data_type == TensorProto.BFLOAT16
    (exact,) = [t for t in model.graph.initializer if t.name == "model.first.weight"]
    wanted = numpy_helper.to_array(exact).astype(ml_dtypes.bfloat16)
    tensors = import_graph(made).tensors()
    np.testing.assert_array_equal(tensors["model.first.weight"].values, wanted)
    assert tensors["first"].dtype == np.dtype(ml_dtypes.bfloat16)
    assert tensors["warped_1"].dtype == np.float32  # a table
    again, _ = run_passes(made, [Pass("nothing", "", lambda graph: graph)])
    assert again.graph == made.graph


@pytest.mark.parametrize("kind", [None, *KINDS])
def test_its_emulation_stays_near_float32(kind: Kind | None) -> None:
    model = network(deform=kind is not None)
    passes = [lower_resample({"zoom": "banded", "warped": "matmul"})]
    if kind is not None:
        passes.append(lower_deform_conv(kind))
    made = bf16(model, *passes, emulate_half())
    x = np.random.default_rng(0).standard_normal(MAP).astype(np.float32)
    wanted, got = (run_onnx(each, x=x)["last"] for each in (model, made))
    noise = np.linalg.norm(got - wanted) / np.linalg.norm(wanted)
    # Some ten roundings on the way, each of a random half of a unit at most.
    assert UNIT / 8 < noise < 3 * UNIT


@pytest.mark.parametrize("kind", [None, "gather"])
def test_tensorrt_rtx_builds_it(kind: Kind | None, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx")
    from lzu_export.targets.tensorrt.rtx import build

    passes = [lower_resample({"zoom": "banded", "warped": "matmul"})]
    if kind is not None:
        passes.append(lower_deform_conv(kind))
    made = bf16(network(deform=kind is not None), *passes)
    lint(made, dialect("tensorrt-rtx"))
    onnx.save(made, tmp_path / "model.onnx")
    built = build(tmp_path / "model.onnx", tmp_path / "engine", compute_capabilities=["8.6"])
    assert [each.dtype for each in (*built.inputs, *built.outputs)] == ["float32"] * 3


def test_a_grid_sample_is_refused_at_its_opset() -> None:
    made = bf16(network(), lower_resample({"zoom": "gridsample", "warped": "matmul"}))
    with pytest.raises(LzuError, match=r"opset 22 is newer than 19.* lower it to banded or matmul"):
        lint(made, dialect("tensorrt-rtx"))


def test_int8_goes_with_float16_only() -> None:
    model = network()
    placement = place(gs.import_onnx(model).toposort())
    made, _ = run_passes(model, [quantise(placement, dict.fromkeys(placement.calibrated, 2.0))])
    message = "the scale of .* is exact in float16 but not in bfloat16; take fp16"
    with pytest.raises(LzuError, match=message):
        run_passes(made, [to_half("bf16", {})])


def test_bodies_mean_the_same_at_the_newer_opset() -> None:
    """GridSample's mode has another name at the newer opset."""
    model = network(deform=True)
    newer, _ = run_passes(
        model, [Pass("opset", "", lambda graph: raise_opset(graph, BF16_OPSET) or graph)]
    )
    assert opset(newer) == BF16_OPSET
    onnx.checker.check_model(newer, full_check=True)
    (body,) = [each for each in newer.functions if each.name == "DeformConv"]
    (sample,) = [node for node in body.node if node.op_type == "GridSample"]
    assert {a.name: a.s for a in sample.attribute}["mode"] == b"linear"
    assert node_named(newer, "deform").domain == "lzu"
    x = np.random.default_rng(0).standard_normal(MAP).astype(np.float32)
    np.testing.assert_allclose(
        run_onnx(newer, x=x)["last"], run_onnx(model, x=x)["last"], rtol=0, atol=1e-6
    )
