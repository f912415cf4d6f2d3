"""Check nodes of a graph against the contracts of the TensorRT plugins.

TensorRT's parser finds a plugin by three names, and a call that does not fit it only fails there.
The contracts of `lzu_export.ops` let such a graph be rejected earlier.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx

from lzu_export.ops.contract import (
    DOMAIN,
    PLUGIN,
    Contract,
    each_tensor,
    of_level,
    side_fits,
)
from lzu_export.ops.registry import OPERATORS

NAMESPACE = DOMAIN
VERSION = PLUGIN["plugin_version"]

CONTRACTS: Mapping[str, Contract] = {
    name: each.contract for name, each in OPERATORS.items() if each.contract.has_plugin
}
"""Contracts of the operators that have a plugin, by name."""

_KINDS = {
    onnx.AttributeProto.INT: "int32",
    onnx.AttributeProto.INTS: "int32",
    onnx.AttributeProto.FLOAT: "float32",
    onnx.AttributeProto.FLOATS: "float32",
}


@dataclass(frozen=True)
class Described:
    """Name, type name and shape of a tensor; None where the graph does not state type or shape."""

    name: str
    type: str | None
    shape: tuple[int, ...] | None


def broken(
    node: onnx.NodeProto, inputs: Sequence[Described], outputs: Sequence[Described]
) -> Iterator[str]:
    """Yield the faults of a call of a plugin in words, each without the call's name.

    Args:
        node: a node of the domain `lzu`.
        inputs: types and shapes of the node's inputs.
        outputs: types and shapes of its outputs.
    """
    contract = CONTRACTS.get(node.op_type)
    if contract is None:
        yield f"there is no plugin {node.op_type}; there are {', '.join(CONTRACTS)}"
        return
    said = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
    for name, wanted in PLUGIN.items():
        if said.get(name) != wanted.encode():
            yield f"its {name} is not {wanted}, by which the parser would find the plugin"
    levels = contract.levels(len(inputs))
    for named, given in ((contract.inputs, inputs), (contract.outputs, outputs)):
        count = sum(levels if each.repeats else 1 for each in named)
        if levels < 1 or len(given) != count:
            yield f"it has {len(inputs)} inputs and {len(outputs)} outputs"
            return
    yield from _broken_fields(node, contract, levels)
    yield from _broken_types(contract, inputs, outputs, levels)
    yield from _broken_shapes(contract, inputs, outputs, levels, said)


def takes(name: str, types: Sequence[str | None]) -> bool:
    """Return whether the plugin of this name takes features of these types."""
    return len(set(types)) == 1 and types[0] in CONTRACTS[name].plugin_types


def features(name: str, inputs: Sequence[Any]) -> list[Any]:
    """Return the inputs of a call that are features, whose type the contract does not fix."""
    contract = CONTRACTS[name]
    paired = zip(each_tensor(contract.inputs, contract.levels(len(inputs))), inputs, strict=True)
    return [given for (tensor, _), given in paired if not tensor.type]


def _broken_fields(node: onnx.NodeProto, contract: Contract, levels: int) -> Iterator[str]:
    given = {each.name: each for each in node.attribute if each.name not in PLUGIN}
    for name in given:
        if name not in contract.fields:
            yield f"the plugin has no field {name}; leave the attribute out"
    for name, field in contract.fields.items():
        if name not in given:
            if field.required:
                yield f"the field {name} is missing"
            continue
        if _KINDS.get(given[name].type) != field.type:
            yield f"the field {name} is not of {field.type}"
            continue
        value = onnx.helper.get_attribute_value(given[name])
        values = value if isinstance(value, Sequence) else [value]
        count = levels if field.length == "n" else field.length
        if len(values) != count:
            yield f"the field {name} has {len(values)} values where {count} are wanted"
        bounds = (
            (field.least, lambda value, bound: value >= bound, "at least"),
            (field.most, lambda value, bound: value <= bound, "at most"),
            (field.above, lambda value, bound: value > bound, "more than"),
        )
        for bound, holds, words in bounds:
            for each in values:
                if bound is not None and not holds(each, bound):
                    yield f"the field {name} holds {each:g} where it must be {words} {bound:g}"


def _broken_types(
    contract: Contract, inputs: Sequence[Described], outputs: Sequence[Described], levels: int
) -> Iterator[str]:
    shared: set[str] = set()
    for named, given in ((contract.inputs, inputs), (contract.outputs, outputs)):
        for (tensor, _), described in zip(each_tensor(named, levels), given, strict=True):
            if described.type is None:
                yield f"the graph has no type for {described.name}"
            elif tensor.type and described.type != tensor.type:
                yield f"{described.name} is {described.type} where the plugin has {tensor.type}"
            elif not tensor.type:
                shared.add(described.type)
                if described.type not in contract.plugin_types:
                    yield (
                        f"{described.name} is {described.type} where the plugin has "
                        f"{' or '.join(contract.plugin_types)}"
                    )
    if len(shared) > 1:
        yield f"its features are {' and '.join(sorted(shared))} where the plugin has one type"


def _broken_shapes(
    contract: Contract,
    inputs: Sequence[Described],
    outputs: Sequence[Described],
    levels: int,
    attributes: Mapping[str, Any],
) -> Iterator[str]:
    known: dict[str, int] = {"n": levels}
    given = {**contract.defaults, **attributes}
    for named, tensors in ((contract.inputs, inputs), (contract.outputs, outputs)):
        for (tensor, level), described in zip(each_tensor(named, levels), tensors, strict=True):
            if described.shape is None:
                yield f"the graph has no static shape for {described.name}"
                continue
            wanted = [of_level(side, level) for side in tensor.shape]
            fits = len(wanted) == len(described.shape) and all(
                side_fits(side, size, known, given)
                for side, size in zip(wanted, described.shape, strict=True)
            )
            if not fits:
                sides = " x ".join(str(side) for side in tensor.shape) or "a single number"
                yield f"{described.name} is {list(described.shape)} where the plugin has {sides}"
    for symbol, most in (contract.limits or {}).items():
        if known.get(symbol, 0) > most:
            yield f"{symbol} is {known[symbol]} where the plugin takes at most {most}"
