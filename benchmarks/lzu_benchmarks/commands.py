"""Helpers of this package's commands: `--json`, and the refusal of renamed options."""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from lzu_export.errors import LzuError
from lzu_export.support.terminal import Terminal, print_json, say


def add_json(parser: argparse._ActionsContainer) -> None:
    """Give a command the option `--json`."""
    parser.add_argument("--json", action="store_true", help="print the result as JSON on stdout")


def print_result(as_json: bool, result: Mapping[str, Any], *shown: Any) -> None:
    """Print a result on stdout: as JSON, or what stands for it in text and tables."""
    if as_json:
        print_json(result)
        return
    console = Terminal()
    for each in shown:
        if isinstance(each, str):
            say(*each.splitlines())
        else:
            console.print(each)


class Renamed(argparse.Action):
    """An option that has another name now; `const` is that name."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> NoReturn:
        """Refuse it.

        Raises:
            LzuError: always, with the new name.
        """
        raise LzuError(f"{option_string} is called {self.const} now; give {self.const} {values}")
