"""Graphs that call one operator of the domain `lzu` twice."""

import onnx
from onnx import helper


def append_again(model: onnx.ModelProto, again: onnx.NodeProto, shape: tuple[int, ...]) -> None:
    """Put `again` behind a model's only node: node -> relu -> `positive` -> again -> neg -> `z`.

    `again` reads `positive` and writes `again`. All added values have `shape`.
    """
    (first,) = model.graph.node[0].output
    model.graph.node.append(helper.make_node("Relu", [first], ["positive"], name="rectify"))
    model.graph.node.append(again)
    model.graph.node.append(helper.make_node("Neg", ["again"], ["z"], name="negate"))
    value = helper.make_tensor_value_info
    model.graph.value_info.append(value("positive", onnx.TensorProto.FLOAT, shape))
    model.graph.value_info.append(value("again", onnx.TensorProto.FLOAT, shape))
    model.graph.output.append(value("z", onnx.TensorProto.FLOAT, shape))
