"""Definition of an `lzu` operator for the compiler. Imports no torch by itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import onnx

from lzu_export.ops.contract import DOMAIN, OWN_TYPE, PLUGIN, VERSION, Contract, Field

_TENSOR_TYPES = {
    "float32": "tensor(float)",
    "float16": "tensor(float16)",
    "bfloat16": "tensor(bfloat16)",
    "int8": "tensor(int8)",
}


Body = Callable[[onnx.NodeProto, Sequence[Sequence[int]], int], onnx.FunctionProto]
"""Function from a call, the static shapes of its inputs and the opset to the ONNX function."""


def for_every_call(function: Callable[[int], onnx.FunctionProto]) -> Body:
    """Make the body of an operator whose ONNX function depends on the opset alone."""
    return lambda _call, _shapes, opset: function(opset)


@dataclass(frozen=True)
class TorchArguments:
    """Arguments of a torch operator that differ from the ONNX operator's inputs and attributes."""

    schema: str
    """Schema in PyTorch's notation, such as `(Tensor x, int n) -> Tensor`."""
    tensors: int
    """Number of leading arguments that are tensors."""
    shape: Callable[..., tuple[int, ...]]
    """Function from the torch arguments to the shape of the result."""
    translate: Callable[..., Any]
    """Function from the ONNX operator and the torch arguments to the call."""


@dataclass(frozen=True)
class Operator:
    """Operator of the `lzu` domain: contract, torch semantics and function body.

    `lzu_export.ops.registry` lists the operators. Lowerings to targets' operators are registered in
    `lzu_export.graph.lowering`.
    """

    name: str
    torch_name: str
    """Name of the operator in `torch.ops.lzu`."""
    doc: str
    contract: Contract
    definition: Callable[..., Any]
    """Reference semantics in PyTorch. The function takes the input tensors in the contract's order
    (a list for inputs that repeat), then the attributes. It returns a tensor, a tuple, or a list if
    the output repeats.
    """
    body: Body
    computed_warp: bool
    """Whether the warp is computed in the graph. The function body then holds the sizes of a call.
    """
    gradient: Callable[..., Sequence[Any]] | None = None
    """Gradient of an operator without settings that is linear in its features: function from the
    tensors, whether each one's gradient is needed, and the gradients of the outputs to the tensors'
    gradients. Of the features it is given the shape alone, so they are not kept for the backward
    pass. By default `definition` is run again and differentiated.
    """
    torch_arguments: TorchArguments | None = None
    """Arguments of the torch operator, if they differ from the ONNX operator's."""

    @property
    def arguments(self) -> dict[str, Field]:
        """Attributes that are arguments of the torch operator, by name."""
        fields = self.contract.fields.items()
        return {name: field for name, field in fields if not field.size_of}

    def schema(self, levels: int | None = None) -> onnx.defs.OpSchema:
        """Return the ONNX schema.

        Args:
            levels: number of levels. ONNX lets only the last input repeat, so without a number an
                operator of levels has one variadic list of inputs.
        """
        op = onnx.defs.OpSchema
        variadic = self.contract.repeats and levels is None
        if variadic:
            many: dict[str, Any] = {"param_option": op.FormalParameterOption.Variadic}
            many["is_homogeneous"] = False
            inputs, outputs = (
                [op.FormalParameter(name, "T", **many)] for name in ("inputs", "outputs")
            )
        else:
            inputs, outputs = (
                [
                    op.FormalParameter(name, _onnx_type(each.type))
                    for each in tensors
                    for name in each.names(levels or 1)
                ]
                for tensors in (self.contract.inputs, self.contract.outputs)
            )
        used = {_onnx_type(each.type) for each in (*self.contract.inputs, *self.contract.outputs)}
        types = [_TENSOR_TYPES[each] for each in self.contract.types]
        constraints = {"T": "features", "P": "positions and factors, computed with in float32"}
        return op(
            self.name,
            DOMAIN,
            VERSION,
            doc=self.doc,
            inputs=inputs,
            outputs=outputs,
            type_constraints=[
                (key, types, text) for key, text in constraints.items() if key in used
            ],
            attributes=[
                *(_onnx_attribute(name, field) for name, field in self.contract.fields.items()),
                *self._plugin_attributes(),
            ],
        )

    def _plugin_attributes(self) -> list[onnx.defs.OpSchema.Attribute]:
        """Return the schema's entries for the attributes that name the plugin."""
        names = PLUGIN if self.contract.has_plugin else ()
        string = onnx.defs.OpSchema.AttrType.STRING
        return [onnx.defs.OpSchema.Attribute(name, string, required=False) for name in names]


def _onnx_type(type_name: str) -> str:
    """Return the schema's type of a tensor."""
    return {"": "T", OWN_TYPE: "P"}.get(type_name) or _TENSOR_TYPES[type_name]


def _onnx_attribute(name: str, field: Field) -> onnx.defs.OpSchema.Attribute:
    kind = ("INT" if field.type == "int32" else "FLOAT") + ("" if field.length == 1 else "S")
    if isinstance(field.default, int | float):
        value = int(field.default) if field.type == "int32" else float(field.default)
        return onnx.defs.OpSchema.Attribute(name, onnx.helper.make_attribute(name, value))
    attribute_type = getattr(onnx.defs.OpSchema.AttrType, kind)
    return onnx.defs.OpSchema.Attribute(name, attribute_type, required=field.required)
