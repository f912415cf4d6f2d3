"""Add the ONNX functions of the `lzu` operators that a model calls. Imports no torch."""

from collections.abc import Sequence

import onnx

from lzu_export.errors import LzuError
from lzu_export.ops.contract import DOMAIN, VERSION
from lzu_export.ops.registry import OPERATORS, operator_of


def add_bodies(model: onnx.ModelProto, opset: int) -> None:
    """Add to the model, in place, a function for each `lzu` operator that it calls.

    If a warp is computed in the graph, sizes and attributes are constants in its functions, so all
    calls of one operator must have the same ones.

    Raises:
        LzuError: an input's shape is not static, or two calls of an operator need two bodies.
    """
    shapes = _static_shapes(model.graph)
    bodies: dict[str, onnx.FunctionProto] = {}
    for call in model.graph.node:
        operator = operator_of(call.domain, call.op_type)
        if operator is None or (call.op_type in bodies and not operator.computed_warp):
            continue
        names = call.input if operator.computed_warp else ()
        inputs = [_shape(shapes, name, call.op_type) for name in names]
        body = operator.body(call, inputs, opset)
        if bodies.setdefault(call.op_type, body) != body:
            raise LzuError(
                f"the graph calls lzu::{call.op_type} with different sizes or attributes; only "
                "calls that agree in them can share its function"
            )
    fixed = [name for name in OPERATORS if name in bodies and not OPERATORS[name].computed_warp]
    computed = [name for name in bodies if OPERATORS[name].computed_warp]
    model.functions.extend(bodies[name] for name in (*fixed, *computed))
    if bodies and not any(each.domain == DOMAIN for each in model.opset_import):
        model.opset_import.append(onnx.helper.make_opsetid(DOMAIN, VERSION))


def _static_shapes(graph: onnx.GraphProto) -> dict[str, Sequence[int]]:
    shapes: dict[str, Sequence[int]] = {each.name: each.dims for each in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        tensor = value.type.tensor_type
        if tensor.HasField("shape") and all(d.HasField("dim_value") for d in tensor.shape.dim):
            shapes[value.name] = [d.dim_value for d in tensor.shape.dim]
    return shapes


def _shape(shapes: dict[str, Sequence[int]], name: str, operator: str) -> Sequence[int]:
    if name not in shapes:
        raise LzuError(
            f"the graph has no static shape for {name}, which lzu::{operator} reads; "
            "export it with fixed sizes"
        )
    return shapes[name]
