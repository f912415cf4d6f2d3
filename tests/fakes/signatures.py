"""Read names and parameters of a vendor's module from the module itself, as plain tables.

`describe` makes the tables next to this file; see the README there.
"""

import inspect
import re
from collections.abc import Iterable
from types import ModuleType
from typing import Any


def describe(module: ModuleType, names: Iterable[str]) -> dict[str, Any]:
    """Return a table of the given names that a compiled module has.

    An enumeration becomes a list of its members, a constant a number, and a function the list of
    its overloads' parameters. A class becomes a table of such lists for its methods, and of
    `property` or `read-only` for its attributes.
    """
    return {name: _described(getattr(module, name)) for name in names if hasattr(module, name)}


def _described(value: Any) -> Any:
    if isinstance(value, int):
        return value
    return _class(value) if inspect.isclass(value) else _parameters(value)


def _class(value: type) -> Any:
    if hasattr(value, "__members__"):
        return list(value.__members__)
    members = {}
    for name, member in vars(value).items():
        if isinstance(member, property):
            members[name] = "property" if member.fset else "read-only"
        elif callable(member) and (name == "__init__" or not name.startswith("_")):
            if isinstance(member, type):
                continue
            members[name] = _parameters(member)
        elif inspect.isgetsetdescriptor(member) and not name.startswith("_"):
            members[name] = "property"
    return dict(sorted(members.items()))


def _parameters(function: Any) -> list[str]:
    """Return the parameter names of each overload, separated by commas.

    A name is followed by `=` if the parameter has a default. The names come from the signatures
    that pybind11 and Cython write into docstrings: `name(self: X, flags: int = 0) -> Y`.
    """
    lines = [line.strip() for line in (function.__doc__ or "").strip().splitlines()]
    if "Overloaded function." in lines[:3]:
        lines = [line for line in lines if re.match(r"\d+\. ", line)]
    else:
        lines = lines[:1]
    found = [re.match(r"(?:\d+\. )?\w+\((.*)\)(?: -> .*)?$", line) for line in lines]
    texts = [match[1] for match in found if match]
    return [
        ", ".join(_name(each) for each in _split(text) if not each.startswith("self"))
        for text in texts
    ]


def _name(parameter: str) -> str:
    declared, equals, _ = parameter.partition("=")
    name = declared.partition(":")[0].split()[-1]
    return f"{name}=" if equals else name


def _split(text: str) -> list[str]:
    parts, depth = [""], 0
    for letter in text:
        depth += {"(": 1, "[": 1, "<": 1, ")": -1, "]": -1, ">": -1}.get(letter, 0)
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts if part.strip()]
