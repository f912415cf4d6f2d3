"""Count the floating-point operations of an ONNX graph from its shapes, without running it.

Convolutions, deformable convolutions, matrix products and GridSample are counted; a multiplication
and an addition are two operations. Elementwise operators, pooling, sorting and copies are not
counted: on these networks they are below a percent or two. A product with a warp's banded matrix
counts as a dense product, because it is executed as one.
"""

from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path

import onnx

from lzu_export.errors import LzuError
from lzu_export.graph.read import load_graph
from lzu_export.support.section import Section

WARPS = ("zoom", "unzoomed_")
"""Prefixes of the names of nodes that a warp was lowered to."""
GRID_SAMPLE = 14
"""Operations per sampled value: four products with weights and three additions, doubled to cover
the computation of the weights, which the channels share."""
DEFORMED = 11
"""Operations per value that a deformable convolution samples: bilinear weights and the mask."""

Shapes = Mapping[str, Sequence[int]]


class Flops(Section):
    """Floating-point operations of one batch, split into network and warps."""

    network: int
    """Operations of the network."""
    warps: int
    """Operations of zoom and unzoom, including the tables of adaptive warps."""

    @property
    def total(self) -> int:
        """Operations of network and warps together."""
        return self.network + self.warps


def count_flops(model: onnx.ModelProto | Path) -> Flops:
    """Count a lowered graph of static shapes, such as a bundle's `model.fp32.onnxruntime.onnx`.

    Args:
        model: the graph, or the path of its file.

    Raises:
        LzuError: a required shape is unknown, or the file cannot be read.
    """
    loaded = load_graph(model) if isinstance(model, Path) else model
    shapes = _shapes(loaded)
    counts = {True: 0, False: 0}
    for node in loaded.graph.node:
        counts[is_warp(node)] += _of_node(node, shapes)
    return Flops(network=counts[False], warps=counts[True])


def is_warp(node: onnx.NodeProto) -> bool:
    """Return whether a node is part of a lowered zoom or unzoom."""
    return node.name.startswith(WARPS)


def _shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    graph = inferred.graph
    shapes = {each.name: tuple(each.dims) for each in graph.initializer}
    for value in (*graph.input, *graph.output, *graph.value_info):
        if value.type.tensor_type.HasField("shape"):
            dimensions = value.type.tensor_type.shape.dim
            if all(each.HasField("dim_value") for each in dimensions):
                shapes[value.name] = tuple(each.dim_value for each in dimensions)
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.name == "value":
                shapes[node.output[0]] = tuple(attribute.t.dims)
    return shapes


def _of_node(node: onnx.NodeProto, shapes: Shapes) -> int:
    if node.op_type not in ("Conv", "DeformConv", "MatMul", "Gemm", "GridSample"):
        return 0

    def shape(name: str) -> Sequence[int]:
        if name not in shapes:
            raise LzuError(
                f"the shape of {name}, at node {node.name or node.op_type}, is unknown; operations "
                "are counted in graphs of static shapes"
            )
        return shapes[name]

    out = prod(shape(node.output[0]))
    if node.op_type in ("Conv", "DeformConv"):
        weight = shape(node.input[1])  # O, I / groups, h, w
        operations = 2 * out * prod(weight[1:])
        if node.op_type == "DeformConv":
            taps = prod(weight[2:]) * prod(shape(node.output[0])[2:])
            batch, channels = shape(node.input[0])[:2]
            operations += DEFORMED * batch * channels * taps
        return operations
    if node.op_type == "GridSample":
        return GRID_SAMPLE * out
    first = shape(node.input[0])
    inner = first[-1]
    if node.op_type == "Gemm" and _flag(node, "transA"):
        inner = first[0]
    return 2 * out * inner


def _flag(node: onnx.NodeProto, name: str) -> bool:
    return any(attribute.name == name and attribute.i for attribute in node.attribute)
