"""Let warps read and write INT8 where a plugin can, in the graph for TensorRT.

The canonical graph has a DequantizeLinear before an unzoom and a QuantizeLinear after it, both with
the scale of the map that is sampled. With one scale on both sides none is needed in between:

    Y = round(A_y X A_x^T), half to even

in INT8, summed in float32 and rounded once, is what the pair computes except for the rounding of
its products with the scale. The node that quantised the map and the node that dequantises the
result stay. Where a plugin reads and writes INT8, NVIDIA's guide to explicit quantisation counts
the DequantizeLinear before it and the QuantizeLinear after it as part of the plugin, and wants both
removed from the network
(section "Q/DQ Interaction with Plugins"); TensorRT fuses neither into a plugin by itself.
"""

import logging

import numpy as np
import onnx_graphsurgeon as gs

from lzu_export.graph.lowering.adaptive import adaptive_nodes
from lzu_export.graph.passes import Pass
from lzu_export.ops import separable_unzoom

log = logging.getLogger(__name__)


def fuse_level_pairs() -> Pass:
    """Make `lzu::SeparableUnzoom` read and write INT8 where every level has a pair of one scale.

    Scales may differ from level to level. All levels of a call have one type, so one that cannot
    be INT8 leaves all of them as they are; the log names it and the reason.
    """

    def apply(graph: gs.Graph) -> gs.Graph:
        for node in adaptive_nodes(graph):
            if node.op != separable_unzoom.NAME:
                continue
            levels = range(len(node.outputs))
            obstacles = [_obstacle(graph, node.inputs[i], node.outputs[i]) for i in levels]
            if any(obstacles):
                i = next(i for i in levels if obstacles[i])
                log.info("the warp at %s is not INT8: %s", node.outputs[i].name, obstacles[i])
                continue
            for i in levels:
                _fuse(node, i)
        return graph.cleanup().toposort()

    return Pass("fuse-level-pairs", "one scale before and behind a warp cancels out", apply)


def _fuse(node: gs.Node, i: int) -> None:
    """Let a warp read and write the whole numbers of its pair i."""
    (quantise,) = node.outputs[i].outputs
    node.inputs[i] = node.inputs[i].inputs[0].inputs[0]
    node.outputs[i] = quantise.outputs.pop()


def _obstacle(graph: gs.Graph, x: gs.Tensor, y: gs.Tensor) -> str:
    """Return why a map and the samples of it have no pair of one scale; empty if they have."""
    if not x.inputs or x.inputs[0].op != "DequantizeLinear":
        return "what it samples is not dequantised"
    if any(y is output for output in graph.outputs):
        return "its result is an output of the graph"
    if [reader.op for reader in y.outputs] != ["QuantizeLinear"]:
        readers = ", ".join(sorted(reader.name for reader in y.outputs)) or "nobody"
        return f"its result is read by {readers}, not by one QuantizeLinear alone"
    before, behind = _levels(x.inputs[0]), _levels(y.outputs[0])
    if before is None or behind is None:
        return "a scale is computed, is one of many, or has a zero point"
    if before != behind:
        return f"its scale is {before:.6g} before and {behind:.6g} behind"
    return ""


def _levels(node: gs.Node) -> float | None:
    """Return the scale of a node that (de)quantises symmetrically by one constant, else None."""
    scale, *zero = node.inputs[1:]
    if not all(isinstance(each, gs.Constant) for each in (scale, *zero)):
        return None
    if scale.values.size != 1 or any(each.values.any() for each in zero):
        return None
    return float(np.float64(scale.values.item()))
