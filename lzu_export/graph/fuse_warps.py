"""Let warps read and write INT8, where a kernel can: for the flavour of the file with plugins.

The canonical graph has a DequantizeLinear before an unzoom and a QuantizeLinear behind it, both of
the scale of the map that is sampled. With one scale on both sides none is needed in between:

    Y = round(A_y X A_x^T), half to even

in INT8, summed in float32 and rounded once, is what the pair computes but for the rounding of its
products with the scale. What dequantises the result, and what quantised the map, stay.
"""

import logging

import numpy as np
import onnx_graphsurgeon as gs

from lzu_export.graph.lower_resample import OP, resample_nodes
from lzu_export.graph.passes import Pass

log = logging.getLogger(__name__)


def fuse_unzoom_pairs() -> Pass:
    """Make a warp between a pair of one scale an INT8 warp; the log says which are not, and why.

    The function body goes where a warp is fused: it is of floating-point maps.
    """

    def apply(graph: gs.Graph) -> gs.Graph:
        fused = 0
        for node in resample_nodes(graph):
            obstacle = _obstacle(graph, node)
            if obstacle:
                log.info("the warp at %s is not INT8: %s", node.outputs[0].name, obstacle)
                continue
            (quantise,) = node.outputs[0].outputs
            node.inputs[0] = node.i(0).inputs[0]
            node.outputs = [quantise.outputs.pop()]
            fused += 1
        if fused:
            bodies = graph.functions
            graph.functions = [f for f in bodies if (f.domain, f.name) != ("lzu", OP)]
        return graph.cleanup().toposort()

    return Pass("fuse-unzoom-pairs", "one scale before and behind a warp cancels out", apply)


def _obstacle(graph: gs.Graph, node: gs.Node) -> str:
    """Why a warp does not stand between a pair of one scale; empty if it does."""
    x, y = node.inputs[0], node.outputs[0]
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
    """The scale of a node that quantises or dequantises symmetrically by one constant."""
    scale, *zero = node.inputs[1:]
    if not all(isinstance(each, gs.Constant) for each in (scale, *zero)):
        return None
    if scale.values.size != 1 or any(each.values.any() for each in zero):
        return None
    return float(np.float64(scale.values.item()))
