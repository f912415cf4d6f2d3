"""Take tensors out of nested outputs of modules, and rebuild the outputs around others."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

from torch import Tensor


def map_tensors(function: Callable[[Tensor], Tensor], value: Any) -> Any:
    """Return a copy of a nested value with a function applied to each of its tensors.

    Tuples, named tuples, lists, mappings (the outputs of transformers among them) and data classes
    keep their types; anything else is returned unchanged.
    """
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, Mapping):
        return _like(value, {key: map_tensors(function, each) for key, each in value.items()})
    if isinstance(value, tuple | list):
        made = [map_tensors(function, each) for each in value]
        return type(value)(*made) if hasattr(value, "_fields") else type(value)(made)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(
            value,
            **{
                each.name: map_tensors(function, getattr(value, each.name))
                for each in fields(value)
                if each.init
            },
        )
    return value


def named_tensors(value: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of a nested value with names made of keys, fields and positions.

    The parts of a name are joined by `_`; a single tensor has the name that is given.
    """
    if isinstance(value, Tensor):
        yield name, value
        return
    if isinstance(value, Mapping):
        parts = [(str(key), each) for key, each in value.items()]
    elif hasattr(value, "_fields"):
        parts = list(zip(value._fields, value, strict=True))
    elif isinstance(value, tuple | list):
        parts = [(str(place), each) for place, each in enumerate(value)]
    elif is_dataclass(value) and not isinstance(value, type):
        parts = [(each.name, getattr(value, each.name)) for each in fields(value)]
    else:
        return
    for part, each in parts:
        yield from named_tensors(each, f"{name}_{part}" if name else part)


def _like(value: Mapping[Any, Any], content: dict[Any, Any]) -> Any:
    """Return a mapping of the type of `value`; types that take keywords only are called so."""
    if type(value) is dict:
        return content
    try:
        return type(value)(content)  # type: ignore[call-arg]
    except TypeError:
        return type(value)(**content)
