"""Register every `lzu` operator as `torch.ops.lzu.NAME` on import, with its translation to ONNX."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, get_type_hints

import onnxscript
import torch
from torch import Tensor

from lzu_export.ops.base import Operator
from lzu_export.ops.contract import DOMAIN, PLUGIN, VERSION, input_symbols, output_shapes
from lzu_export.ops.linear_weights import on_cpu
from lzu_export.ops.registry import OPERATORS

_OPSET = onnxscript.values.Opset(DOMAIN, VERSION)
_ANNOTATIONS: dict[tuple[str, bool], Any] = {
    ("int32", True): int,
    ("float32", True): float,
    ("int32", False): Sequence[int],
    ("float32", False): Sequence[float],
}


def torch_schema(operator: Operator) -> str:
    """Return PyTorch's schema of an operator, such as `(Tensor x, int[] size) -> Tensor`."""
    if operator.torch_arguments:
        return operator.torch_arguments.schema
    contract = operator.contract
    tensors = [
        f"Tensor[] {each.name}s" if each.repeats else f"Tensor {each.name}"
        for each in contract.inputs
    ]
    types = {"int32": "SymInt", "float32": "float"}
    settings = [
        f"{types[field.type]}{'' if field.length == 1 else '[]'} {name}"
        for name, field in operator.arguments.items()
    ]
    results = ["Tensor[]" if each.repeats else "Tensor" for each in contract.outputs]
    result = results[0] if len(results) == 1 else f"({', '.join(results)})"
    return f"({', '.join([*tensors, *settings])}) -> {result}"


def gradients(
    definition: Callable[..., Tensor | Sequence[Tensor]],
    tensors: Sequence[Tensor | None],
    settings: Sequence[Any],
    wanted: Sequence[bool],
    outer: Sequence[Tensor],
) -> list[Tensor | None]:
    """Return the gradients of an operator's inputs, by running its definition again.

    A definition's intermediate values are larger than its inputs, so computing them again costs
    less than keeping them until the backward pass.

    Args:
        definition: differentiable function of the tensors, then the settings.
        tensors: inputs that can have gradients, None for an input that is left out.
        settings: the other inputs.
        wanted: whether each tensor's gradient is needed.
        outer: gradients of the outputs.
    """
    with torch.enable_grad():
        inner = [
            None if each is None else each.detach().requires_grad_(need)
            for each, need in zip(tensors, wanted, strict=True)
        ]
        results = definition(*inner, *settings)
    listed = [results] if isinstance(results, Tensor) else list(results)
    sources = [each for each, need in zip(inner, wanted, strict=True) if need and each is not None]
    # A level whose gradient is not wanted has no graph.
    pairs = [pair for pair in zip(listed, outer, strict=True) if pair[0].requires_grad]
    weights = [each.to(result.dtype) for result, each in pairs]
    ends = [result for result, _ in pairs]
    found = iter(torch.autograd.grad(ends, sources, weights, allow_unused=True))
    return [next(found) if need else None for need in wanted]


def _register(operator: Operator) -> Any:
    """Define the torch operator, its shapes for tracing, and its gradient."""
    contract, repeats = operator.contract, operator.contract.repeats
    count = operator.torch_arguments.tensors if operator.torch_arguments else len(contract.inputs)

    plain = not repeats and len(contract.outputs) == 1 and not contract.outputs[0].type

    def compute(*arguments: Any) -> Any:
        result = operator.definition(*arguments)
        if plain:  # small maps take as long as the general case
            return _finish(result, arguments[0], arguments[0].dtype)
        return _map_outputs(operator, result, arguments[:count], _finish)

    defined = torch.library.custom_op(
        f"{DOMAIN}::{operator.torch_name}",
        compute,
        mutates_args=(),
        schema=torch_schema(operator),
    )

    def fake(*arguments: Any) -> Any:
        shapes = _output_shapes(operator, arguments, count)
        results: Any = shapes if repeats or len(shapes) > 1 else shapes[0]
        return _map_outputs(operator, results, arguments[:count], _empty)

    defined.register_fake(fake)
    _register_gradient(operator, defined, count)
    return defined


