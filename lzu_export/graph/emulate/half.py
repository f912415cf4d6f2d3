"""Emulate half precision on a CPU: float32 values rounded where a device rounds.

ONNX Runtime has no float16 kernels on the CPU for most operators: it computes in float32 and drops
the casts in between, so that hardly any rounding remains. This pass writes the same graph in
float32 with every half-precision tensor rounded to its type and back, which ONNX Runtime keeps.

A tensor is not rounded where it feeds only QuantizeLinear nodes, directly or through nodes that
fuse with them: INT8 kernels round once, from their float32 sums. Nor is the output of a
DequantizeLinear rounded, since INT8 kernels read the integers.
"""

from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from lzu_export.graph.builder import is_half, onnx_type
from lzu_export.graph.passes import Pass

MOVERS = frozenset(
    {"Relu", "MaxPool", "Reshape", "Transpose", "Slice", "Concat", "Gather", "Pad", "Identity"}
)
"""Operators whose outputs are values of their inputs, which are rounded already."""
FUSED = frozenset({"Relu", "Add"})
"""Operators that are computed with a convolution before its result is rounded or quantised."""


def emulate_half() -> Pass:
    """Convert float16 and bfloat16 tensors to float32 tensors rounded to those types."""

    def apply(graph: gs.Graph) -> gs.Graph:
        graph.toposort()
        halves = {id(t): t.dtype for node in graph.nodes for t in node.outputs if is_half(t.dtype)}
        outputs = {id(tensor) for tensor in graph.outputs}
        for node in list(graph.nodes):
            node.inputs = [_widened(tensor) for tensor in node.inputs]
            if node.op == "Cast":
                _widen_cast(node)
            for tensor in node.outputs:
                if id(tensor) not in halves:
                    continue
                half, tensor.dtype = halves[id(tensor)], np.float32
                if _rounds(node, tensor, kept=id(tensor) in outputs):
                    _round(graph, node, tensor, half)
        return graph.cleanup().toposort()

    return Pass("emulate-half", "float32, rounded where the target's tensors are", apply)


def _widened(tensor: gs.Tensor) -> gs.Tensor:
    """Convert a half-precision constant to float32, which holds it exactly."""
    if isinstance(tensor, gs.Constant) and is_half(tensor.dtype):
        tensor.values = tensor.values.astype(np.float32)
    return tensor


def _widen_cast(node: gs.Node) -> None:
    """Make a cast to half precision one to float32; `_round` does the rounding."""
    if node.attrs["to"] in (onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16):
        node.attrs["to"] = onnx.TensorProto.FLOAT


def _rounds(node: gs.Node, tensor: gs.Variable, *, kept: bool) -> bool:
    if node.op in MOVERS or node.op == "DequantizeLinear":
        return False
    return kept or not _is_fused(tensor)


def _is_fused(tensor: gs.Variable) -> bool:
    """Return whether a tensor feeds only QuantizeLinear nodes, possibly through fused nodes."""
    return bool(tensor.outputs) and all(
        node.op == "QuantizeLinear" or (node.op in FUSED and _is_fused(node.outputs[0]))
        for node in tensor.outputs
    )


def _round(graph: gs.Graph, node: gs.Node, tensor: gs.Variable, half: Any) -> None:
    """Let the node make a new tensor, and make this one its rounding."""
    exact = gs.Variable(f"{tensor.name}/exact", dtype=np.float32, shape=tensor.shape)
    small = gs.Variable(f"{tensor.name}/rounded", dtype=half, shape=tensor.shape)
    node.outputs[node.outputs.index(tensor)] = exact
    graph.nodes += [
        gs.Node("Cast", f"{tensor.name}/round", {"to": onnx_type(half)}, [exact], [small]),
        gs.Node("Cast", f"{tensor.name}/widen", {"to": onnx.TensorProto.FLOAT}, [small], [tensor]),
    ]
