"""List and run the studies behind the documents' figures.

`python -m lzu_benchmarks` lists the studies. `python -m lzu_benchmarks misregistration --help`
shows the options of one study.
"""

import argparse
import ast
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from lzu_benchmarks.commands import add_json, print_result
from lzu_benchmarks.documents.sources import SOURCES
from lzu_export.cli import exits
from lzu_export.errors import LzuError

STUDIES = Path(__file__).with_name("studies")


def studies() -> dict[str, dict[str, Any]]:
    """Describe each study by its name, without importing any.

    Returns:
        `does`, the first line of its docstring; `needs`, its constant `NEEDS`; `minutes` on 2 quiet
        cores, None where no page's figures come from it.
    """
    found = {}
    for path in sorted(STUDIES.glob("[!_]*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        (needs,) = (
            ast.literal_eval(each.value)
            for each in tree.body
            if isinstance(each, ast.Assign) and ast.unparse(each.targets[0]) == "NEEDS"
        )
        does = (ast.get_docstring(tree) or "").partition("\n")[0]
        found[path.stem] = {"does": does, "needs": needs, "minutes": _minutes(path.stem)}
    return found


def _minutes(name: str) -> float | None:
    """Return how long the first source of the pages takes that this study is."""
    taken = (each.seconds for each in SOURCES.values() if name in each.command.split()[3:4])
    return next((seconds / 60 for seconds in taken), None)


def _lines(known: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield the list's lines: what each study does, and what it needs."""
    widest = max(map(len, known))
    for name, each in known.items():
        minutes = each["minutes"]
        takes = "" if minutes is None else f"; {max(1, round(minutes))} min"
        yield f"{name:{widest}}  {each['does']}"
        yield f"{'':{widest}}    needs {each['needs']}{takes}"


@exits.ending()
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    known = studies()
    if words and not words[0].startswith("-"):
        name, *rest = words
        if name not in known:
            raise LzuError(f"there is no study {name}; give one of {', '.join(known)}")
        import_module(f"lzu_benchmarks.studies.{name}").main(rest)
        return
    parser = argparse.ArgumentParser(
        prog="python -m lzu_benchmarks",
        usage="%(prog)s [STUDY [OPTIONS]] [-h] [--json]",
        description="List the studies, or run one.",
    )
    add_json(parser)
    print_result(parser.parse_args(words).json, known, *_lines(known))


if __name__ == "__main__":
    main()
