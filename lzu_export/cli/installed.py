"""Commands that installed packages announce, such as the benchmark harness's `bench`."""

from collections.abc import Callable, Sequence
from importlib.metadata import EntryPoint
from typing import Any

import typer

from lzu_export.errors import LzuError
from lzu_export.support.entry_points import entry_points
from lzu_export.support.extras import needs

GROUP = "lzu_export.commands"
"""Group of entry points. An object of it is a function of the command's arguments."""
ALL_ARGUMENTS: dict[str, Any] = {
    "context_settings": {"allow_extra_args": True, "ignore_unknown_options": True},
    "add_help_option": False,
}
"""Settings of a command that passes all arguments on, `--help` too."""


def installed_commands() -> dict[str, EntryPoint]:
    """Return the announced commands by name, without importing them."""
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def find_command(name: str) -> Callable[[Sequence[str]], None]:
    """Return an announced command.

    Raises:
        LzuError: the package that announces it, or one that it needs, is not installed.
    """
    found = installed_commands()
    if name not in found:
        raise LzuError(
            f"{name} needs the benchmark harness; pip install -e '.[bench]' in a source checkout"
        )
    try:
        command: Callable[[Sequence[str]], None] = found[name].load()
    except ImportError as error:
        raise LzuError(needs(name, error.name, name)) from error
    return command


def passed_on(name: str, entry: EntryPoint) -> Any:
    """Make the entry of the command line for an announced command."""
    package = entry.dist.name if entry.dist is not None else entry.value

    def run(context: typer.Context) -> None:
        find_command(name)(context.args)

    made = typer.Typer(add_completion=False)
    made.command(name, help=f"Command of the installed package {package}.", **ALL_ARGUMENTS)(run)
    return typer.main.get_command(made)
