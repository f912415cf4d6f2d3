"""Convert half precision to float32, for a CPU that computes in float32 anyway.

INT8 graphs for ONNX Runtime are written this way. Its releases up to 1.29 truncate instead of
rounding where a QuantizeLinear reads float16; 1.20 does not open a file whose scales are float16;
and all releases put a cast around every node between the pairs.
"""

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from lzu_export.graph.builder import is_half
from lzu_export.graph.passes import Pass

PAIR = frozenset({"QuantizeLinear", "DequantizeLinear"})


def has_pairs(model: onnx.ModelProto) -> bool:
    """Return whether a graph is quantised."""
    return any(node.op_type in PAIR for node in model.graph.node)


def widen_half() -> Pass:
    """Convert float16 and bfloat16 tensors, constants and scales to float32, exactly."""

    def apply(graph: gs.Graph) -> gs.Graph:
        for tensor in graph.tensors().values():
            if not is_half(tensor.dtype):
                continue
            if isinstance(tensor, gs.Constant):
                tensor.values = tensor.values.astype(np.float32)
            else:
                tensor.dtype = np.float32
        for node in list(graph.nodes):
            if node.op == "Cast":
                _drop_cast(graph, node)
        return graph.cleanup().toposort()

    return Pass("widen-half", "float32 between the pairs: exact in every release, no casts", apply)


def _drop_cast(graph: gs.Graph, node: gs.Node) -> None:
    """Let the readers of a cast read the cast's input, where both are float32 now."""
    before, after = node.inputs[0], node.outputs[0]
    if node.attrs["to"] in (onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16):
        node.attrs["to"] = onnx.TensorProto.FLOAT
    if node.attrs["to"] != onnx.TensorProto.FLOAT or before.dtype != np.float32:
        return
    if any(after is each for each in graph.outputs):
        return  # its name stays; ONNX Runtime drops such a cast itself
    for reader in list(after.outputs):
        reader.inputs = [before if each is after else each for each in reader.inputs]
