"""The adaptive operators together: how a tracer emits them and a model gets their bodies."""

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import onnx

from lzu_export.errors import LzuError
from lzu_export.ops import box_knots, invert_warp, separable_unzoom, separable_zoom
from lzu_export.ops.body import DOMAIN, VERSION

OPERATORS: dict[str, ModuleType] = {
    each.NAME: each for each in (box_knots, separable_zoom, separable_unzoom, invert_warp)
}


def translation_table() -> dict[Any, Any]:
    """What `torch.onnx.export(custom_translation_table=...)` needs to emit the operators."""
    return {
        key: value for each in OPERATORS.values() for key, value in each.translation_table().items()
    }


def add_bodies(model: onnx.ModelProto, opset: int) -> None:
    """Give the model, in place, a function for each adaptive operator that it calls.

    Sizes and attributes are constants in a function, hence calls of one operator must have the same
    ones.

    Raises:
        LzuError: an input's shape is not static, or two calls of an operator need two bodies.
    """
    shapes = _static_shapes(model.graph)
    bodies: dict[str, onnx.FunctionProto] = {}
    for call in model.graph.node:
        if call.domain != DOMAIN or call.op_type not in OPERATORS:
            continue
        inputs = [_shape(shapes, name, call.op_type) for name in call.input]
        body = OPERATORS[call.op_type].function_body(call, inputs, opset)
        if bodies.setdefault(call.op_type, body) != body:
            raise LzuError(
                f"the graph calls lzu::{call.op_type} with different sizes or attributes; only "
                "calls that agree in them can share its function"
            )
    model.functions.extend(bodies.values())
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
            f"the graph does not tell a static shape of {name}, which lzu::{operator} reads; "
            "export it with fixed sizes"
        )
    return shapes[name]
