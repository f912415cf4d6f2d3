"""Passes: named, logged, skippable, and they keep what they should."""

import logging

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest
from onnx import helper

from lzu_export.errors import LzuError
from lzu_export.graph.passes import (
    Pass,
    fold_constants,
    is_zoom,
    keep_outputs,
    name_zoom,
    raise_opset,
    run_passes,
)
from samples import graph_model, random_tables, run_onnx, warp_model


@pytest.fixture
def model() -> onnx.ModelProto:
    """y = relu(x) + (2 + 3), with relu(x) an inner tensor named `middle`."""
    nodes = [
        helper.make_node("Add", ["two", "three"], ["five"], name="constant_sum"),
        helper.make_node("Relu", ["x"], ["middle"], name="rectify"),
        helper.make_node("Add", ["middle", "five"], ["y"], name="shift"),
    ]
    constants = {"two": np.float32([2]), "three": np.float32([3])}
    model = graph_model(nodes, {"x": (1, 4)}, {"y": (1, 4)}, constants)
    middle = helper.make_tensor_value_info("middle", onnx.TensorProto.FLOAT, (1, 4))
    model.graph.value_info.append(middle)
    return model


def operators(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def test_passes_run_in_order_and_leave_a_record_and_a_log(
    model: onnx.ModelProto, caplog: pytest.LogCaptureFixture
) -> None:
    before = model.SerializeToString()
    with caplog.at_level(logging.INFO):
        result, records = run_passes(model, [keep_outputs(["middle", "y"]), fold_constants()])
    assert model.SerializeToString() == before
    assert [each.name for each in records] == ["keep-outputs", "fold-constants"]
    assert [(each.nodes_before, each.nodes_after) for each in records] == [(3, 3), (3, 2)]
    assert all(each.why for each in records)
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [
        "pass keep-outputs",
        "pass fold-constants",
    ]
    assert "3 -> 2 nodes" in caplog.text
    x = np.float32([[-1, 0, 1, 2]])
    values = run_onnx(result, x=x)
    np.testing.assert_array_equal(values["middle"], np.maximum(x, 0))
    np.testing.assert_array_equal(values["y"], np.maximum(x, 0) + 5)


def test_each_pass_can_be_skipped(model: onnx.ModelProto, caplog: pytest.LogCaptureFixture) -> None:
    passes = [keep_outputs(["middle"]), fold_constants()]
    with caplog.at_level(logging.INFO):
        result, records = run_passes(model, passes, skip=["keep-outputs"])
    assert [each.name for each in records] == ["fold-constants"]
    assert "pass keep-outputs skipped on request" in caplog.text
    assert [value.name for value in result.graph.output] == ["y"]
    result, _ = run_passes(model, passes[1:], skip=["fold-constants"])
    assert operators(result) == ["Add", "Relu", "Add"]


def test_an_unknown_name_to_skip_is_refused(model: onnx.ModelProto) -> None:
    with pytest.raises(
        LzuError, match="no pass named fold-constant; the passes are fold-constants"
    ):
        run_passes(model, [fold_constants()], skip=["fold-constant"])


def test_kept_outputs_drop_what_they_do_not_need(model: onnx.ModelProto) -> None:
    result, _ = run_passes(model, [keep_outputs(["middle"])])
    assert operators(result) == ["Relu"]
    assert [value.name for value in result.graph.output] == ["middle"]
    assert not result.graph.initializer


def test_a_missing_output_is_refused_by_name(model: onnx.ModelProto) -> None:
    with pytest.raises(LzuError, match="no tensor named level_9; export it again"):
        run_passes(model, [keep_outputs(["y", "level_9"])])
    with pytest.raises(LzuError, match="tensor five has no type in the graph"):
        run_passes(model, [keep_outputs(["five"])])


def test_the_result_says_who_made_it_and_stays_readable_by_old_tools(
    model: onnx.ModelProto,
) -> None:
    model.ir_version = 11
    result, _ = run_passes(model, [Pass("nothing", "for the test", lambda graph: graph)])
    assert result.ir_version == 10
    assert result.producer_name == "lzu_export"


def test_only_the_warp_of_the_image_is_named_zoom() -> None:
    rows, cols = random_tables(0, (6, 8), (4, 5))
    model = warp_model((1, 3, 6, 8), rows, cols)
    result, _ = run_passes(model, [name_zoom()])
    assert [value.name for value in result.graph.output] == ["zoom"]
    rows, cols = random_tables(0, (6, 8), (4, 5))
    result, _ = run_passes(warp_model((1, 4, 6, 8), rows, cols), [name_zoom()])
    assert [value.name for value in result.graph.output] == ["warped"]


def test_a_level_of_three_channels_is_no_zoom() -> None:
    x = gs.Variable("x", np.float32, (1, 3, 6, 8))
    level = gs.Variable("level", np.float32, (1, 3, 6, 8))
    shifted = gs.Variable("shifted", np.float32, (1, 3, 6, 8))
    gs.Node("Conv", "conv", inputs=[x], outputs=[level])
    gs.Node("Relu", "relu", inputs=[level], outputs=[shifted])
    assert not is_zoom(gs.Node("SeparableResample", "unzoom", inputs=[shifted]))
    cast = gs.Variable("cast", np.float32, (1, 3, 6, 8))
    gs.Node("Transpose", "move", inputs=[x], outputs=[cast])
    assert is_zoom(gs.Node("SeparableResample", "zoom", inputs=[cast]))


def test_raising_the_opset_leaves_the_model_that_was_read_alone() -> None:
    rows, cols = random_tables(0, (6, 8), (6, 8))
    model = warp_model((1, 3, 6, 8), rows, cols)
    newer = Pass("opset", "for a test", lambda graph: raise_opset(graph, 19) or graph)
    made, _ = run_passes(model, [newer])
    for imports in (model.opset_import, model.functions[0].opset_import):
        assert {each.domain: each.version for each in imports}[""] == 18
    for imports in (made.opset_import, made.functions[0].opset_import):
        assert {each.domain: each.version for each in imports}[""] == 19
    lower = Pass("opset", "for a test", lambda graph: raise_opset(graph, 17) or graph)
    again, _ = run_passes(model, [lower])
    assert {each.domain: each.version for each in again.opset_import} == {"": 18, "lzu": 1}
