"""Contracts of the TensorRT plugins: the form of a call in a graph that becomes a plugin.

A parser of TensorRT makes a plugin of a node by three names, and finds out by failing whether it
fits. These are the tables that `plugins/*/*_PluginConfig.yaml` hold for readers (a test holds both
against each other, and the library against the files), so that a graph is refused before.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx

NAMESPACE = "lzu"
VERSION = "1"

Shape = tuple[int | str, ...]
"""A tensor's sides: numbers; symbols, the same wherever they are named; sums and products of
symbols and attributes; or two of these with an `or` between them."""


@dataclass(frozen=True)
class Tensor:
    """An input or output; `type` is empty where it has the type that the features share."""

    name: str
    shape: Shape
    type: str = ""

    @property
    def repeats(self) -> bool:
        """Whether it stands for as many tensors as there are levels."""
        return ".." in self.name


@dataclass(frozen=True)
class Field:
    """An attribute; `length` is `n` where it has one value a level."""

    type: str
    length: int | str
    least: float | None = None
    most: float | None = None
    above: float | None = None
    required: bool = True


@dataclass(frozen=True)
class Contract:
    """What one plugin takes."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    types: tuple[str, ...]
    """Of the features."""
    fields: Mapping[str, Field]
    limits: Mapping[str, int]
    """The largest value of a symbol."""


_KNOTS = (
    Tensor("knots_x", ("B or 1", "w"), "float32"),
    Tensor("knots_y", ("B or 1", "h"), "float32"),
)

CONTRACTS: Mapping[str, Contract] = {
    "BoxKnots": Contract(
        inputs=(
            Tensor("boxes", ("B", "N", 4), "float32"),
            Tensor("valid", ("B", "N"), "float32"),
            Tensor("amplitude", (), "float32"),
            Tensor("bandwidth", (), "float32"),
            Tensor("fixed_x", ("lattice[1]",), "float32"),
            Tensor("fixed_y", ("lattice[0]",), "float32"),
        ),
        outputs=(
            Tensor("knots_x", ("B", "lattice[1]"), "float32"),
            Tensor("knots_y", ("B", "lattice[0]"), "float32"),
        ),
        types=("float32",),
        fields={
            "lattice": Field("int32", 2, least=2, most=256),
            "source": Field("int32", 2, least=1),
            "fwhm": Field("float32", 1, above=0),
            "mix": Field("float32", 1, least=0, most=1),
            "min_side": Field("float32", 1, above=0, required=False),
        },
        limits={"N": 1024},
    ),
    "SeparableZoom": Contract(
        inputs=(Tensor("image", ("B", "C", "H", "W")), *_KNOTS),
        outputs=(Tensor("zoomed", ("B", "C", "canvas[0] + pad[0]", "canvas[1] + pad[1]")),),
        types=("float32", "float16"),
        fields={
            "canvas": Field("int32", 2, least=1, most=65536),
            "pad": Field("int32", 2, least=0, most=65536),
        },
        limits={},
    ),
    "SeparableUnzoom": Contract(
        inputs=(Tensor("level_0 .. level_{n-1}", ("B", "C_l", "H_l", "W_l")), *_KNOTS),
        outputs=(Tensor("level_0 .. level_{n-1}", ("B", "C_l", "upscale * H_l", "upscale * W_l")),),
        types=("float32", "float16", "int8"),
        fields={
            "scale_y": Field("float32", "n", least=0),
            "offset_y": Field("float32", "n"),
            "scale_x": Field("float32", "n", least=0),
            "offset_x": Field("float32", "n"),
            "upscale": Field("int32", 1, least=1, most=64, required=False),
        },
        limits={"n": 8},
    ),
    "InvertWarp": Contract(
        inputs=(Tensor("knots", ("B", "h", "w", 2), "float32"),),
        outputs=(Tensor("grid", ("B", "size[0]", "size[1]", 2), "float32"),),
        types=("float32",),
        fields={
            "size": Field("int32", 2, least=1, most=65535),
            "scale_y": Field("float32", 1, required=False),
            "offset_y": Field("float32", 1, required=False),
            "scale_x": Field("float32", 1, required=False),
            "offset_x": Field("float32", 1, required=False),
            "outside": Field("float32", 1, required=False),
        },
        limits={},
    ),
}

NAMES = ("plugin_namespace", "plugin_version")
"""Attributes by which TensorRT's parser finds a plugin; they are no fields of it."""

_DEFAULTS = {"upscale": 1}
"""Of fields that a shape depends on."""
_KINDS = {
    onnx.AttributeProto.INT: "int32",
    onnx.AttributeProto.INTS: "int32",
    onnx.AttributeProto.FLOAT: "float32",
    onnx.AttributeProto.FLOATS: "float32",
}


@dataclass(frozen=True)
class Described:
    """A tensor of a graph: its type's name and shape, None where the graph does not tell."""

    name: str
    type: str | None
    shape: tuple[int, ...] | None


