"""Lower the adaptive operators: warps whose knots a graph computes.

A canonical graph calls `lzu::BoxKnots`, `SeparableZoom`, `SeparableUnzoom` and `InvertWarp` and
holds a function for each. ONNX Runtime and TensorRT-RTX get the functions' nodes instead of the
calls: measured on a CPU, their rows and columns by gather take a quarter of the time of a zoom by
products of constant bands, and a dense product per axis is the fastest unzoom. TensorRT with the
plugins gets the calls without functions: its older parsers prefer a function to a plugin of the
same name.
"""

import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from lzu_export.errors import LzuError
from lzu_export.graph import contracts
from lzu_export.graph.builder import onnx_type
from lzu_export.graph.lowering.registry import register
from lzu_export.graph.passes import Pass, drop_unused_domain
from lzu_export.ops.contract import DOMAIN, PLUGIN, VERSION
from lzu_export.ops.registry import COMPUTED_WARPS

log = logging.getLogger(__name__)


def adapts(model: onnx.ModelProto) -> bool:
    """Return whether the model computes a warp."""
    return any(
        node.domain == DOMAIN and node.op_type in COMPUTED_WARPS for node in model.graph.node
    )


def adaptive_nodes(graph: gs.Graph) -> list[gs.Node]:
    """Return every call of an adaptive operator."""
    return [node for node in graph.nodes if node.domain == DOMAIN and node.op in COMPUTED_WARPS]


def lower_adaptive() -> Pass:
    """Replace each call by the nodes of its function; the call's outputs keep their names.

    Raises:
        LzuError: the graph has no function for a call.
    """

    def apply(graph: gs.Graph) -> gs.Graph:
        _lower(graph, adaptive_nodes(graph))
        _drop_functions(graph)
        drop_unused_domain(graph, DOMAIN)
        return graph.cleanup().toposort()

    return Pass("lower-adaptive", "computed warps as standard operators", apply)


def lower_without_plugin() -> Pass:
    """Replace each call whose features' type no plugin takes by the nodes of its function."""

    def apply(graph: gs.Graph) -> gs.Graph:
        calls = []
        for call in adaptive_nodes(graph):
            types = [_type_name(each) for each in contracts.features(call.op, call.inputs)]
            if types and not contracts.takes(call.op, types):
                log.info("lzu::%s has no plugin for %s", call.op, ", ".join(map(str, types)))
                calls.append(call)
        _lower(graph, calls)
        return graph.cleanup().toposort()

    return Pass("lower-without-plugin", "no plugin takes bfloat16", apply)


def drop_bodies() -> Pass:
    """Remove the functions of the adaptive operators, so that a parser takes the plugins.

    The calls get attributes that name the plugins, by which the parser finds them.
    """

    def apply(graph: gs.Graph) -> gs.Graph:
        _drop_functions(graph)
        for call in adaptive_nodes(graph):
            call.attrs.update(PLUGIN)
        if adaptive_nodes(graph) and not any(d.domain == DOMAIN for d in graph.import_domains):
            graph.import_domains.append(onnx.helper.make_opsetid(DOMAIN, VERSION))
        return graph

    return Pass("drop-bodies", "a plugin stands behind each call of a computed warp", apply)


def _type_name(tensor: gs.Tensor) -> str | None:
    return None if tensor.dtype is None else np.dtype(tensor.dtype).name


def _lower(graph: gs.Graph, calls: list[gs.Node]) -> None:
    bodies = {each.name: each for each in graph.functions if each.domain == DOMAIN}
    for call in calls:
        if call.op not in bodies:
            raise LzuError(
                f"the graph has no function for lzu::{call.op}; lower the canonical file, not "
                "the one without bodies"
            )
        _inline(graph, call, bodies[call.op])


def _lower_to_body(graph: gs.Graph, call: gs.Node, _kind: str) -> None:
    _lower(graph, [call])


def _drop_functions(graph: gs.Graph) -> None:
    graph.functions = [
        each for each in graph.functions if each.domain != DOMAIN or each.name not in COMPUTED_WARPS
    ]


def _inline(graph: gs.Graph, call: gs.Node, body: gs.Function) -> None:
    """Replace a call by copies of its function's nodes."""
    outputs, prefix = list(call.outputs), call.outputs[0].name
    call.outputs.clear()
    known = {
        inner.name: outer
        for names, tensors in ((body.inputs, call.inputs), (body.outputs, outputs))
        for inner, outer in zip(names, tensors, strict=True)
    }
    for node in body.nodes:
        if node.op == "Constant":
            (made,) = node.outputs
            known[made.name] = gs.Constant(f"{prefix}/{made.name}", node.attrs["value"].values)
            continue
        for tensor in node.outputs:
            known.setdefault(tensor.name, gs.Variable(f"{prefix}/{tensor.name}"))
        copies = list(_copies(node, known, prefix))
        graph.nodes.extend(copies)
    graph.nodes.remove(call)


def _copies(node: gs.Node, known: dict[str, gs.Tensor], prefix: str) -> Iterator[gs.Node]:
    """Yield the node with the graph's tensors; nothing for a cast to the type it already has."""
    inputs = [known[tensor.name] for tensor in node.inputs]
    outputs = [known[tensor.name] for tensor in node.outputs]
    operator, attributes = node.op, dict(node.attrs)
    if operator == "CastLike" and inputs[1].dtype is not None:
        dtype: Any = inputs[1].dtype
        if np.dtype(dtype) == np.float32:
            # The input of every cast in a body is float32.
            known[node.outputs[0].name] = inputs[0]
            return
        operator, attributes, inputs = "Cast", {"to": onnx_type(dtype)}, inputs[:1]
    yield gs.Node(operator, f"{prefix}/{node.name}", attributes, inputs, outputs)


for _name in COMPUTED_WARPS:
    register(_name, ("body",), _lower_to_body)
