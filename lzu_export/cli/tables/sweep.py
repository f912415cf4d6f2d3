"""Output of `sweep`: a row per point in the order of the ranking, and notes."""

from collections.abc import Sequence

from rich.console import Group
from rich.text import Text

from lzu_export.support.escaping import visible
from lzu_export.support.tables import Cell, Column, coloured, grid, notes
from lzu_export.sweep.charts import short
from lzu_export.sweep.page import gain_interval, ratio_interval, verdict
from lzu_export.sweep.results import FILE, Result, Row
from lzu_export.sweep.schema import told

MOST = 40
"""Largest number of points in the table: those that come first in the ranking."""
LISTED = 10
"""Largest number of doubts, and of reasons for failing, that are written out."""


def sweep_table(result: Result) -> Group:
    """Return the table of a sweep's points, its notes and its verdict."""
    shown = result.rows[:MOST]
    scored = any(row.metric is not None for row in shown)
    timed = any(row.ratio is not None for row in shown)
    columns = [Column("point")]
    columns += [Column(result.metric or "metric"), Column("gain")] if scored else []
    columns += [Column("time"), Column("[95 %]", left=True)] if timed else []
    columns += [Column("status", left=True)]
    base = [result.baseline] if result.baseline else []
    rows = [_row(row, result, scored, timed) for row in (*shown, *base)]
    below = ((_notes(result, timed), "italic"), (verdict(result), "bold"))
    return Group(
        Text(visible(f"Sweep {result.name}, {result.recipe}"), "italic"),
        grid(columns, rows),
        *(notes(sentences, style) for sentences, style in below if sentences),
    )


def _row(row: Row, result: Result, scored: bool, timed: bool) -> list[Cell]:
    keys = list(result.keys)
    settings = ", ".join(f"{short(key, keys)} {told(v)}" for key, v in row.settings.items())
    name = row.name if row is result.baseline else settings or row.name
    mark = "*" if row.front else ""
    cells: list[Cell] = [Text(visible(f"{name}{mark}"), "bold" if row.rank == 1 else "")]
    if scored:
        gain = row.gain.difference if row.gain and row is not result.baseline else None
        cells += [_number(row.metric, ".2f"), _number(gain, "+.2f")]
    if timed:
        ratio = row.ratio.value if row.ratio else None
        cells += [_number(ratio, ".3f"), ratio_interval(row).strip()]
    return [*cells, coloured(row.status)]


def _notes(result: Result, timed: bool) -> list[str]:
    told_ = []
    if len(result.rows) > MOST:
        told_.append(f"the first {MOST} of {len(result.rows)} points; all are in {FILE}")
    if result.metric is not None:
        told_.append(f"{result.metric}: points on {result.frames} frames of {result.dataset}")
    best = result.best
    if best is not None and (interval := gain_interval(best)):
        told_.append(f"gain: over the baseline; of the first{interval} over the choice of frames")
    if timed:
        told_.append("time: divided by the baseline's, in turns with it, [95 % interval]")
    if any(row.front for row in result.rows):
        told_.append("*: on the Pareto front: no other point is both more accurate and faster")
    doubts = [(row.name, row.doubt) for row in result.rows if row.doubt]
    told_ += _few("doubtful", [f"{name}: {doubt}" for name, doubt in doubts])
    told_ += result.notes
    return told_ + _few("failed", _reasons(result.failed))


def _reasons(failed: Sequence[Row]) -> list[str]:
    """Return why points failed; a reason that several share once, with the first of them."""
    names: dict[str, list[str]] = {}
    for row in failed:
        names.setdefault(row.sentence, []).append(row.name)
    return [
        f"{same[0]}{f' and {len(same) - 1} more' if len(same) > 1 else ''}: {sentence}"
        for sentence, same in names.items()
    ]


def _few(kind: str, texts: Sequence[str]) -> list[str]:
    """Return notes of one kind, the first ones alone where they are many."""
    shown = [f"{kind}: {each}" for each in texts[:LISTED]]
    rest = len(texts) - LISTED
    return [*shown, f"{kind}: {rest} more; all are in {FILE}"] if rest > 0 else shown


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
