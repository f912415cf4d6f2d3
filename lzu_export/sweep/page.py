"""The page of a sweep: the best recipe to copy, the trade-off, each key's effect, all points."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from lzu_export.errors import readable_os_errors
from lzu_export.support.files import write_text
from lzu_export.support.look.page import (
    Section,
    both,
    document,
    facts,
    folded,
    lines,
    links,
    note,
    table,
    text,
)
from lzu_export.support.version import VERSION
from lzu_export.sweep.charts import effects, short, trade_off
from lzu_export.sweep.points import Point
from lzu_export.sweep.results import FILE, PAGE, TABLE, Result, Row
from lzu_export.sweep.schema import told

MOST = 3000
"""Largest number of points in the table: those that come first in the ranking."""
COPIES = 12
"""Largest number of points of the front whose commands can be copied."""


def sweep_page(
    result: Result,
    points: Mapping[str, Point],
    commands: Mapping[str, Sequence[str]],
    formats: Sequence[str] = (),
) -> str:
    """Return the page of a sweep.

    Args:
        result: the results.
        points: the points by name.
        commands: the words after `lzu-export` that export each point, by name.
        formats: formats of the results besides JSON.
    """
    sections = []
    if (best := result.best) is not None:
        sections.append(Section("Best recipe", _copies(result, best, points, commands)))
    if drawn := trade_off(result):
        caption = (
            "Up is more accurate, left is faster. A point of the front is beaten by no other point "
            "in both. Bars: 95 % intervals of the time."
        )
        sections.append(Section("Accuracy over time", _drawn(drawn, caption)))
    if drawn := effects(result):
        caption = "A dot is a point; the line joins the best point of each value."
        if result.baseline is not None:
            caption += " Dashed: the baseline."
        sections.append(Section("Each key", _drawn(drawn, caption)))
    sections.append(Section("All points", _all(result)))
    if result.failed:
        sections.append(Section("Failed", _failed(result.failed)))
    sections.append(Section("Where it comes from", _origin(result, formats)))
    return document(
        result.name,
        kind="LZU sweep",
        meta=f"{len(result.rows)} points of {result.recipe}, {result.created}",
        lead=verdict(result),
        sections=sections,
    )


def verdict(result: Result) -> list[str]:
    """Return what the sweep found, in sentences."""
    said = []
    best = result.best
    if best is not None and result.rank is not None:
        first = {"accuracy": "The most accurate point is", "time": "The fastest point is"}.get(
            result.rank.by, "The most accurate point of the Pareto front is"
        )
        if result.rank.direction == "lowest":
            first = f"The point of the lowest {result.metric} is"
        said.append(f"{first} {best.name}: {figures(best, result)}.")
    failed = sum(row.status == "failed" for row in result.rows)
    if failed:
        said.append(f"{failed} of {len(result.rows)} points failed; each has its reason.")
    if result.baseline is not None and result.baseline.status == "failed":
        said.append("The baseline failed, so that nothing is compared with it.")
    return said


def figures(row: Row, result: Result) -> str:
    """Return a row's figures in words."""
    found = []
    if row.metric is not None:
        found.append(f"{result.metric} {row.metric:.2f}")
    if row.gain is not None and row is not result.baseline:
        found.append(f"{row.gain.difference:+.2f}{gain_interval(row)} over the baseline")
    if row.ratio is not None:
        found.append(f"{row.ratio.value:.3f} times the baseline's time{ratio_interval(row)}")
    return ", ".join(found) or "exported"


def gain_interval(row: Row) -> str:
    """Return the interval of a row's gain in brackets; empty without one."""
    gain = row.gain
    if gain is None or gain.low is None or gain.high is None:
        return ""
    return f" [{gain.low:+.2f}, {gain.high:+.2f}]"


def ratio_interval(row: Row) -> str:
    """Return the interval of a row's ratio in brackets; empty without one."""
    return f" [{row.ratio.low:.3f}, {row.ratio.high:.3f}]" if row.ratio else ""


def recipe_text(point: Point) -> str:
    """Return a point's whole recipe as YAML, without the keys that have their defaults."""
    data = point.recipe.model_dump(mode="json", exclude_unset=True)
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, default_flow_style=None)


