"""Show the comparison with what a user might take instead of a warp: table, notes, chart."""

from collections.abc import Sequence

from rich.console import Group
from rich.text import Text

from lzu_benchmarks.report.pareto import front
from lzu_benchmarks.report.rows import NOTHING, number, ratio_text, spanned
from lzu_benchmarks.report.schema import RivalRow, Rivals, Spread
from lzu_benchmarks.report.trade_off import Point, trade_off
from lzu_export.support.tables import Column, grid, notes

SIZES = ("AP_small", "AP_medium", "AP_large")


def spread_text(spread: Spread | None, *, sign: bool = False) -> str:
    """Format a value with its interval; empty if there is none."""
    if spread is None:
        return ""
    form = "+.2f" if sign else ".2f"
    return f"{spread.value:{form}} [{spread.low:{form}}, {spread.high:{form}}]"


def best(rows: Sequence[RivalRow]) -> list[bool]:
    """Return whether each row is on the Pareto front of AP over operations."""
    kept = front([(row.gflop, row.metrics["AP"].value) for row in rows])
    return [i in kept for i in range(len(rows))]


def rivals_table(rivals: Rivals) -> Group:
    """Return the table that the command prints; rows on the Pareto front are bold."""
    headings = ("AP", "[95 %]", *(name.removeprefix("AP_") for name in SIZES), "GFLOP", "time")
    columns = [Column("instead", left=True), *map(Column, headings), Column("seeds")]
    lines = []
    for row, kept in zip(rivals.rows, best(rivals.rows), strict=True):
        score = row.metrics["AP"]
        cells = [row.name, number(score.value), f"{score.low:.1f}, {score.high:.1f}"]
        cells += [number(row.metrics[name].value, 1) for name in SIZES]
        cells += [number(row.gflop), number(row.ratio.value) if row.ratio else NOTHING]
        style = "bold" if kept else ""
        lines.append([Text(each, style) for each in (*cells, str(len(row.seeds)))])
    title = Text("Instead of a warp", "italic")
    return Group(title, grid(columns, lines), notes(rival_notes(rivals)))


def rival_notes(rivals: Rivals) -> list[str]:
    """Return sentences on how the rows were made, and on rows that are missing."""
    told = [
        f"Every network was trained for {rivals.budget} at what it sees, scored on {rivals.frames} "
        "frames by ONNX Runtime in FP32."
    ]
    if rivals.rule is not None:
        told.append(f"Static crop: {rivals.rule}.")
    told += [f"{name} is not measured: {why}." for name, why in rivals.missing.items()]
    if any(why.startswith("not trained") for why in rivals.missing.values()):
        told.append(f"`{rivals.command}` trains what is missing.")
    return told


def rivals_figure(rivals: Rivals) -> dict[str, str]:
    """Draw AP against operations and against time, on a screen and on a phone."""
    drawn: dict[str, str] = {}
    costs = {"flops": ("GFLOP a frame, computed", "GFLOP"), "time": ("ms a frame", "ms")}
    for cost, (axis, unit) in costs.items():
        points = [_point(row, cost, unit) for row in rivals.rows]
        name = f"rivals-{cost}"
        both = trade_off(
            points,
            name=name,
            x=axis,
            y="AP (points)",
            description=f"AP of rivals against {unit}",
            joined=False,
        )
        drawn |= {f"{name}-{flavour}": each for flavour, each in both.items()}
    return drawn


def _point(row: RivalRow, cost: str, unit: str) -> Point:
    score = row.metrics["AP"]
    span = (score.low, score.high)
    value = row.gflop if cost == "flops" else row.milliseconds
    tip = [row.name, f"{number(score.value)} AP{spanned(span)}", f"{number(value)} {unit}"]
    tip.append(f"{row.passes} passes, {len(row.seeds)} seeds")
    if row.ratio is not None:
        tip.append(f"{ratio_text(row.ratio)} times the time of uniform")
    return Point(row.variant, value, score.value, row.name, None, span, "\n".join(tip))
