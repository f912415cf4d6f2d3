"""Options that belong together: a dataclass whose fields are options of a command."""

from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from functools import wraps
from inspect import Parameter, Signature, signature
from typing import Any, get_type_hints


def with_groups(command: Callable[..., None]) -> Callable[..., None]:
    """Replace each dataclass among a command's parameters by options, one for each field.

    Args:
        command: function of arguments, options and dataclasses. The fields are annotated and have
            defaults as options do.

    Returns:
        Function for Typer. It calls the command with the dataclasses made of the options' values.
    """
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {name: hint for name, hint in hints.items() if is_dataclass(hint)}
    options: list[Parameter] = []
    for each in signature(command).parameters.values():
        group = groups.get(each.name)
        options += [each] if group is None else _options_of(group)

    @wraps(command)
    def run(**given: Any) -> None:
        for name, group in groups.items():
            given[name] = group(**{field.name: given.pop(field.name) for field in fields(group)})
        command(**given)

    plain = [each.replace(kind=Parameter.KEYWORD_ONLY) for each in options]
    run.__signature__ = Signature(plain)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in plain}
    return run


def _options_of(group: Any) -> list[Parameter]:
    """Return a parameter for each field of a dataclass, in their order."""
    hints = get_type_hints(group, include_extras=True)
    return [
        Parameter(
            field.name,
            Parameter.KEYWORD_ONLY,
            default=Parameter.empty if field.default is MISSING else field.default,
            annotation=hints[field.name],
        )
        for field in fields(group)
    ]
