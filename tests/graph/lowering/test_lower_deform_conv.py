"""Lowering a deformable convolution leaves standard operators, names, and one set of weights."""

from pathlib import Path

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest
from onnx import helper
from two_operators import append_again

from lzu_export.errors import LzuError
from lzu_export.graph.derivation import target_passes
from lzu_export.graph.lint import lint
from lzu_export.graph.lowering.deform_conv import (
    KINDS,
    OPSET,
    Kind,
    deform_nodes,
    deforms,
    lower_deform_conv,
)
from lzu_export.graph.passes import run_passes
from lzu_export.support.limits import EMULATED
from lzu_export.targets.onnxruntime_target import deform_conv
from lzu_export.targets.registry import names
from samples import OPSET as CANONICAL_OPSET
from samples import deform_model, dialect, random_tables, run_onnx, warp_model

SHAPE = (1, 4, 6, 9)
DECOMPOSITIONS = [kind for kind in KINDS if kind != "deformconv"]


def weights(out: int = 4, groups: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((out, SHAPE[1] // groups, 3, 3)).astype(np.float32)
    return weight, rng.standard_normal(out).astype(np.float32)


def two_convolutions() -> onnx.ModelProto:
    """x -> y -> relu -> `again` with the same weights, offsets and mask -> neg -> z."""
    model = deform_model(SHAPE, *weights())
    again = onnx.NodeProto.FromString(model.graph.node[0].SerializeToString())
    again.name, again.input[0], again.output[0] = "deform_again", "positive", "again"
    append_again(model, again, SHAPE)
    return model


def feeds(seed: int = 1) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "x": rng.standard_normal(SHAPE).astype(np.float32),
        "offset": 2 * rng.standard_normal((1, 18, *SHAPE[2:])).astype(np.float32),
        "mask": rng.uniform(0, 1, (1, 9, *SHAPE[2:])).astype(np.float32),
    }


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_of_the_domain_is_left_and_names_stay(kind: Kind) -> None:
    model = two_convolutions()
    assert deforms(model)
    lowered, records = run_passes(model, [lower_deform_conv(kind)])
    assert not deforms(lowered)
    assert records[0].why == f"deformable convolutions as {kind}"
    assert {node.domain for node in lowered.graph.node} <= {"", "ai.onnx"}
    assert not lowered.functions
    version = OPSET if kind == "deformconv" else CANONICAL_OPSET
    assert {each.domain: each.version for each in lowered.opset_import} == {"": version}
    made = {name for node in lowered.graph.node for name in node.output}
    assert {"y", "positive", "again", "z"} <= made
    assert [value.name for value in lowered.graph.output] == ["y", "z"]
    onnx.checker.check_model(lowered, full_check=True)
    expected, got = run_onnx(model, **feeds()), run_onnx(lowered, **feeds())
    for name in ("y", "z"):
        np.testing.assert_allclose(got[name], expected[name], atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_convolutions_with_the_same_weights_share_them(kind: Kind) -> None:
    lowered, _ = run_passes(two_convolutions(), [lower_deform_conv(kind)])
    total = sum(
        np.prod(tensor.dims) for tensor in lowered.graph.initializer if tensor.data_type == 1
    )
    own = weights()[0].size
    positions = 2 * 2 * 9 * SHAPE[2] * SHAPE[3]
    assert total < own + positions + 100


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_named_operators_are_used(kind: Kind) -> None:
    lowered, _ = run_passes(deform_model(SHAPE, *weights()), [lower_deform_conv(kind)])
    operators = [node.op_type for node in lowered.graph.node]
    expected = {"deformconv": (1, 0, 0), "gridsample": (0, 1, 1), "taps": (0, 9, 9)}
    counts = tuple(operators.count(op) for op in ("DeformConv", "GridSample", "Conv"))
    assert counts == expected.get(kind, (0, 0, 0))
    for node in lowered.graph.node:
        if node.op_type == "GridSample":
            attributes = {each.name: helper.get_attribute_value(each) for each in node.attribute}
            assert attributes == {
                "mode": b"bilinear",
                "padding_mode": b"zeros",
                "align_corners": 1,
            }


def test_warps_and_deformable_convolutions_lower_in_either_order() -> None:
    rows, cols = random_tables(0, SHAPE[2:], SHAPE[2:])
    model = warp_model(SHAPE, rows, cols)
    deform = two_convolutions()
    model.graph.node[0].output[0] = "warped_x"
    for node in deform.graph.node:
        node.input[:] = ["warped_x" if name == "x" else name for name in node.input]
        model.graph.node.append(node)
    model.graph.input.extend(deform.graph.input[1:])
    del model.graph.output[:]
    model.graph.output.append(deform.graph.output[1])
    model.graph.initializer.extend(deform.graph.initializer)
    model.graph.value_info.extend(deform.graph.value_info)
    value = helper.make_tensor_value_info
    for name in ("warped_x", "y"):
        model.graph.value_info.append(value(name, onnx.TensorProto.FLOAT, SHAPE))
    model.functions.extend(deform.functions)
    expected = run_onnx(model, **feeds())["z"]
    for target in ("onnxruntime", "tensorrt-rtx"):
        passes = target_passes(dialect(target), {"warped_x": "matmul"}, deforms=deforms(model))
        names = [each.name for each in passes]
        assert names == ["lower-resample", "lower-deform-conv", "fold-constants"]
        for order in (passes, [passes[1], passes[0], passes[2]]):
            lowered, _ = run_passes(model, order)
            lint(lowered, dialect(target))
            np.testing.assert_allclose(run_onnx(lowered, **feeds())["z"], expected, atol=1e-4)


def test_every_target_has_a_default_with_a_reason() -> None:
    for name in names():
        kind, reason = dialect(name).deform_conv()
        assert kind in KINDS
        assert reason.startswith("default: ")
    assert dialect("tensorrt-rtx").deform_conv()[0] in DECOMPOSITIONS


@pytest.mark.parametrize(
    ("release", "kind"),
    [("1.20.0", "gather"), ("1.23.2", "gather"), ("1.24.4", "gather"), ("1.25.0", "deformconv"),
     ("1.32.0", "deformconv"), ("2.0", "deformconv"), ("", "deformconv")],
)  # fmt: skip
def test_onnx_runtime_does_without_a_kernel_that_it_lacks(
    release: str, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The emulated graph runs there, too; TensorRT's graph keeps its own operator."""
    there = {"onnxruntime": release} if release else {}
    monkeypatch.setattr("lzu_export.targets.onnxruntime_target.owners", lambda module: there)
    model = two_convolutions()
    for target in ("onnxruntime", EMULATED):
        chosen, reason = dialect(target).deform_conv()
        assert chosen == kind
        assert kind == "deformconv" or f"ONNX Runtime {release} has no DeformConv" in reason
        lowered, _ = run_passes(model, target_passes(dialect(target), {}, deforms=True))
        here = {node.op_type for node in lowered.graph.node}
        assert ("DeformConv" in here) == (kind == "deformconv")
    assert dialect("tensorrt").deform_conv()[0] == "deformconv"
    assert deform_conv("1.24.1")[0] == "gather"


@pytest.mark.parametrize("kind", DECOMPOSITIONS)
def test_tensorrt_rtx_builds_every_decomposition(kind: Kind, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    from lzu_export.targets.tensorrt.rtx import build

    model, _ = run_passes(two_convolutions(), [lower_deform_conv(kind)])
    lint(model, dialect("tensorrt-rtx"))
    onnx.save(model, tmp_path / "deform.onnx")
    built = build(tmp_path / "deform.onnx", tmp_path / "deform.engine")
    assert built.sampling_layers == {"gridsample": 2, "taps": 18, "gather": 0}[kind]
    assert [spec.shape for spec in built.outputs] == [SHAPE, SHAPE]


def test_what_tensorrt_rtx_lacks_is_refused_before_it_is_asked() -> None:
    lowered, _ = run_passes(two_convolutions(), [lower_deform_conv("deformconv")])
    lint(lowered, dialect("onnxruntime"))
    with pytest.raises(LzuError, match="DeformConv"):
        lint(lowered, dialect("tensorrt-rtx"))


def test_tensorrt_rtx_still_lacks_the_plugin_of_a_deform_conv(tmp_path: Path) -> None:
    """Once it has the plugin, the decomposition should be timed against it."""
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    from lzu_export.targets.tensorrt.rtx import build

    model, _ = run_passes(two_convolutions(), [lower_deform_conv("deformconv")])
    onnx.save(model, tmp_path / "deform.onnx")
    with pytest.raises(LzuError, match=r"DeformConv.*Plugin not found"):
        build(tmp_path / "deform.onnx", tmp_path / "deform.engine")


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(LzuError, match="no deformable convolution named plugin; choose one of"):
        lower_deform_conv("plugin")  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", DECOMPOSITIONS)
def test_computed_weights_and_dynamic_sizes_are_refused_by_name(kind: Kind) -> None:
    model = deform_model(SHAPE, *weights())
    model.graph.node.insert(0, helper.make_node("Neg", ["weight"], ["negated"], name="negate"))
    model.graph.node[1].input[1] = "negated"
    with pytest.raises(LzuError, match="weights of the deformable convolution at y are computed"):
        run_passes(model, [lower_deform_conv(kind)])
    dynamic = deform_model(SHAPE, *weights())
    dynamic.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    with pytest.raises(LzuError, match="tensor x at a deformable convolution has no static shape"):
        run_passes(dynamic, [lower_deform_conv(kind)])


def test_groups_cannot_be_gathered() -> None:
    model = deform_model(SHAPE, *weights(groups=2), groups=2)
    graph = gs.import_onnx(model)
    assert len(deform_nodes(graph)) == 1
    with pytest.raises(LzuError, match="at y has 2 groups, which gather cannot express"):
        run_passes(model, [lower_deform_conv("gather")])
