"""Output of `fleet`: the boards with their reasons, and the figures of each engine."""

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.text import Text

from lzu_export.cli.tables.engines import STATUS
from lzu_export.fleet.rows import (
    NOTHING,
    Figures,
    Fleet,
    Row,
    doubts_of,
    figures_of,
    number,
    ratio_sentences,
)
from lzu_export.support.escaping import visible
from lzu_export.support.tables import Cell, Column, coloured, grid, notes

COLOURS = {"done": "green", "deviates": "red", "failed": "red", "lost": "red", "absent": "yellow"}
"""Colour of each status of a row."""


def fleet_tables(fleet: Fleet) -> RenderableType:
    """Return the table of boards, that of engines where there are any, and notes below."""
    boards = [Column("board"), Column("status", left=True)]
    rows: list[list[Cell]] = [
        [visible(row.board), _status(row), told(row, fleet.request.target)] for row in fleet.rows
    ]
    shown: list[RenderableType] = [grid(boards, rows, prose=True)]
    engines = list(_engine_rows(fleet))
    if engines:
        columns = [Column("engine"), *map(Column, ("build s", "MB", "ms", "engine ms", "ratio"))]
        columns += [Column("95 %", left=True), Column("PyTorch", left=True)]
        shown += [
            Text(""),
            grid(columns, engines),
            notes([*ratio_sentences(fleet), *remarks(fleet)]),
        ]
    return Group(*shown)


def told(row: Row, target: str) -> str:
    """Return a row's sentence, or what the board is."""
    if row.sentence:
        return row.sentence
    version = row.look.version if row.look is not None else None
    kept = ", stored before" if row.stored else ""
    return f"{row.about}, {target} {version}, {row.seconds:.0f} s{kept}"


def remarks(fleet: Fleet) -> list[str]:
    """Return the notes on the figures, and the reasons to doubt some."""
    first = fleet.request.bundles[0].name
    said = ["ms: median from camera to predictions; all engines of a board were timed interleaved."]
    if len(fleet.request.bundles) > 1:
        said.append(f"ratio: over {first} on the same board.")
    for row in fleet.rows:
        if row.work is not None and (doubts := doubts_of(row.work)):
            said.append(f"{row.board} is doubtful: {'; '.join(doubts)}.")
    return said


def _status(row: Row) -> Text:
    return Text(row.status, COLOURS[row.status])


def _engine_rows(fleet: Fleet) -> Iterator[list[Cell]]:
    for row in fleet.rows:
        figures = list(figures_of(row, fleet.request))
        if figures:
            yield [visible(row.board)]
        for each in figures:
            yield _engine_row(each)


def _engine_row(each: Figures) -> list[Cell]:
    built = each.engine
    return [
        f"  {visible(each.bundle)} {each.precision}",
        number(built.build_seconds if built else None, 0),
        number(built.bytes / 1e6 if built else None, 1),
        number(each.whole, 2),
        number(each.alone, 2),
        *each.ratio_texts,
        coloured(STATUS.get(each.verified, each.verified or NOTHING)),
    ]
