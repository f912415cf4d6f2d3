"""Lay out text tables in 80 columns that break no name, and colour statuses by their meaning."""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from rich.cells import cell_len
from rich.text import Text

from lzu_export.support.escaping import visible

WIDTH = 80
GAP = " "
INDENT = "  "
LEAST_PROSE = 24
"""Smallest width in characters that is reserved for wrapped sentences."""

Cell = str | Text

COLOURS = {
    "passed": "green",
    "verified": "green",
    "yes": "green",
    "graph ok": "yellow",
    "graph passed": "yellow",
    "not run": "yellow",
    "skipped": "yellow",
    "no": "yellow",
    "failed": "red",
    "error": "red",
}
"""Colour by status: green for success, yellow if something could not be checked, red for
failure."""


@dataclass(frozen=True)
class Column:
    """A column of a table."""

    heading: str
    group: str = ""
    """Common heading above neighbouring columns with the same group."""
    left: bool = False
    """Whether cells are left-aligned, as for words, instead of right-aligned, as for numbers."""


def coloured(status: str) -> Text:
    """Return a status in its colour."""
    return Text(visible(status), COLOURS.get(status, ""))


def wrapped(text: str, indent: str = "", hanging: str = INDENT) -> list[str]:
    """Wrap a sentence into lines of at most `WIDTH` characters, only between words.

    Args:
        text: sentence to wrap.
        indent: text before the first line.
        hanging: text before the other lines, after `indent`.
    """
    return textwrap.wrap(
        visible(text),
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent + hanging,
        break_long_words=False,
        break_on_hyphens=False,
    )


def notes(sentences: Sequence[str], style: str = "italic") -> Text:
    """Wrap sentences below each other; leading blanks of a sentence indent it."""
    lines = []
    for each in sentences:
        bare = each.lstrip(" ")
        lines += wrapped(bare, " " * (len(each) - len(bare)))
    return Text("\n".join(lines), style)


def pairs(rows: Sequence[tuple[str, str]]) -> Text:
    """Lay out names with their meanings, which are wrapped."""
    return grid([Column("", left=True)], [[name, value] for name, value in rows], prose=True)


def grid(columns: Sequence[Column], rows: Sequence[Sequence[Cell]], *, prose: bool = False) -> Text:
    """Lay out rows below their headings, at most `WIDTH` wide; no cell is cut.

    A first cell that leaves no room for the others gets a line of its own, above them.

    Args:
        columns: columns of all cells except a final sentence.
        rows: one cell per column; missing cells are empty. A row without cells is an empty line.
        prose: whether every row ends in a sentence after its cells, which is wrapped.
    """
    count = len(columns)
    cells = [[_text(cell) for cell in row] for row in rows]
    widths = [cell_len(column.heading) for column in columns]
    for row in cells:
        for i, cell in enumerate(row[1:count], start=1):
            widths[i] = max(widths[i], cell.cell_len)
    _widen(columns, widths)
    room = WIDTH - sum(widths[1:]) - len(GAP) * (count - 1) - (LEAST_PROSE if prose else 0)
    firsts = [row[0].cell_len for row in cells if row]
    widths[0] = max([widths[0], *(each for each in firsts if each <= room)])
    lines = [*_headings(columns, widths)]
    for row in cells:
        lines += _lines(columns, widths, row, count if prose else None)
    return Text("\n").join(lines)


def fitting(columns: Sequence[Column], first: int, least: int) -> Iterator[Sequence[Column]]:
    """Split columns into parts that each fit into `WIDTH`; no part is empty.

    Args:
        columns: all columns but the first.
        first: width of the first column in characters.
        least: smallest width of a column in characters.
    """
    part: list[Column] = []
    for column in columns:
        widths = [max(least, cell_len(each.heading)) for each in (*part, column)]
        _widen([*part, column], widths)
        if part and first + sum(widths) + len(GAP) * len(widths) > WIDTH:
            yield part
            part = []
        part.append(column)
    if part:
        yield part


def _text(cell: Cell) -> Text:
    return cell if isinstance(cell, Text) else Text(visible(cell))


def _widen(columns: Sequence[Column], widths: list[int]) -> None:
    """Widen the last column of each group until the group's heading fits."""
    for group, members in _groups(columns):
        whole = sum(widths[i] for i in members) + len(GAP) * (len(members) - 1)
        widths[members[-1]] += max(0, cell_len(group) - whole)


def _groups(columns: Sequence[Column]) -> list[tuple[str, list[int]]]:
    found = groupby(range(len(columns)), key=lambda i: columns[i].group)
    return [(group, list(members)) for group, members in found]


def _headings(columns: Sequence[Column], widths: Sequence[int]) -> list[Text]:
    lines = []
    if any(column.group for column in columns):
        parts = []
        for group, members in _groups(columns):
            whole = sum(widths[i] for i in members) + len(GAP) * (len(members) - 1)
            parts.append(group.rjust(whole) if len(members) == 1 else group.ljust(whole))
        lines.append(Text(GAP.join(parts).rstrip(), "bold"))
    if any(column.heading for column in columns):
        headings = [Text(column.heading) for column in columns]
        line = _line(columns, widths, headings)
        line.stylize("bold")
        lines.append(line)
    return lines


def _lines(
    columns: Sequence[Column], widths: Sequence[int], row: Sequence[Text], prose: int | None
) -> list[Text]:
    if not row:
        return [Text("")]
    lines = []
    if row[0].cell_len > widths[0]:
        lines.append(row[0])
        row = [Text(""), *row[1:]]
        if not any(row):
            return lines
    line = _line(columns, widths, row[: len(columns)])
    if prose is None or len(row) <= prose:
        return [*lines, line]
    start = sum(widths) + len(GAP) * len(widths)
    sentence = row[prose]
    if sentence.cell_len <= WIDTH - start:
        return [*lines, _padded(line, start).append_text(sentence)]
    if WIDTH - start < LEAST_PROSE:  # the cells leave no room: the sentence begins below them
        lines, line, start = [*lines, line], Text(""), len(GAP)
    parts = textwrap.wrap(
        sentence.plain, WIDTH - start, break_long_words=False, break_on_hyphens=False
    )
    for i, part in enumerate(parts):
        head = _padded(line if i == 0 else Text(""), start)
        lines.append(head.append(part, sentence.style or None))
    return lines


def _line(columns: Sequence[Column], widths: Sequence[int], row: Sequence[Text]) -> Text:
    line = Text("")
    for i, cell in enumerate(row):
        blank = " " * (widths[i] - cell.cell_len)
        left = i == 0 or columns[i].left
        line.append(GAP if i else "")
        line.append_text(cell) if left else line.append(blank).append_text(cell)
        line.append(blank if left else "")
    line.rstrip()
    return line


def _padded(line: Text, width: int) -> Text:
    return line.append(" " * (width - line.cell_len))
