"""Replace the plugins of a graph by the operators' functions, so that it runs on a CPU.

A plugin that reads and writes INT8 becomes the function in float32 between a DequantizeLinear and a
QuantizeLinear of the map's scale: both sum in float32 and round once, and differ only by the
rounding of products with the scale.
"""

from collections.abc import Sequence

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from lzu_export.errors import LzuError
from lzu_export.graph.lowering.adaptive import adaptive_nodes, lower_adaptive
from lzu_export.graph.passes import Pass, fold_constants, import_graph, run_passes
from lzu_export.graph.regions import INT8
from lzu_export.ops.contract import DOMAIN
from lzu_export.ops.registry import COMPUTED_WARPS


def emulated(
    model: onnx.ModelProto, canonical: onnx.ModelProto, before: Sequence[Pass] = ()
) -> onnx.ModelProto:
    """Convert a target's graph with plugins to standard operators alone.

    Args:
        model: the target's graph, whose calls have no functions.
        canonical: the graph that it was derived from, which has the functions.
        before: passes over the graph with functions; names of tensors are the canonical ones.

    Raises:
        LzuError: the canonical graph has no function for a call.
    """
    bodies = import_graph(canonical).functions
    passes = [emulate_plugins(bodies), *before, lower_adaptive(), fold_constants()]
    return run_passes(model, passes)[0]


def emulate_plugins(bodies: Sequence[gs.Function]) -> Pass:
    """Give the calls of plugins their functions, and INT8 calls their pairs."""

    def apply(graph: gs.Graph) -> gs.Graph:
        graph.functions = [
            *graph.functions,
            *(each for each in bodies if each.domain == DOMAIN and each.name in COMPUTED_WARPS),
        ]
        for call in adaptive_nodes(graph):
            for i, tensor in enumerate(list(call.outputs)):
                if tensor.dtype == np.int8:
                    _restore_pair(graph, call, i)
        return graph.cleanup().toposort()

    return Pass("emulate-plugins", "functions in place of plugins", apply)


def _restore_pair(graph: gs.Graph, call: gs.Node, i: int) -> None:
    """Let a call compute level i in float32."""
    x, y = call.inputs[i], call.outputs[i]
    if not x.inputs or x.inputs[0].op != "QuantizeLinear":
        raise LzuError(f"{x.name} is INT8 but no QuantizeLinear makes it; derive the graph again")
    scale, *zero = x.inputs[0].inputs[1:]
    name = y.name.removesuffix(INT8)
    wide = gs.Constant(f"{name}/float32_scale", scale.values.astype(np.float32))
    back = gs.Variable(f"{name}/read", dtype=np.float32, shape=x.shape)
    exact = gs.Variable(name, dtype=np.float32, shape=y.shape)
    call.inputs[i], call.outputs[i] = back, exact
    graph.nodes += [
        gs.Node("DequantizeLinear", f"{name}/read_level", {}, [x, wide, *zero], [back]),
        gs.Node("QuantizeLinear", f"{name}/write_level", {}, [exact, wide, *zero], [y]),
    ]
