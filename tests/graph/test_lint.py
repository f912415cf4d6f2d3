"""One hand-made graph for each thing that lint refuses."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from lzu_export.errors import LzuError
from lzu_export.graph.lint import lint
from lzu_export.support.limits import MAX_TOPK
from samples import dialect, graph_model, random_tables, warp_model

TARGETS = ("onnxruntime", "tensorrt-rtx")


def one_node(
    op: str, inputs: list[str], *, name: str = "culprit", opset: int = 18, **attributes: object
) -> onnx.ModelProto:
    node = helper.make_node(op, inputs, ["y"], name=name, **attributes)
    shapes = {each: (1, 4, 6, 8) for each in inputs}
    return graph_model([node], shapes, {"y": (1, 4, 6, 8)}, opset=opset)


def refusal(model: onnx.ModelProto, target: str) -> str:
    with pytest.raises(LzuError) as caught:
        lint(model, dialect(target))
    message = str(caught.value)
    assert message.startswith(f"the {target} graph is refused: ")
    assert "\n" not in message
    return message


def grid_sample(**attributes: object) -> onnx.ModelProto:
    return one_node("GridSample", ["x", "grid"], **attributes)


@pytest.mark.parametrize("target", TARGETS)
def test_a_sound_graph_passes(target: str) -> None:
    lint(one_node("Relu", ["x"]), dialect(target))
    lint(grid_sample(mode="bilinear", align_corners=1), dialect(target))
    lint(grid_sample(align_corners=1), dialect(target))  # bilinear is the default


@pytest.mark.parametrize("target", TARGETS)
def test_newer_ir_versions_and_opsets(target: str) -> None:
    model = one_node("Relu", ["x"])
    model.ir_version = 11
    assert "ir_version 11 is newer than 10" in refusal(model, target)
    message = refusal(one_node("Relu", ["x"], opset=23), target)
    assert "opset 23 is newer than 22; export with an older one" in message
    lint(one_node("Relu", ["x"], opset=22), dialect(target))


@pytest.mark.parametrize("target", TARGETS)
def test_grid_samples_of_opsets_that_tensorrt_misreads(target: str) -> None:
    for mode in ("linear", "bilinear"):
        model = one_node("GridSample", ["x", "grid"], opset=20, mode=mode, align_corners=1)
        message = refusal(model, target)
        assert "opset 20 is newer than 19, and from then on TensorRT reads GridSample" in message
        assert "culprit; lower it to banded or matmul" in message
    lint(one_node("GridSample", ["x", "grid"], opset=19, align_corners=1), dialect(target))


@pytest.mark.parametrize("target", TARGETS)
def test_operators_of_other_domains(target: str) -> None:
    rows, cols = random_tables(0, (6, 8), (6, 8))
    message = refusal(warp_model((1, 4, 6, 8), rows, cols), target)
    assert "node warp is lzu::SeparableResample; lower it first" in message


@pytest.mark.parametrize("op", ["NonZero", "Loop", "If", "Scan", "Unique", "Compress"])
@pytest.mark.parametrize("target", TARGETS)
def test_operators_without_static_shapes(op: str, target: str) -> None:
    assert f"node culprit is a {op}" in refusal(one_node(op, ["x"]), target)


@pytest.mark.parametrize("op", ["NonMaxSuppression", "DeformConv", "RoiAlign"])
def test_operators_that_tensorrt_rtx_has_not(op: str) -> None:
    model = one_node(op, ["x"])
    assert f"node culprit is a {op}" in refusal(model, "tensorrt-rtx")
    lint(model, dialect("onnxruntime"))


@pytest.mark.parametrize("target", TARGETS)
def test_grid_samples_that_are_misread(target: str) -> None:
    for mode in ("linear", "cubic"):  # the spelling of opset 20
        message = refusal(grid_sample(mode=mode, align_corners=1), target)
        assert f"GridSample culprit has mode {mode}" in message


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
def test_grid_samples_of_networks_are_taken(target: str, mode: str, padding: str) -> None:
    for corners in (0, 1):
        model = grid_sample(align_corners=corners, mode=mode, padding_mode=padding)
        lint(model, dialect(target))


@pytest.mark.parametrize("target", TARGETS)
def test_nearest_resizes_that_targets_round_differently(target: str) -> None:
    def resize(**attributes: object) -> onnx.ModelProto:
        return one_node("Resize", ["x", "", "", "sizes"], **attributes)

    sound = {"mode": "nearest", "nearest_mode": "floor"}
    sound["coordinate_transformation_mode"] = "asymmetric"
    lint(resize(**sound), dialect(target))
    lint(resize(mode="linear", coordinate_transformation_mode="half_pixel"), dialect(target))
    for change in ({"nearest_mode": "ceil"}, {"coordinate_transformation_mode": "half_pixel"}):
        assert "Resize culprit is nearest by" in refusal(resize(**{**sound, **change}), target)
    assert "half_pixel and round_prefer_floor" in refusal(resize(), target)  # ONNX's defaults


def test_nodes_without_a_name_are_named_by_what_they_make() -> None:
    assert "node that makes y is a Loop" in refusal(one_node("Loop", ["x"], name=""), TARGETS[0])


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("side", ["input", "output"])
def test_dynamic_and_empty_dimensions(side: str, target: str) -> None:
    changes: list[Callable[[onnx.TensorShapeProto.Dimension], None]] = [
        lambda dimension: setattr(dimension, "dim_param", "batch"),
        lambda dimension: setattr(dimension, "dim_value", 0),
        lambda dimension: dimension.Clear(),
    ]
    for change in changes:
        model = one_node("Relu", ["x"])
        (value,) = getattr(model.graph, side)
        change(value.type.tensor_type.shape.dim[0])
        message = refusal(model, target)
        assert f"tensor {value.name} has a dynamic or empty dimension" in message


def test_float64() -> None:
    node = helper.make_node("Add", ["x", "two"], ["y"], name="add")
    shape = {"x": (4,)}, {"y": (4,)}
    constant = graph_model([node], *shape, {"two": np.array([2.0])})
    assert "constant two is float64" in refusal(constant, "tensorrt-rtx")
    lint(constant, dialect("onnxruntime"))
    inputs = graph_model([node], *shape, {"two": np.float32([2])}, dtype=TensorProto.DOUBLE)
    assert "tensor x is float64" in refusal(inputs, "tensorrt-rtx")


def test_top_k() -> None:
    def top(k: int) -> onnx.ModelProto:
        node = helper.make_node("TopK", ["x", "k"], ["y", "index"], name="best")
        return graph_model([node], {"x": (1, 9000)}, {"y": (1, k)}, {"k": np.array([k])})

    assert "TopK best keeps more than 3840" in refusal(top(MAX_TOPK + 1), "tensorrt-rtx")
    lint(top(MAX_TOPK), dialect("tensorrt-rtx"))
    lint(top(MAX_TOPK + 1), dialect("onnxruntime"))
    computed = top(5)
    del computed.graph.initializer[:]
    assert "TopK best has a computed k" in refusal(computed, "tensorrt-rtx")


def test_an_unknown_target() -> None:
    with pytest.raises(LzuError, match="no target abacus; choose one of onnxruntime"):
        lint(one_node("Relu", ["x"]), dialect("abacus"))