def _copies(
    result: Result,
    best: Row,
    points: Mapping[str, Point],
    commands: Mapping[str, Sequence[str]],
) -> str:
    def shell(row: Row) -> str:
        return shlex.join(["lzu-export", *commands[row.name]])

    body = lines(shell(best), "Command of the best point")
    body += folded(
        "The whole recipe as a file", lines(recipe_text(points[best.name]), "Best recipe")
    )
    others = [row for row in result.rows if row.front and row.name != best.name][:COPIES]
    if result.rank is not None and result.rank.by == "pareto" and others:
        shown = "".join(
            f"<h3>{text(row.name)}</h3>{note(figures(row, result) + '.')}"
            + lines(shell(row), f"Command of {row.name}")
            for row in others
        )
        body += folded("The other points of the Pareto front", shown)
    return body


def _drawn(figures: Mapping[str, str], caption: str) -> str:
    return f"<figure>{both(figures)}<figcaption>{text(caption)}</figcaption></figure>"


def _all(result: Result) -> str:
    """Return the table of points; a column for each key and figure that the sweep has."""
    rows = result.rows[:MOST]
    keys = dict.fromkeys(key for row in rows for key in row.settings)
    scored = any(row.metric is not None for row in rows)
    over = any(row.gain is not None for row in rows)
    timed = any(row.ratio is not None for row in rows)
    columns = ["rank", *(short(key, list(keys)) for key in keys)]
    columns += [result.metric or "metric"] if scored else []
    columns += ["gain", "95 %"] if over else []
    columns += ["time", "95 %", "ms"] if timed else []
    columns += ["MB", "s", "status"]
    cells = []
    for row in rows:
        each: list[object] = [row.rank or "-"]
        each += [told(row.settings[key]) if key in row.settings else "-" for key in keys]
        each += [_number(row.metric, ".2f")] if scored else []
        if over:
            gain = row.gain.difference if row.gain else None
            each += [_number(gain, "+.2f"), gain_interval(row).strip()]
        if timed:
            ratio = row.ratio.value if row.ratio else None
            each += [_number(ratio, ".3f"), ratio_interval(row).strip()]
            each += [_number(row.milliseconds, ".2f")]
        size = None if row.bytes is None else row.bytes / 1e6
        each += [_number(size, ".1f"), f"{row.seconds:.0f}", row.status]
        cells.append(each)
    marked = {i: "best" for i, row in enumerate(rows) if row.front or row.rank == 1}
    told_ = ["Time: divided by the baseline's, timed in turns with it; ms: a frame, from camera "
             "bytes to predictions."] if timed else []  # fmt: skip
    told_ += ["Gain: over the baseline."] if over else []
    told_ += ["s: seconds of the export, several of which may have run beside each other."]
    told_ += ["Bold: first, or on the Pareto front."]
    if len(result.rows) > MOST:
        told_.append(f"The first {MOST} of {len(result.rows)} points; all are in {FILE}.")
    return table(columns, cells, name="All points", kinds=marked) + note(*told_)


def _failed(rows: Sequence[Row]) -> str:
    cells = [(row.name, row.sentence, row.worker or "-") for row in rows[:MOST]]
    return table(["point", "why", "worker"], cells, name="Failed points", numbers=3, prose=[1])


def _origin(result: Result, formats: Sequence[str]) -> str:
    rank = result.rank
    base = result.baseline
    pairs: list[tuple[str, object]] = [
        ("recipe", result.recipe),
        ("keys", ", ".join(result.keys)),
        ("ranked by", "nothing" if rank is None else rank.by),
    ]
    if result.metric is not None:
        pairs.append(("metric", f"{result.metric} on {result.frames} frames of {result.dataset}"))
    if base is not None:
        pairs.append(("baseline", f"{told_settings(base)}: {figures(base, result)}"))
    pairs += [("jobs ran on", result.machine), ("lzu_export", VERSION)]
    files = [(FILE, "all results")]
    files += [(TABLE, "the same as a table")] if "parquet" in formats else []
    return facts(pairs) + links(files) + note(*(f"{e[0].upper()}{e[1:]}." for e in result.notes))


def told_settings(row: Row) -> str:
    """Return a row's settings in one line."""
    return ", ".join(f"{key} {told(value)}" for key, value in row.settings.items()) or row.name


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def write_page(page: str, folder: Path) -> Path:
    """Write a page to a sweep's folder and return its path.

    Raises:
        LzuError: the disk refuses.
    """
    path = folder / PAGE
    with readable_os_errors(f"the page {path}"):
        write_text(path, page)
    return path
