"""Helpers of this package's commands: `--json`, and the refusal of renamed options."""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from lzu_export.errors import LzuError
from lzu_export.support.console import Terminal
from lzu_export.support.terminal import print_json, say


def study_parser(file: str, doc: str | None) -> argparse.ArgumentParser:
    """Make the option parser of a study, which `python -m lzu_benchmarks` runs by its name.

    Args:
        file: the study's `__file__`.
        doc: the study's `__doc__`.
    """
    return argparse.ArgumentParser(
        prog=f"python -m lzu_benchmarks {Path(file).stem}",
        description=doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_json(parser: argparse._ActionsContainer) -> None:
    """Give a command the option `--json`."""
    parser.add_argument("--json", action="store_true", help="print the result as JSON on stdout")


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write plain data as JSON."""
    path.write_text(json.dumps(data, indent=1))


def print_result(as_json: bool, result: Mapping[str, Any], *shown: Any) -> None:
    """Print a result on stdout: as JSON, or as the texts and tables given in `shown`."""
    if as_json:
        print_json(result)
        return
    console = Terminal()
    for each in shown:
        if isinstance(each, str):
            say(*each.splitlines())
        else:
            console.print(each)


def finish_study(
    given: argparse.Namespace,
    name: str,
    result: Mapping[str, Any],
    show: Callable[[Any, Terminal], None],
) -> None:
    """Write a study's result to OUT/NAME.json, and print it: as JSON, or by `show`."""
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n")
    print_result(given.json, result)
    if not given.json:
        show(result, Terminal())


class Renamed(argparse.Action):
    """The former name of an option; `const` is the new name."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> NoReturn:
        """Reject the former name.

        Raises:
            LzuError: always, with the new name.
        """
        raise LzuError(f"{option_string} is called {self.const} now; give {self.const} {values}")
