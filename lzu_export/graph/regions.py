"""Assign each node to a part of the network, which decides the precision it can have.

Convolutions divide a graph: nodes before the first ones prepare the image, nodes after the last
ones decode. The last ones themselves are the predictions. The nodes that compute a warp are a
network of their own beside that of the features: they determine where features are sampled, not
their values.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs

from lzu_export.ops.registry import operator_of

WEIGHT = ".weight"
INT8 = "/int8"
"""Suffix of the name of a tensor that is stored as INT8."""
MODEL = "model."
"""Prefix of the names of a traced network's weights."""


@dataclass(frozen=True)
class Regions:
    """Names of nodes by the part of the network they belong to."""

    preparation: frozenset[str]
    """Nodes from the inputs to the first convolutions."""
    decode: frozenset[str]
    """Nodes after the last convolutions, or without a convolution before or after them."""
    predictions: frozenset[str]
    """Convolutions that no other convolution follows."""
    positions: frozenset[str]
    """Nodes that compute the sampling positions and factors of deformable convolutions."""
    warps: frozenset[str]
    """Nodes that compute the knots of a warp, from the boxes or the convolution they start at."""


def is_convolution(node: gs.Node) -> bool:
    """Return whether the node is a convolution, deformable ones included."""
    return (node.op, node.domain or "") in {("Conv", ""), ("DeformConv", "lzu")}


def is_deformable(node: gs.Node) -> bool:
    """Return whether the node is a deformable convolution that is not lowered yet."""
    return (node.op, node.domain) == ("DeformConv", "lzu")


def layer_name(node: gs.Node) -> str:
    """Return a layer's name in its checkpoint (`backbone.layer1.0.conv1`), else the node's."""
    if is_convolution(node):
        weight = node.inputs[1]
        if weight.inputs and weight.inputs[0].op == "DequantizeLinear":
            weight = weight.inputs[0].inputs[0]
        name = str(weight.name).removesuffix(INT8)
        if name.endswith(WEIGHT):
            return name.removesuffix(WEIGHT).removeprefix(MODEL)
    return str(node.name)


def is_pooled_mean(node: gs.Node) -> bool:
    """Return whether a node averages many cells by a product with a matrix of fewer rows."""
    if node.op != "MatMul" or node.outputs[0].shape is None:
        return False
    features = [tensor for tensor in node.inputs if not isinstance(tensor, gs.Constant)]
    if len(features) != 1 or features[0].shape is None:
        return False
    return bool(np.prod(node.outputs[0].shape) < np.prod(features[0].shape))


def find_regions(graph: gs.Graph) -> Regions:
    """Find the parts of a topologically sorted graph."""
    warps = frozenset(_warps(graph))
    after = _reach(graph.nodes, forwards=True)
    before = _reach(graph.nodes[::-1], forwards=False)
    fed = _fed(graph)
    parts: dict[str, set[str]] = {"preparation": set(), "decode": set(), "predictions": set()}
    for node in graph.nodes:
        if node.name in warps:
            continue
        if is_convolution(node):
            if node.name not in before:
                parts["predictions"].add(node.name)
        elif node.name not in before:
            parts["decode"].add(node.name)
        elif node.name not in after and node.name in fed:
            parts["preparation"].add(node.name)
    return Regions(
        **{name: frozenset(part) for name, part in parts.items()},
        positions=frozenset(_positions(graph)),
        warps=warps,
    )


def _reach(nodes: list[gs.Node], *, forwards: bool) -> set[str]:
    """Return the names of nodes that a convolution leads to (`forwards`), or that lead to one."""
    reached: set[str] = set()
    for node in nodes:
        neighbours = _before(node) if forwards else _behind(node)
        if any(is_convolution(n) or n.name in reached for n in neighbours):
            reached.add(node.name)
    return reached


def warp_inputs(node: gs.Node) -> frozenset[int]:
    """Return the numbers of a warp's inputs that set where it samples: knots, tables, positions."""
    operator = operator_of(node.domain, node.op)
    return operator.contract.position_inputs(len(node.inputs)) if operator else frozenset()


def _before(node: gs.Node) -> Iterator[gs.Node]:
    """Yield the nodes that compute a node's inputs, except the sampling positions of a warp."""
    knots = warp_inputs(node)
    for i, tensor in enumerate(node.inputs):
        if i not in knots:
            yield from tensor.inputs


def _behind(node: gs.Node) -> Iterator[gs.Node]:
    """Yield the nodes that read a node's outputs, except those that sample at them."""
    for tensor in node.outputs:
        for reader in tensor.outputs:
            knots = warp_inputs(reader)
            if any(i not in knots for i, each in enumerate(reader.inputs) if each is tensor):
                yield reader


def _fed(graph: gs.Graph) -> set[str]:
    """Return the names of nodes that depend on an input of the graph, not on constants alone."""
    inputs = {tensor.name for tensor in graph.inputs}
    fed: set[str] = set()
    for node in graph.nodes:
        if any(
            tensor.name in inputs or any(made_by.name in fed for made_by in tensor.inputs)
            for tensor in node.inputs
        ):
            fed.add(node.name)
    return fed


def _positions(graph: gs.Graph) -> set[str]:
    """Return the nodes from deformable convolutions' offsets and masks back to a convolution."""
    return _back(
        tensor
        for node in graph.nodes
        if is_deformable(node)
        for tensor in (node.inputs[2], node.inputs[4])
    )


def _warps(graph: gs.Graph) -> set[str]:
    """Return the nodes from computed warps' positions back to a convolution or to the inputs."""
    return _back(
        node.inputs[i] for node in graph.nodes for i in warp_inputs(node) if node.inputs[i].inputs
    )


def _back(tensors: Iterable[gs.Tensor]) -> set[str]:
    """Return the names of nodes that compute these tensors, back to convolutions inclusive."""
    found: set[str] = set()
    waiting = list(tensors)
    while waiting:
        for node in waiting.pop().inputs:
            if node.name not in found:
                found.add(node.name)
                if not is_convolution(node):
                    waiting += node.inputs
    return found
