"""Graphs with adaptive warps: lowered, without bodies, and through TensorRT-RTX."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from adaptive_samples import BATCH, FLOAT, HALF, SOURCE, chain, feeds
from lzu_export.errors import LzuError
from lzu_export.graph.derivation import lower_for
from lzu_export.graph.emulate.plugins import emulated
from lzu_export.graph.lint import lint
from lzu_export.graph.lowering.adaptive import (
    adaptive_nodes,
    adapts,
    drop_bodies,
    lower_adaptive,
)
from lzu_export.graph.passes import fold_constants, import_graph, run_passes
from lzu_export.graph.regions import warp_inputs
from lzu_export.ops.bodies import add_bodies
from lzu_export.ops.contract import PLUGIN
from lzu_export.ops.separable_unzoom import consistent_affine
from lzu_export.targets.onnxruntime_timing import time_models
from lzu_export.warp.geometry import level_sizes
from samples import OPSET, dialect, graph_model, random_tables, relative, run_onnx, warp_node


def test_nothing_of_the_domain_is_left_and_names_stay() -> None:
    model = chain()
    assert adapts(model)
    lowered, records = run_passes(model, [lower_adaptive(), fold_constants()])
    assert not adapts(lowered)
    assert [record.name for record in records] == ["lower-adaptive", "fold-constants"]
    assert {node.domain for node in lowered.graph.node} <= {"", "ai.onnx"}
    assert not lowered.functions
    assert {each.domain: each.version for each in lowered.opset_import} == {"": OPSET}
    assert [v.name for v in lowered.graph.output] == [v.name for v in model.graph.output]
    names = [node.name for node in lowered.graph.node]
    assert len(names) == len(set(names))
    onnx.checker.check_model(lowered, full_check=True)
    expected, got = run_onnx(model, **feeds(model)), run_onnx(lowered, **feeds(model))
    for name, value in expected.items():
        np.testing.assert_allclose(got[name], value, atol=1e-6)


@pytest.mark.parametrize("dtype", [FLOAT, HALF])
@pytest.mark.parametrize("target", ["onnxruntime", "tensorrt", "tensorrt-rtx"])
def test_targets_lower_and_lint_accepts(target: str, dtype: int) -> None:
    lowered, _ = lower_for(dialect(target), chain(dtype), {})
    lint(lowered, dialect(target))


@pytest.mark.parametrize("target", ["onnxruntime", "tensorrt"])
def test_a_fixed_warp_beside_an_adaptive_one_lowers_too(target: str) -> None:
    model = chain()
    rows, cols = random_tables(0, SOURCE, (20, 30))
    node = warp_node("image", "fixed", (BATCH, 3, *SOURCE), name="fixed")
    model.graph.node.append(node)
    model.graph.initializer.extend(
        onnx.numpy_helper.from_array(v, n) for n, v in (("rows", rows), ("cols", cols))
    )
    value = helper.make_tensor_value_info("fixed", FLOAT, (BATCH, 3, 20, 30))
    model.graph.output.append(value)
    lowered, _ = lower_for(dialect(target), model, {"fixed": "matmul"})
    lint(lowered, dialect(target))
    if target == "tensorrt":
        lowered = emulated(lowered, model)
    assert run_onnx(lowered, **feeds(model))["fixed"].shape == (BATCH, 3, 20, 30)


def test_half_features_have_float32_knots_in_the_canonical_and_the_lowered_graph() -> None:
    single, half = chain(), chain(HALF)
    lowered, _ = run_passes(half, [lower_adaptive(), fold_constants()])
    for model in (half, lowered):
        onnx.checker.check_model(model, full_check=True)
        got, expected = run_onnx(model, **feeds(half)), run_onnx(single, **feeds(single))
        for name, value in expected.items():
            assert got[name].dtype == (np.float32 if name.startswith("knots") else np.float16)
            assert relative(got[name].astype(np.float64), value) < 3e-3
    assert not [node for node in lowered.graph.node if node.op_type == "CastLike"]


def test_without_bodies_the_calls_are_left_for_the_plugins() -> None:
    model, _ = run_passes(chain(), [drop_bodies()])
    assert not model.functions
    calls = {node.op_type: node for node in model.graph.node}
    assert set(calls) == {"BoxKnots", "SeparableZoom", "SeparableUnzoom"}
    for node in calls.values():
        said = {each.name: helper.get_attribute_value(each) for each in node.attribute}
        assert (said["plugin_namespace"], said["plugin_version"]) == (b"lzu", b"1")
    assert ("lzu", 1) in [(each.domain, each.version) for each in model.opset_import]
    with pytest.raises(LzuError, match=r"no function for lzu::BoxKnots; lower the canonical file"):
        run_passes(model, [lower_adaptive()])


def test_calls_get_the_names_of_their_plugins() -> None:
    """This includes graphs from elsewhere that lack the names."""
    model = chain()
    for node in model.graph.node:
        kept = [each for each in node.attribute if each.name not in PLUGIN]
        del node.attribute[:]
        node.attribute.extend(kept)
    lowered, _ = lower_for(dialect("tensorrt"), model, {})
    lint(lowered, dialect("tensorrt"))


def test_what_no_plugin_takes_is_lowered_to_operators() -> None:
    """The plugins take no bfloat16; the knots are float32 and stay a plugin call."""
    model = chain(onnx.TensorProto.BFLOAT16)
    lowered, _ = lower_for(dialect("tensorrt"), model, {})
    lint(lowered, dialect("tensorrt"))
    assert [node.op_type for node in lowered.graph.node if node.domain == "lzu"] == ["BoxKnots"]
    assert not lowered.functions


def test_which_inputs_are_float32_whatever_the_features() -> None:
    nodes = {node.op: node for node in adaptive_nodes(import_graph(chain()))}
    assert warp_inputs(nodes["BoxKnots"]) == frozenset(range(6))
    assert warp_inputs(nodes["SeparableZoom"]) == {1, 2}
    assert warp_inputs(nodes["SeparableUnzoom"]) == {3, 4}
    lowered, _ = run_passes(chain(), [lower_adaptive()])
    assert not any(warp_inputs(node) for node in import_graph(lowered).nodes)


def test_calls_that_differ_cannot_share_a_function() -> None:
    model = chain(bodies=False)
    again = onnx.NodeProto.FromString(model.graph.node[1].SerializeToString())
    again.name, again.output[0] = "again", "again"
    model.graph.node.append(again)
    add_bodies(model, OPSET)
    assert len(model.functions) == 3
    del model.functions[:]
    for attribute in again.attribute:
        if attribute.name == "canvas":
            attribute.ints[0] += 1
    model.graph.node[-1].CopyFrom(again)
    with pytest.raises(LzuError, match=r"calls lzu::SeparableZoom with different sizes"):
        add_bodies(model, OPSET)


def test_a_shape_that_is_not_static_is_refused() -> None:
    model = chain(bodies=False)
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "N"
    with pytest.raises(LzuError, match=r"no static shape|static shape of boxes"):
        add_bodies(model, OPSET)


@pytest.mark.parametrize("upscale", [1, 2])
@pytest.mark.parametrize("dtype", [FLOAT, HALF])
@pytest.mark.parametrize("form", ["bodies", "lowered"])
def test_tensorrt_rtx_builds_every_operator(
    form: str, dtype: int, upscale: int, tmp_path: Path
) -> None:
    pytest.importorskip("tensorrt_rtx")
    from lzu_export.targets.tensorrt.rtx import build

    model = chain(dtype, upscale=upscale)
    if form == "lowered":
        model, _ = run_passes(model, [lower_adaptive(), fold_constants()])
    path = tmp_path / "chain.onnx"
    onnx.save(model, path)
    built = build(path, tmp_path / "chain.engine", compute_capabilities=["8.6"])
    types = {each.name: each.dtype for each in built.outputs}
    features = "float32" if dtype == FLOAT else "float16"
    assert types["zoomed"] == types["unzoomed_2"] == features
    assert types["knots_x"] == types["knots_y"] == "float32"


@pytest.mark.slow
def test_knots_and_inverse_tables_take_less_than_two_milliseconds() -> None:
    """At 600 x 960 with 100 boxes; levels have one channel, so that the tables dominate."""
    levels = level_sizes((600, 960), (8, 16, 32, 64, 128))
    names = [f"level_{i}" for i in range(len(levels))]
    outputs = [f"unzoomed_{i}" for i in range(len(levels))]
    inputs = {
        "boxes": (1, 100, 4),
        "valid": (1, 100),
        "amplitude": (),
        "bandwidth": (),
        "fixed_x": (51,),
        "fixed_y": (31,),
    }
    said = {"lattice": (31, 51), "source": (1200, 1920), "fwhm": 10.0, "mix": 0.5, "min_side": 1.0}
    maps = {name: (1, 1, *level.size) for name, level in zip(names, levels, strict=True)}
    knots = ["knots_x", "knots_y"]
    affine = consistent_affine(levels, (600, 960))
    model = graph_model(
        [
            helper.make_node("BoxKnots", [*inputs], knots, domain="lzu", **said, **PLUGIN),
            helper.make_node(
                "SeparableUnzoom", [*names, *knots], outputs, domain="lzu", **affine, **PLUGIN
            ),
        ],
        {**inputs, **maps},
        dict(zip(outputs, maps.values(), strict=True)),
    )
    for name, shape in (("knots_x", (1, 51)), ("knots_y", (1, 31))):
        model.graph.value_info.append(helper.make_tensor_value_info(name, FLOAT, shape))
    model.opset_import.append(helper.make_opsetid("lzu", 1))
    add_bodies(model, OPSET)
    lowered, _ = run_passes(model, [lower_adaptive(), fold_constants()])
    (seconds,) = time_models([lowered.SerializeToString()], rounds=50)
    print(f"\n{1e3 * seconds:.2f} ms")
    assert seconds < 2e-3
