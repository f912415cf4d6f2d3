"""Contract of an `lzu` operator: tensors, attributes and their limits, defined once.

The ONNX schema, PyTorch's schema and shapes, the checks of graphs and the plugins'
`*_PluginConfig.yaml` are derived from it. Imports nothing but the standard library.
"""

import re
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

DOMAIN = "lzu"
"""ONNX domain of the operators and TensorRT namespace of their plugins."""
VERSION = 1
"""Version of the domain and of every plugin."""

PLUGIN: Mapping[str, str] = {"plugin_namespace": DOMAIN, "plugin_version": str(VERSION)}
"""Attributes by which TensorRT's parser finds the plugin of a call, if one is registered."""

OWN_TYPE = "own"
"""Type of a tensor that has one of the feature types, but not necessarily that of the features."""

Shape = tuple[int | str, ...]
"""Sides of a tensor. A side is a number, a symbol (with one value in a call), a sum or product of
symbols and attributes, or two of these with an `or` between them."""


@dataclass(frozen=True)
class Tensor:
    """Input or output of an operator."""

    name: str
    shape: Shape
    type: str = ""
    """Name of the type, such as `float32`; `OWN_TYPE`; or empty for the type of the features."""
    repeats: bool = False
    """Whether there is one such tensor per feature level, named `NAME_0`, `NAME_1`, ..."""

    def names(self, levels: int) -> list[str]:
        """Names of the tensors in a call with this number of levels."""
        return [f"{self.name}_{i}" for i in range(levels)] if self.repeats else [self.name]


@dataclass(frozen=True)
class Field:
    """Attribute of an operator and field of its plugin."""

    type: str
    """Type of the values: `int32` or `float32`."""
    length: int | str = 1
    """Number of values; `n` means one value per level."""
    least: float | None = None
    most: float | None = None
    above: float | None = None
    default: float | str | None = None
    """Value if the attribute is missing: a number, or the formula that the plugin computes."""
    size_of: str = ""
    """Symbol of an input's shape whose value this attribute repeats for the function body."""

    @property
    def required(self) -> bool:
        """Whether a call must give the attribute."""
        return self.default is None


@dataclass(frozen=True)
class Contract:
    """Conditions that a call of an operator must satisfy."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    fields: Mapping[str, Field]
    types: tuple[str, ...] = ("float32",)
    """Feature types of the ONNX schema."""
    formats: tuple[str, ...] = ()
    """Types and formats of the features that the plugin accepts; empty without a plugin."""
    limits: Mapping[str, int] | None = None
    """Largest values of the symbols for which the plugin has a limit."""

    @property
    def has_plugin(self) -> bool:
        """Whether TensorRT has a plugin of this name."""
        return bool(self.formats)

    @property
    def plugin_types(self) -> tuple[str, ...]:
        """Feature types that the plugin accepts."""
        return tuple(dict.fromkeys(each.partition(" ")[0] for each in self.formats))

    @property
    def repeats(self) -> bool:
        """Whether the number of inputs depends on the number of levels."""
        return any(each.repeats for each in self.inputs)

    @cached_property
    def defaults(self) -> dict[str, float]:
        """Default values of attributes that a call may leave out, if they are plain numbers."""
        fields = self.fields.items()
        return {
            name: field.default for name, field in fields if isinstance(field.default, int | float)
        }

    def input_names(self, levels: int = 1) -> list[str]:
        """Names of a call's inputs in order."""
        return [name for each in self.inputs for name in each.names(levels)]

    def output_names(self, levels: int = 1) -> list[str]:
        """Names of a call's outputs in order."""
        return [name for each in self.outputs for name in each.names(levels)]

    def levels(self, inputs: int) -> int:
        """Number of levels of a call with this number of inputs; 1 if no input repeats."""
        single = sum(not each.repeats for each in self.inputs)
        return inputs - single if self.repeats else 1

    def position_inputs(self, inputs: int) -> frozenset[int]:
        """Indices of the inputs that define where a warp samples: knots, tables, positions."""
        tensors = each_tensor(self.inputs, self.levels(inputs))
        return frozenset(i for i, (tensor, _) in enumerate(tensors) if tensor.type == "float32")

    def float_inputs(self, inputs: int) -> frozenset[int]:
        """Indices of the inputs that stay float32 in a graph of half-precision features."""
        tensors = each_tensor(self.inputs, self.levels(inputs))
        return frozenset(i for i, (tensor, _) in enumerate(tensors) if tensor.type)


def each_tensor(tensors: Sequence[Tensor], levels: int) -> Iterator[tuple[Tensor, int]]:
    """Yield every tensor with its level number, once per level if it repeats."""
    for tensor in tensors:
        for level in range(levels if tensor.repeats else 1):
            yield tensor, level


def of_level(side: int | str, level: int) -> int | str:
    """Replace the symbols of any level in a side (`H_l`) by those of one level (`H_0`)."""
    return side if isinstance(side, int) else re.sub(r"_l\b", f"_{level}", side)


def side_fits(
    side: int | str, size: int, known: MutableMapping[str, int], attributes: Mapping[str, Any]
) -> bool:
    """Return whether a side has this size.

    Args:
        side: side of a contract's shape.
        size: size of that side in a graph.
        known: values of symbols; a symbol that occurs for the first time is added.
        attributes: attributes of the call.
    """
    if isinstance(side, int):
        return side == size
    if " or " in side:
        return any(
            side_fits(int(part) if part.isdigit() else part, size, known, attributes)
            for part in side.split(" or ")
        )
    if side.isidentifier() and side not in attributes:
        return known.setdefault(side, size) == size
    try:
        return side_value(side, known, attributes) == size
    except (LookupError, TypeError):
        return False  # the symbol or attribute that it depends on is itself wrong


def side_value(side: int | str, known: Mapping[str, int], attributes: Mapping[str, Any]) -> int:
    """Return the value of a number, symbol, attribute, sum or product.

    Raises:
        LookupError: a symbol or attribute is unknown.
    """
    if isinstance(side, int):
        return side
    for sign in ("+", "*"):
        first, found, rest = side.partition(f" {sign} ")
        if found:
            values = side_value(first, known, attributes), side_value(rest, known, attributes)
            return sum(values) if sign == "+" else values[0] * values[1]
    name, indexed, rest = side.partition("[")
    if indexed:
        return attributes[name][int(rest.rstrip("]"))]
    return known[name] if name in known else attributes[name]


def output_shapes(
    contract: Contract, inputs: Sequence[Sequence[int]], attributes: Mapping[str, Any]
) -> list[tuple[int, ...]]:
    """Return the shapes of a call's outputs.

    Args:
        contract: contract of the operator.
        inputs: shapes of the call's inputs.
        attributes: attributes of the call.
    """
    levels = contract.levels(len(inputs))
    known = input_symbols(contract, inputs, attributes)
    given = {**contract.defaults, **attributes}
    return [
        tuple(side_value(of_level(side, level), known, given) for side in tensor.shape)
        for tensor, level in each_tensor(contract.outputs, levels)
    ]


def input_symbols(
    contract: Contract, inputs: Sequence[Sequence[int]], attributes: Mapping[str, Any]
) -> dict[str, int]:
    """Return the values of the symbols in the shapes of a call's inputs."""
    known: dict[str, int] = {}
    tensors = each_tensor(contract.inputs, contract.levels(len(inputs)))
    for (tensor, level), shape in zip(tensors, inputs, strict=True):
        for side, size in zip(tensor.shape, shape, strict=True):
            side_fits(of_level(side, level), size, known, attributes)
    return known
