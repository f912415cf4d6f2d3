"""Let a graph take a planar float image in place of the camera's bytes."""

import onnx
from onnx import TensorProto, helper

from lzu_export.errors import LzuError

PLANAR = "planar_frame"
"""Name of the input that replaces the frame."""


def planar_input(model: onnx.ModelProto, frame: str) -> onnx.ModelProto:
    """Return a copy of a graph that takes a frame as planar float32 in place of interleaved bytes.

    The values are still those of the bytes, 0 to 255, so the graph computes the same: its nodes
    take a float32 tensor of these values where they took one of uint8.

    Args:
        model: graph with an input `frame` of uint8 (B, H, W, 3) and no other.
        frame: name of that input.

    Returns:
        The graph with the input `planar_frame`, float32 (B, 3, H, W), in the same channel order.

    Raises:
        LzuError: the graph has other inputs.
    """
    inputs = [each.name for each in model.graph.input]
    if inputs != [frame]:
        raise LzuError(
            f"the graph takes {', '.join(inputs)}, and not only {frame}; derive it again"
        )
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    batch, height, width, channels = (
        each.dim_value for each in graph.input[0].type.tensor_type.shape.dim
    )
    shape = [batch, channels, height, width]
    planar = helper.make_tensor_value_info(PLANAR, TensorProto.FLOAT, shape)
    graph.input[0].CopyFrom(planar)
    node = helper.make_node("Transpose", [PLANAR], [frame], name=PLANAR, perm=[0, 2, 3, 1])
    graph.node.insert(0, node)
    for value in graph.value_info:  # tensors before the cast are float32 now, too
        if value.type.tensor_type.elem_type == TensorProto.UINT8:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    onnx.checker.check_model(result, full_check=True)
    return result
