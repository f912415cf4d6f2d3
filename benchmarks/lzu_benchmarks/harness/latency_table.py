"""The table that the latency command prints."""

from rich.console import Group
from rich.table import Table
from rich.text import Text

from lzu_benchmarks.harness.candidates import STAGES
from lzu_benchmarks.harness.latency_results import (
    LatencyRun,
    StartTimes,
)
from lzu_export.support.escaping import visible

NOISE = ", of random noise"
"""Suffix of titles over figures that were measured on random noise."""


def latency_tables(run: LatencyRun) -> Group:
    """Return the latency table and its notes, which the command prints."""
    title = f"Latency, ms a query{NOISE if run.noise else ''}"
    table = Table(title=title, title_justify="left", box=None, padding=(0, 1, 0, 0))
    table.add_column("engine", overflow="fold")
    tail = any(each.end_to_end.p99 is not None for each in run.engines.values())
    headings = ["p50", "p90", "p90 es", *(["p99"] if tail else []), "ratio"]
    headings += ["pre", "engine", "nms", "post", "alone\np50"]
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    for name, each in run.engines.items():
        whole = each.end_to_end
        estimate, p99 = (
            "-" if each is None else f"{each:.2f}" for each in (whole.p90_estimate, whole.p99)
        )
        compared = "-" if each.ratio is None else f"{each.ratio.value:.3f}"
        stages = [f"{each.stages[stage].p50:.2f}" for stage in STAGES]
        cells = [f"{whole.p50:.2f}", f"{whole.p90:.2f}", estimate, *([p99] if tail else [])]
        cells.append(compared)
        table.add_row(
            visible(name), *cells, *stages, f"{each.engine.p50:.2f}" if each.engine else "-"
        )
    first = next(iter(run.engines.values()))
    notes = [
        f"on {run.machine.identity}",
        f"{first.end_to_end.queries} queries each, {run.frames}",
        "p90 es: MLPerf's early-stopping estimate, p90 is at most that at 99 % confidence",
        "ratio: of whole frames, median over rounds, to the first bundle in the same precision",
        f"harness: {run.overhead_nanoseconds:.0f} ns a query, {run.overhead_share:.3%} of the "
        "fastest",
        *(_start_note(name, each.start) for name, each in run.engines.items() if each.start),
        *(["interrupted: these are the whole rounds until then"] if run.interrupted else []),
        *run.notes,
        *(f"doubtful: {doubt}" for doubt in run.doubts),
    ]
    return Group(table, Text("\n".join(map(visible, notes)), style="italic"))


def _start_note(name: str, start: StartTimes) -> str:
    told = f"{name}: loaded in {start.load:.2f} s, first run {start.first_run:.2f} s"
    if start.cold_first_run is not None:
        told += f", {start.cold_first_run:.2f} s where its kernels are compiled first"
    return told