def _register_gradient(operator: Operator, defined: Any, count: int) -> None:
    repeats = operator.contract.repeats
    own = _register_backward(operator, count) if operator.gradient is not None else None

    def keep_inputs(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        tensors = _flat(inputs[:count])
        if own is not None:  # it depends on the features' shape alone
            tensors[0] = tensors[0].new_empty(1).expand(tensors[0].shape)
        ctx.save_for_backward(*tensors)
        ctx.settings = inputs[count:]

    def definition(*arguments: Any) -> Any:
        if not repeats:
            return operator.definition(*arguments)
        single = len(arguments) - (count - 1) - len(operator.arguments)
        return operator.definition(list(arguments[:single]), *arguments[single:])

    def backward(ctx: Any, *outer: Any) -> tuple[Any, ...]:
        tensors = ctx.saved_tensors
        wanted = _flat(ctx.needs_input_grad[:count])
        outer = tuple(outer[0]) if repeats else outer
        found: list[Any]
        if own is not None:
            computed = own(list(tensors), list(outer), wanted)
            found = [each if need else None for each, need in zip(computed, wanted, strict=True)]
        else:
            found = gradients(definition, tensors, ctx.settings, wanted, outer)
        if repeats:
            levels = len(tensors) - (count - 1)
            found = [found[:levels], *found[levels:]]
        return (*found, *(None,) * len(ctx.settings))

    defined.register_autograd(backward, setup_context=keep_inputs)


def _register_backward(operator: Operator, count: int) -> Any:
    """Define an operator's own gradient as `lzu::NAME_backward`, which compilers do not look into.

    It returns a gradient for each tensor, an empty one where none is needed.
    """
    differentiate = operator.gradient
    assert differentiate is not None, "only operators with a gradient of their own have it"

    def compute(
        tensors: Sequence[Tensor], outer: Sequence[Tensor], wanted: Sequence[bool]
    ) -> list[Tensor]:
        found = differentiate(tensors, wanted, outer)
        return [
            outer[0].new_empty(0) if each is None else _finish(each, like, like.dtype)
            for each, like in zip(found, tensors, strict=True)
        ]

    def fake(
        tensors: Sequence[Tensor], outer: Sequence[Tensor], wanted: Sequence[bool]
    ) -> list[Tensor]:
        return [
            like.new_empty(like.shape if need else (0,))
            for like, need in zip(tensors, wanted, strict=True)
        ]

    made = torch.library.custom_op(
        f"{DOMAIN}::{operator.torch_name}_backward",
        compute,
        mutates_args=(),
        schema="(Tensor[] tensors, Tensor[] outer, bool[] wanted) -> Tensor[]",
    )
    made.register_fake(fake)
    return made


def _output_shapes(
    operator: Operator, arguments: Sequence[Any], count: int
) -> list[tuple[int, ...]]:
    if operator.torch_arguments:
        return [operator.torch_arguments.shape(*arguments)]
    attributes = dict(zip(operator.arguments, arguments[count:], strict=True))
    shapes = [each.shape for each in _flat(arguments[:count])]
    return output_shapes(operator.contract, shapes, attributes)


def _flat(tensors: Sequence[Any]) -> list[Any]:
    """Return the tensors with lists of levels unpacked."""
    return [
        tensor
        for each in tensors
        for tensor in (each if isinstance(each, list | tuple) else [each])
    ]


def _map_outputs(
    operator: Operator,
    results: Any,
    tensors: Sequence[Any],
    make: Callable[[Any, Tensor, torch.dtype], Tensor],
) -> Any:
    """Make each output from its result or shape, with the type that the contract defines."""
    contract = operator.contract
    features = _flat(tensors)
    if contract.repeats:
        return [make(each, like, like.dtype) for each, like in zip(results, features, strict=False)]
    like = features[0]
    types = [like.dtype if not each.type else torch.float32 for each in contract.outputs]
    if len(types) == 1:
        return make(results, like, types[0])
    return tuple(make(each, like, dtype) for each, dtype in zip(results, types, strict=True))


def _finish(result: Tensor, _like: Tensor, dtype: torch.dtype) -> Tensor:
    return result.to(dtype).contiguous()


def _empty(shape: Sequence[int], like: Tensor, dtype: torch.dtype) -> Tensor:
    return like.new_empty(shape, dtype=dtype)


def run(name: str, *arguments: Any) -> Any:
    """Run the operator of this ONNX name, whose positions may be trained.

    For its backward pass an operator has to run its definition again. In eager training on a CPU
    the definition runs in its place, whose steps autograd records; the results are the same.
    """
    eager = torch.is_grad_enabled() and not torch.compiler.is_compiling()
    if eager and all(on_cpu(each) for each in _flat(arguments[:2])):
        return OPERATORS[name].definition(*arguments)
    return REGISTERED[name](*arguments)


def translation_table() -> dict[Any, Any]:
    """Return the `custom_translation_table` with which `torch.onnx.export` emits the operators."""
    return {
        getattr(torch.ops.lzu, each.torch_name).default: _translation(each)
        for each in OPERATORS.values()
    }


def _translation(operator: Operator) -> Callable[..., Any]:
    """Make the function that emits a call; its signature separates inputs and attributes."""
    if operator.torch_arguments:
        emit = operator.torch_arguments.translate
        op = onnxscript.values.Op(_OPSET, operator.name, operator.schema())
        annotations = get_type_hints(emit)
        annotations = {
            name: annotations[name] for name in list(inspect.signature(emit).parameters)[1:]
        }
        return _signed(partial(emit, op), annotations)
    contract = operator.contract
    count = len(contract.inputs)
    sizes = {name: field.size_of for name, field in contract.fields.items() if field.size_of}
    plugin = PLUGIN if contract.has_plugin else {}

    def translate(*arguments: Any) -> Any:
        tensors = _flat(arguments[:count])
        levels = contract.levels(len(tensors))
        # The exporter counts outputs by the schema, so it needs one of exactly this many levels.
        op = onnxscript.values.Op(_OPSET, operator.name, operator.schema(levels))
        settings = zip(operator.arguments.items(), arguments[count:], strict=True)
        attributes = {
            name: value if field.length == 1 else list(value) for (name, field), value in settings
        }
        if sizes:
            known = input_symbols(contract, [each.shape for each in tensors], attributes)
            attributes |= {name: int(known[symbol]) for name, symbol in sizes.items()}
        result = op(*tensors, **attributes, **plugin)
        return [result] if contract.repeats and levels == 1 else result

    tensors = {
        f"{each.name}s" if each.repeats else each.name: Sequence[Any] if each.repeats else Any
        for each in contract.inputs
    }
    settings = {
        name: _ANNOTATIONS[field.type, field.length == 1]
        for name, field in operator.arguments.items()
    }
    return _signed(translate, {**tensors, **settings})


def _signed(function: Callable[..., Any], annotations: dict[str, Any]) -> Callable[..., Any]:
    """Wrap a function of positional arguments in a signature of these names and types."""

    def named(*arguments: Any) -> Any:
        return function(*arguments)

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [
        inspect.Parameter(name, kind, annotation=each) for name, each in annotations.items()
    ]
    named.__annotations__ = {**annotations, "return": Any}
    named.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return named


REGISTERED: dict[str, Any] = {name: _register(each) for name, each in OPERATORS.items()}
"""Torch operators by ONNX name; each is also `torch.ops.lzu.NAME`."""
