"""Write function bodies: nodes of standard operators, with the constants of one graph in them.

The adaptive operators take their bodies' sizes from the call, so that no node reads a shape at run
time. On machines without the plugin library, TensorRT reads these bodies as ONNX Runtime does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike, NDArray
from onnx import helper, numpy_helper

from lzu_export.errors import LzuError
from lzu_export.ops.contract import DOMAIN, PLUGIN, Contract

Value = str | NDArray[Any] | np.float32


class Body:
    """Function body under construction, whose tensors are represented by their names."""

    def __init__(self, name: str) -> None:
        """Begin an empty body of the operator of this name."""
        self.name = name
        self.nodes: list[onnx.NodeProto] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def constant(self, values: ArrayLike) -> str:
        """Add a constant; floating-point numbers become float32. Equal ones are stored once."""
        array = np.asarray(values, order="C")
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            name = f"constant_{len(self._constants)}"
            value = numpy_helper.from_array(array, name)
            self.several("Constant", names=[name], value=value)
            self._constants[key] = name
        return self._constants[key]

    def node(self, op: str, *inputs: Value, name: str = "", **attributes: Any) -> str:
        """Add a node that makes one tensor, named `name` if given; arrays become constants."""
        name = name or f"{op.lower()}_{len(self.nodes)}"
        return self.several(op, *inputs, names=[name], **attributes)[0]

    def several(
        self, op: str, *inputs: Value, names: Sequence[str], **attributes: Any
    ) -> list[str]:
        """Add a node that makes several tensors of these names."""
        read = [each if isinstance(each, str) else self.constant(each) for each in inputs]
        node = helper.make_node(op, read, list(names), f"{self.name}/{names[0]}", **attributes)
        self.nodes.append(node)
        return list(names)

    def add(self, first: Value, second: Value) -> str:
        """Add two values."""
        return self.node("Add", first, second)

    def sub(self, first: Value, second: Value) -> str:
        """Subtract the second value from the first."""
        return self.node("Sub", first, second)

    def mul(self, first: Value, second: Value) -> str:
        """Multiply two values."""
        return self.node("Mul", first, second)

    def div(self, first: Value, second: Value) -> str:
        """Divide the first value by the second."""
        return self.node("Div", first, second)

    def total(self, value: str, axis: int, *, keep: bool = False) -> str:
        """Sum along an axis.

        Coordinates are summed by this, never by MatMul, which TensorRT may compute in TF32.
        """
        return self.node("ReduceSum", value, np.array([axis]), keepdims=int(keep))

    def reshape(self, value: str, shape: Sequence[int]) -> str:
        """Reshape a tensor."""
        return self.node("Reshape", value, np.array(shape, np.int64))

    def cut(self, value: str, axis: int, start: int, stop: int) -> str:
        """Cut out the part of an axis from `start` to before `stop`."""
        limits = (np.array([number]) for number in (start, stop, axis))
        return self.node("Slice", value, *limits)

    def function(self, contract: Contract, opset: int, levels: int = 1) -> onnx.FunctionProto:
        """Return the finished function, with the names of the operator's contract.

        Args:
            contract: contract of the operator.
            opset: opset of the model; ONNX Runtime ignores a function's own.
            levels: number of levels of the call.
        """
        return function_of(self.name, contract, self.nodes, opset, levels)


def function_of(
    name: str, contract: Contract, nodes: Sequence[onnx.NodeProto], opset: int, levels: int = 1
) -> onnx.FunctionProto:
    """Return the ONNX function of an operator, with the names of its contract."""
    return helper.make_function(
        DOMAIN,
        name,
        contract.input_names(levels),
        contract.output_names(levels),
        list(nodes),
        [helper.make_opsetid("", opset)],
        [*contract.fields, *(PLUGIN if contract.has_plugin else ())],
    )


def attributes_of(call: onnx.NodeProto, contract: Contract) -> dict[str, Any]:
    """Return a call's attributes by name, with the contract's defaults."""
    given = {each.name: helper.get_attribute_value(each) for each in call.attribute}
    return {**contract.defaults, **given}


def split_float(values: ArrayLike, bits: int = 12) -> tuple[NDArray[Any], NDArray[Any]]:
    """Split float64 numbers into a float32 of `bits` significant bits and the rest, also float32.

    The product of the first and an integer below 2^(24 - bits) is exact in float32.
    """
    array = np.asarray(values, np.float64)
    mantissa, exponent = np.frexp(array)
    high = np.ldexp(np.round(np.ldexp(mantissa, bits)), exponent - bits)
    return high.astype(np.float32), (array - high).astype(np.float32)


def check_shape(name: str, tensor: str, got: Sequence[int], wanted: Mapping[str, int]) -> None:
    """Check the shape of a tensor; `wanted` maps the axes' names to their sizes.

    Raises:
        LzuError: the shapes differ; the message names the operator, the tensor and both shapes.
    """
    if tuple(got) != tuple(wanted.values()):
        axes = " x ".join(wanted)
        raise LzuError(
            f"lzu::{name} got {tensor} of shape {tuple(got)}; give {axes}, here "
            f"{tuple(wanted.values())}"
        )
