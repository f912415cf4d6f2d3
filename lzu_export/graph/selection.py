"""Let a graph take the indices that its network selects by rank, instead of computing them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_graphsurgeon as gs

from lzu_export.errors import LzuError
from lzu_export.graph.builder import Builder
from lzu_export.graph.passes import Pass, tensors_named

RANKING = {"TopK": 1, "ArgMax": 0, "ArgMin": 0}
"""Place of the indices among the outputs of each operator that selects by rank."""


def selections_of(graph: gs.Graph, names: Sequence[str]) -> list[str]:
    """Return the names that are the indices of an operator of this graph, in the given order.

    An index that no output needs is not in the graph.
    """
    tensors = graph.tensors()
    return [name for name in names if name in tensors and _ranks(tensors[name])]


def give_selections(names: Sequence[str]) -> Pass:
    """Make selected indices inputs of the graph, under their names.

    Values that were selected with them are gathered at the given indices. For each name, the graph
    returns three more outputs, in this order: the scores at the given indices, the scores at those
    that it would have selected itself, and all scores.
    """

    def apply(graph: gs.Graph) -> gs.Graph:
        for name in names:
            (indices,) = tensors_named(graph, [name])
            if not _ranks(indices):
                raise LzuError(f"the tensor {name} is not selected by rank; export it again")
            _give(graph, indices)
        return graph.cleanup().toposort()

    return Pass("give-selections", "indices of nearly equal scores are PyTorch's", apply)


def _ranks(indices: gs.Tensor) -> bool:
    """Return whether a tensor is the indices' output of an operator that selects by rank."""
    if len(indices.inputs) != 1:
        return False
    node = indices.inputs[0]
    place = RANKING.get(node.op)
    return place is not None and node.outputs[place] is indices


def _give(graph: gs.Graph, indices: gs.Variable) -> None:
    """Make one operator's indices an input of the graph."""
    node, name = indices.inputs[0], indices.name
    build, scores = Builder(graph, f"{name}/given"), node.inputs[0]
    ranks_many = node.op == "TopK"
    axis = node.attrs.get("axis", -1 if ranks_many else 0)
    drops_axis = not ranks_many and not node.attrs.get("keepdims", 1)
    kind = scores.dtype or np.float32

    def gather(at: gs.Variable, into: gs.Variable) -> None:
        if drops_axis:
            at = build.node("Unsqueeze", at, np.array([axis]), dtype=at.dtype)
        build.into(into, "GatherElements", scores, at, axis=axis)

    own = gs.Variable(f"{name}/own_indices", dtype=np.int64, shape=indices.shape)
    node.outputs[RANKING[node.op]] = own
    graph.inputs.append(indices)
    if ranks_many:
        values = node.outputs[0]
        node.outputs[0] = gs.Variable(f"{name}/own_values", values.dtype, values.shape)
        gather(indices, values)
    for at, which in ((indices, "given"), (own, "own")):
        found = gs.Variable(f"{name}/{which}", dtype=kind)
        gather(at, found)
        if ranks_many and not node.attrs.get("sorted", 1):  # then their order means nothing
            ranked = gs.Variable(f"{name}/{which}_ranked", dtype=kind)
            order = gs.Variable(f"{name}/{which}_order", dtype=np.int64)
            attributes = {**node.attrs, "sorted": 1}
            graph.nodes.append(
                gs.Node("TopK", ranked.name, attributes, [found, node.inputs[1]], [ranked, order])
            )
            found = ranked
        graph.outputs.append(found)
    every = gs.Variable(f"{name}/scores", dtype=kind, shape=scores.shape)
    build.into(every, "Identity", scores)
    graph.outputs.append(every)
