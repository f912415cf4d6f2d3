"""A graph that is given its selections computes what it computes at its own."""

from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from lzu_export.graph.passes import run_passes
from lzu_export.graph.selection import give_selections, selections_of
from samples import refusal

SHAPE = (2, 5, 6)


def ranking(op: str, shape: tuple[int, ...] = SHAPE, **attributes: Any) -> onnx.ModelProto:
    """Make a graph that ranks x and returns its indices + 1, and TopK's values."""
    top = op == "TopK"
    tensors = ["x", "count"] if top else ["x"]
    nodes = [
        helper.make_node(op, tensors, ["values", "chosen"] if top else ["chosen"], **attributes),
        helper.make_node("Add", ["chosen", "one"], ["shifted"]),
    ]
    constants = [helper.make_tensor("one", TensorProto.INT64, [], [1])]
    constants += [helper.make_tensor("count", TensorProto.INT64, [1], [3])] if top else []
    outputs = [helper.make_tensor_value_info("shifted", TensorProto.INT64, None)]
    if top:
        outputs.append(helper.make_tensor_value_info("values", TensorProto.FLOAT, None))
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
    graph = helper.make_graph(nodes, "ranking", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return onnx.shape_inference.infer_shapes(model)


def run(model: onnx.ModelProto, **inputs: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return list(session.run(None, inputs))


RANKINGS = [
    ("TopK", {"axis": 1}),
    ("TopK", {}),
    ("TopK", {"axis": 2, "largest": 0}),
    ("TopK", {"axis": -1, "sorted": 0}),
    ("ArgMax", {"axis": 1}),
    ("ArgMax", {"axis": -1, "keepdims": 0}),
    ("ArgMin", {"axis": 1, "keepdims": 0}),
    ("ArgMin", {}),
]


@pytest.mark.parametrize(("op", "attributes"), RANKINGS)
@given(seed=st.integers(0, 2**32 - 1))
def test_its_own_selection_gives_its_own_outputs(
    op: str, attributes: dict[str, Any], seed: int
) -> None:
    model = ranking(op, **attributes)
    x = np.random.default_rng(seed).standard_normal(SHAPE, np.float32)
    shifted, *values = run(model, x=x)
    changed, _ = run_passes(model, [give_selections(["chosen"])])
    assert [each.name for each in changed.graph.input] == ["x", "chosen"]
    again, *rest = run(changed, x=x, chosen=shifted - 1)
    np.testing.assert_array_equal(again, shifted)
    *same, theirs, own, scores = rest
    for mine, wanted in zip(same, values, strict=True):
        np.testing.assert_array_equal(mine, wanted)
    np.testing.assert_array_equal(theirs, own)
    np.testing.assert_array_equal(scores, x)


@pytest.mark.parametrize(("op", "attributes"), RANKINGS)
def test_another_selection_is_used_and_its_scores_are_returned(
    op: str, attributes: dict[str, Any]
) -> None:
    """Entries 2, 1 and 0, or 1, along the axis: chosen of no rank."""
    model = ranking(op, **attributes)
    changed, _ = run_passes(model, [give_selections(["chosen"])])
    x = np.random.default_rng(5).standard_normal(SHAPE, np.float32)
    axis = attributes.get("axis", -1 if op == "TopK" else 0)
    indices = np.array([2, 1, 0]) if op == "TopK" else np.array([1])
    along = [1] * x.ndim
    along[axis] = len(indices)
    kept = [len(indices) if i == axis % x.ndim else n for i, n in enumerate(SHAPE)]
    whole = np.broadcast_to(indices.reshape(along), kept)
    wanted = np.take_along_axis(x, whole, axis)
    narrow = not attributes.get("keepdims", 1)
    chosen = np.ascontiguousarray(whole.squeeze(axis) if narrow else whole)
    shifted, *rest = run(changed, x=x, chosen=chosen)
    np.testing.assert_array_equal(shifted, chosen + 1)
    *values, theirs, own, _ = rest
    for each in values:
        np.testing.assert_array_equal(each, wanted)
    if attributes.get("sorted", 1) == 0:  # without an order of its own, both are ranked
        wanted = -np.sort(-wanted, axis)
    np.testing.assert_array_equal(theirs, wanted)
    ordered = np.sort(x, axis) if attributes.get("largest", op != "ArgMin") == 0 else None
    best = ordered if ordered is not None else -np.sort(-x, axis)
    np.testing.assert_array_equal(own, np.take(best, range(len(indices)), axis))


def test_only_indices_of_rankings_are_selections() -> None:
    """Names that are not in the graph, and other tensors, are left out."""
    graph = gs.import_onnx(ranking("TopK"))
    assert selections_of(graph, ["chosen", "gone", "shifted", "values", "x"]) == ["chosen"]
    said = refusal(lambda: run_passes(ranking("TopK"), [give_selections(["shifted"])]))
    assert said == "the tensor shifted is not selected by rank; export it again"
