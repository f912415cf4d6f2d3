"""Assign each node to a part of the network, which decides the precision it can have.

Convolutions divide a graph: what stands in front of the first ones prepares the image, what follows
the last ones decodes. The last ones themselves are the predictions. What computes a warp is a
network of its own beside that of the features: it says where they are sampled, not what they are.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs

from lzu_export.ops.registry import operator_of

WEIGHT = ".weight"
INT8 = "/int8"
"""What is added to the name of a tensor that is stored as INT8."""
MODEL = "model."
"""What the names of a traced network's weights begin with."""


@dataclass(frozen=True)
class Regions:
    """Names of nodes, by the part they belong to."""

    preparation: frozenset[str]
    """From the inputs to the first convolutions."""
    decode: frozenset[str]
    """Behind the last convolutions, or without a convolution before or behind them."""
    predictions: frozenset[str]
    """Convolutions that no other one follows."""
    positions: frozenset[str]
    """What computes where, and by what factor, deformable convolutions sample."""
    warps: frozenset[str]
    """What computes the knots of a warp, from the boxes or the convolution that it begins with."""


def is_convolution(node: gs.Node) -> bool:
    """Whether the node is a convolution, deformable ones included."""
    return (node.op, node.domain or "") in {("Conv", ""), ("DeformConv", "lzu")}


def is_deformable(node: gs.Node) -> bool:
    """Whether the node is a deformable convolution that is not lowered yet."""
    return (node.op, node.domain) == ("DeformConv", "lzu")


def layer_name(node: gs.Node) -> str:
    """A layer's name in its checkpoint, such as `backbone.layer1.0.conv1`, else the node's."""
    if is_convolution(node):
        weight = node.inputs[1]
        if weight.inputs and weight.inputs[0].op == "DequantizeLinear":
            weight = weight.inputs[0].inputs[0]
        name = str(weight.name).removesuffix(INT8)
        if name.endswith(WEIGHT):
            return name.removesuffix(WEIGHT).removeprefix(MODEL)
    return str(node.name)


def is_pooled_mean(node: gs.Node) -> bool:
    """Whether a node averages many cells: a product with a constant matrix of fewer rows."""
    if node.op != "MatMul" or node.outputs[0].shape is None:
        return False
    features = [tensor for tensor in node.inputs if not isinstance(tensor, gs.Constant)]
    if len(features) != 1 or features[0].shape is None:
        return False
    return bool(np.prod(node.outputs[0].shape) < np.prod(features[0].shape))


def find_regions(graph: gs.Graph) -> Regions:
    """Tell the parts of a topologically sorted graph apart."""
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
    """Names of nodes that a convolution leads to (`forwards`), or that lead to one."""
    reached: set[str] = set()
    for node in nodes:
        neighbours = _before(node) if forwards else _behind(node)
        if any(is_convolution(n) or n.name in reached for n in neighbours):
            reached.add(node.name)
    return reached


def warp_inputs(node: gs.Node) -> frozenset[int]:
    """Numbers of the inputs that tell a warp where to sample: its knots, tables or positions."""
    operator = operator_of(node.domain, node.op)
    return operator.contract.position_inputs(len(node.inputs)) if operator else frozenset()


def _before(node: gs.Node) -> Iterator[gs.Node]:
    """What computes the values that a node reads, but for a warp's knots."""
    knots = warp_inputs(node)
    for i, tensor in enumerate(node.inputs):
        if i not in knots:
            yield from tensor.inputs


def _behind(node: gs.Node) -> Iterator[gs.Node]:
    """What reads the values that a node computes, but for what reads them as a warp's knots."""
    for tensor in node.outputs:
        for reader in tensor.outputs:
            knots = warp_inputs(reader)
            if any(i not in knots for i, each in enumerate(reader.inputs) if each is tensor):
                yield reader


def _fed(graph: gs.Graph) -> set[str]:
    """Names of nodes that compute something of an input, not of constants alone."""
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
    """From the offsets and masks of deformable convolutions back to the convolution they are of."""
    return _back(
        tensor
        for node in graph.nodes
        if is_deformable(node)
        for tensor in (node.inputs[2], node.inputs[4])
    )


def _warps(graph: gs.Graph) -> set[str]:
    """From the knots of computed warps back to the convolution they are of, or to the inputs."""
    return _back(
        node.inputs[i] for node in graph.nodes for i in warp_inputs(node) if node.inputs[i].inputs
    )


def _back(tensors: Iterable[gs.Tensor]) -> set[str]:
    """Names of what computes these tensors, convolutions included but nothing before them."""
    found: set[str] = set()
    waiting = list(tensors)
    while waiting:
        for node in waiting.pop().inputs:
            if node.name not in found:
                found.add(node.name)
                if not is_convolution(node):
                    waiting += node.inputs
    return found
