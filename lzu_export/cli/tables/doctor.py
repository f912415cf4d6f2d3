"""Output of `doctor`: findings about a machine, its abilities, and commands for what is missing."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Group
from rich.text import Text

from lzu_export.support.escaping import visible
from lzu_export.support.tables import Cell, Column, coloured, grid

if TYPE_CHECKING:
    from lzu_export.doctor import Examination


def doctor_tables(examination: "Examination") -> Group:
    """Return the tables of the findings about a machine and of its abilities."""
    rows: list[Sequence[Cell]] = []
    for each in examination.findings:
        looked = f"; looked in {', '.join(each.looked)}" if each.looked and not each.found else ""
        rows.append([each.name, coloured("yes" if each.found else "no"), each.detail + looked])
        rows += [["", "", Text(visible(f"known: {note}"), "yellow")] for note in each.notes]
    there = grid([Column(""), Column("", left=True)], rows, prose=True)
    able: list[Sequence[Cell]] = []
    for ability in examination.abilities:
        cells = [coloured("no" if names else "yes") for names in (ability.build, ability.run)]
        lacks = ", ".join(dict.fromkeys((*ability.build, *ability.run)))
        able.append([ability.target, *cells, f"needs {lacks}" if lacks else ""])
    headings = [Column("It can"), Column("build", left=True), Column("run", left=True)]
    title = Text("This machine", "italic")
    return Group(title, there, Text(""), grid(headings, able, prose=True))


def doctor_commands(examination: "Examination") -> list[str]:
    """Return the commands that install missing things as shell lines, not to be wrapped.

    A command that installs several things is given once, with the first one's remark.
    """
    names: dict[str, list[str]] = {}
    lines: dict[str, str] = {}
    for each in examination.findings:
        if each.install:
            command = each.install.partition("  #")[0]
            names.setdefault(command, []).append(each.name)
            lines.setdefault(command, each.install)
    return [
        line for command in names for line in (f"# {', '.join(names[command])}", lines[command])
    ]
