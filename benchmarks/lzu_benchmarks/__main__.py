"""List and run the studies behind the documents' figures.

`python -m lzu_benchmarks` lists the studies. `python -m lzu_benchmarks misregistration --help`
shows the options of one study.
"""

import argparse
import ast
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from lzu_benchmarks.commands import add_json, print_result
from lzu_export.cli import exits
from lzu_export.errors import LzuError

STUDIES = Path(__file__).with_name("studies")


def studies() -> dict[str, str]:
    """Return the first docstring line of each study by the study's name, without importing any."""
    found = {}
    for path in sorted(STUDIES.glob("[!_]*.py")):
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        found[path.stem] = text.partition("\n")[0]
    return found


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
    widest = max(map(len, known))
    lines = (f"{name:{widest}}  {line}" for name, line in known.items())
    print_result(parser.parse_args(words).json, known, *lines)


if __name__ == "__main__":
    main()
