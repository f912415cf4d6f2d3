"""Make a graph return the magnitude of its tensors instead of the tensors."""

from collections.abc import Sequence

import numpy as np
import onnx_graphsurgeon as gs

from lzu_export.graph.builder import Builder
from lzu_export.graph.passes import Pass, tensors_named


def probe_largest(names: Sequence[str]) -> Pass:
    """Make max|tensor| of each named tensor the graph's outputs, in that order, and no others.

    It is NaN where the tensor holds one. ONNX Runtime's ReduceMax skips NaNs, but a sum keeps them.
    """

    def apply(graph: gs.Graph) -> gs.Graph:
        tensors = tensors_named(graph, names)
        graph.outputs = []
        for name, tensor in zip(names, tensors, strict=True):
            build = Builder(graph, f"{name}/probe")
            largest = gs.Variable(f"{name}/largest", dtype=np.float32, shape=())
            sizes = build.node("Abs", tensor)
            total = build.node("ReduceSum", sizes, keepdims=0)
            most = build.node("ReduceMax", sizes, keepdims=0)
            build.into(largest, "Where", build.node("IsNaN", total, dtype=bool), total, most)
            graph.outputs.append(largest)
        return graph.cleanup(remove_unused_graph_inputs=True).toposort()

    return Pass("probe-largest", f"how large {len(names)} tensors become", apply)
