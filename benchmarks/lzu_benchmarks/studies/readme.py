"""Measure the figures of the README and docs again, and compare.

`python -m lzu_benchmarks readme` lists the sources of the figures: their commands and how long they
take. `... readme NAME [NAME ...]` measures these sources and shows each figure beside its value.
`... readme --check` measures all that take up to two minutes, and shows what no longer holds; with
names, those sources. Exit status: 3 if a figure does not hold.

Times depend on the machine and its load: measure them on a quiet one.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.text import Text

from lzu_benchmarks.commands import add_json, study_parser
from lzu_benchmarks.documents.marks import Figure, all_figures
from lzu_benchmarks.documents.sources import SOURCES, Source
from lzu_export.cli import exits
from lzu_export.errors import LzuError
from lzu_export.support.checkout import CHECKOUT
from lzu_export.support.progress import Reporter
from lzu_export.support.tables import Column, grid
from lzu_export.support.terminal import print_json, say, show

NEEDS = "a checkout; extras runtime, export, bench"

"""Folder of the checkout."""


def listed(figures: Sequence[Figure]) -> list[dict[str, Any]]:
    """Return the sources with the number of their figures, as plain data."""
    return [
        {
            "name": name,
            "figures": sum(each.source == name for each in figures),
            "minutes": 0.0 if source.read else round(source.seconds / 60, 1),
            "command": source.command,
        }
        for name, source in SOURCES.items()
    ]


def measured(
    figures: Sequence[Figure], names: Sequence[str], root: Path, report: Reporter
) -> list[dict[str, Any]]:
    """Measure sources, and return their figures beside the values, as plain data.

    Raises:
        LzuError: a source fails, or lacks a value that a mark names.
    """
    found = []
    for name in names:
        mine = [each for each in figures if each.source == name]
        with report.working(f"measuring {len(mine)} figures of {name}"):
            result = SOURCES[name].measure(root)
        for each in mine:
            if each.optional and not each.is_in(result):
                continue
            value = each.value(result)
            found.append(
                {
                    "source": name,
                    "page": each.page,
                    "figure": each.text,
                    "place": each.place,
                    "value": value,
                    "allowed": each.allowed,
                    "holds": each.holds(value),
                }
            )
    return found


def chosen(names: Sequence[str]) -> list[str]:
    """Return the named sources, or all that are not long.

    Raises:
        LzuError: there is no source of a name.
    """
    for name in names:
        if name not in SOURCES:
            raise LzuError(f"there is no source {name}; give one of {', '.join(SOURCES)}")
    return list(names) or [name for name, each in SOURCES.items() if not each.long]


def _show(rows: Sequence[dict[str, Any]], left_out: Sequence[str], *, failing: bool) -> None:
    """Print figures beside their values, or with `failing` only those that do not hold."""
    for row in rows:
        if failing and row["holds"]:
            continue
        place = f"{row['page']}: {row['figure']}"
        verdict = "holds" if row["holds"] else "does not hold"
        say(f"{place} {verdict}: {row['value']:.6g} at {row['place']} of {row['source']}")
    say(f"{sum(row['holds'] for row in rows)} of {len(rows)} figures hold")
    if left_out:
        say(f"not measured, since they take long: {', '.join(left_out)}; name them to check them")


def _long(source: Source) -> str:
    return "at once" if source.read else f"{source.seconds / 60:.1f} min"


@exits.ending()
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = study_parser(__file__, __doc__)
    parser.add_argument("sources", nargs="*", metavar="NAME", help="sources to measure")
    parser.add_argument("--check", action="store_true", help="show what no longer holds")
    add_json(parser)
    given = parser.parse_args(arguments)
    figures = all_figures(CHECKOUT)
    if not given.sources and not given.check:
        if given.json:
            print_json(listed(figures))
            return
        columns = [Column("source"), Column("figures"), Column("takes"), Column("", left=True)]
        lines = [
            [row["name"], str(row["figures"]), _long(SOURCES[row["name"]]), ""]
            for row in listed(figures)
        ]
        show(grid(columns, [list(map(Text, line)) for line in lines]))
        say("", *(f"{name}: {each.command}" for name, each in SOURCES.items()))
        return
    names = [n for n in chosen(given.sources) if any(each.source == n for each in figures)]
    left_out = [] if given.sources else [n for n, each in SOURCES.items() if each.long]
    rows = measured(figures, names, CHECKOUT, Reporter())
    if given.json:
        print_json(rows)
    else:
        _show(rows, left_out, failing=given.check)
    if not all(row["holds"] for row in rows):
        sys.exit(exits.REGRESSION)


if __name__ == "__main__":
    main()