def broken(
    node: onnx.NodeProto, inputs: Sequence[Described], outputs: Sequence[Described]
) -> Iterator[str]:
    """In what ways a call is not what its plugin's contract says, without the call's name.

    Args:
        node: of the domain `lzu`.
        inputs: what the graph tells of the node's inputs.
        outputs: likewise.
    """
    contract = CONTRACTS.get(node.op_type)
    if contract is None:
        yield f"there is no plugin {node.op_type}; there are {', '.join(CONTRACTS)}"
        return
    said = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
    for name, wanted in zip(NAMES, (NAMESPACE, VERSION), strict=True):
        if said.get(name) != wanted.encode():
            yield f"its {name} is not {wanted}, by which the parser would find the plugin"
    levels = _levels(contract, inputs)
    for named, given in ((contract.inputs, inputs), (contract.outputs, outputs)):
        count = sum(levels if each.repeats else 1 for each in named)
        if levels < 1 or len(given) != count:
            yield f"it has {len(inputs)} inputs and {len(outputs)} outputs"
            return
    yield from _broken_fields(node, contract, levels)
    yield from _broken_types(contract, inputs, outputs, levels)
    yield from _broken_shapes(contract, inputs, outputs, levels, said)


def takes(name: str, types: Sequence[str | None]) -> bool:
    """Whether the plugin of this name takes features of these types."""
    return len(set(types)) == 1 and types[0] in CONTRACTS[name].types


def features(name: str, inputs: Sequence[Any]) -> list[Any]:
    """Those of a call's inputs whose type is not settled by the contract."""
    contract = CONTRACTS[name]
    paired = zip(_each(contract.inputs, _levels(contract, inputs)), inputs, strict=True)
    return [given for (tensor, _), given in paired if not tensor.type]


def _levels(contract: Contract, inputs: Sequence[Any]) -> int:
    """How many levels a call has; 1 of an operator that knows none."""
    single = sum(not each.repeats for each in contract.inputs)
    return len(inputs) - single if single < len(contract.inputs) else 1


def _each(tensors: Sequence[Tensor], levels: int) -> Iterator[tuple[Tensor, int]]:
    """Every tensor, those that repeat once a level, with the number of its level."""
    for tensor in tensors:
        for level in range(levels if tensor.repeats else 1):
            yield tensor, level


def _broken_fields(node: onnx.NodeProto, contract: Contract, levels: int) -> Iterator[str]:
    given = {each.name: each for each in node.attribute if each.name not in NAMES}
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
        for (tensor, _), described in zip(_each(named, levels), given, strict=True):
            if described.type is None:
                yield f"the graph does not tell the type of {described.name}"
            elif tensor.type and described.type != tensor.type:
                yield f"{described.name} is {described.type} where the plugin has {tensor.type}"
            elif not tensor.type:
                shared.add(described.type)
                if described.type not in contract.types:
                    yield (
                        f"{described.name} is {described.type} where the plugin has "
                        f"{' or '.join(contract.types)}"
                    )
    if len(shared) > 1:
        yield f"its features are {' and '.join(sorted(shared))} where the plugin has one type"


def _broken_shapes(
    contract: Contract,
    inputs: Sequence[Described],
    outputs: Sequence[Described],
    levels: int,
    said: Mapping[str, Any],
) -> Iterator[str]:
    known: dict[str, int] = {"n": levels}
    for named, given in ((contract.inputs, inputs), (contract.outputs, outputs)):
        for (tensor, level), described in zip(_each(named, levels), given, strict=True):
            if described.shape is None:
                yield f"the graph does not tell a static shape of {described.name}"
                continue
            wanted = [_of_level(side, level) for side in tensor.shape]
            fits = len(wanted) == len(described.shape) and all(
                _is(side, size, known, said)
                for side, size in zip(wanted, described.shape, strict=True)
            )
            if not fits:
                sides = " x ".join(str(side) for side in tensor.shape) or "a single number"
                yield f"{described.name} is {list(described.shape)} where the plugin has {sides}"
    for symbol, most in contract.limits.items():
        if known.get(symbol, 0) > most:
            yield f"{symbol} is {known[symbol]} where the plugin takes at most {most}"


def _of_level(side: int | str, level: int) -> int | str:
    """A side with the symbols of a level (`H_l`) as those of this one (`H_0`)."""
    return side if isinstance(side, int) else re.sub(r"_l\b", f"_{level}", side)


def _is(side: int | str, size: int, known: dict[str, int], said: Mapping[str, Any]) -> bool:
    """Whether a side has this size; a symbol that is named for the first time takes it."""
    if isinstance(side, int):
        return side == size
    if " or " in side:
        return any(
            _is(int(part) if part.isdigit() else part, size, known, said)
            for part in side.split(" or ")
        )
    if side.isidentifier() and side not in said:
        return known.setdefault(side, size) == size
    try:
        return _value(side, known, said) == size
    except (LookupError, TypeError):
        return False  # a symbol or field that it depends on was refused before


def _value(side: str, known: Mapping[str, int], said: Mapping[str, Any]) -> int:
    """The value of a sum or a product of symbols and attributes."""
    for sign in ("+", "*"):
        first, found, rest = side.partition(f" {sign} ")
        if found:
            values = _value(first, known, said), _value(rest, known, said)
            return sum(values) if sign == "+" else values[0] * values[1]
    name, indexed, rest = side.partition("[")
    if indexed:
        return int(said[name][int(rest.rstrip("]"))])
    return int(known[name] if name in known else {**_DEFAULTS, **said}[name])
