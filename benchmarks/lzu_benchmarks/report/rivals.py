"""Show the comparison with what a user might take instead of a warp: table, notes, chart."""

from rich.console import Group
from rich.text import Text

from lzu_benchmarks.report.rows import NOTHING, number, ratio_text, spanned
from lzu_benchmarks.report.schema import BASE, RivalRow, Rivals, Spread
from lzu_benchmarks.report.trade_off import Point, trade_off
from lzu_export.support.pareto import front
from lzu_export.support.tables import Column, grid, notes


def headings(rivals: Rivals) -> list[str]:
    """Return the titles of the metrics' columns: the metric's name, then those of its parts."""
    metric, *parts = rivals.metrics
    return [metric, *(name.removeprefix(f"{metric}_") for name in parts)]


def spread_text(spread: Spread | None, *, sign: bool = False) -> str:
    """Format a value with its interval; empty if there is none."""
    if spread is None:
        return ""
    form = "+.2f" if sign else ".2f"
    return f"{spread.value:{form}} [{spread.low:{form}}, {spread.high:{form}}]"


def milliseconds(rivals: Rivals, row: RivalRow) -> float:
    """Return a row's time: uniform's median, times the ratio of the two, with which it agrees."""
    base = next((each for each in rivals.rows if each.name == BASE), None)
    if base is None or row.ratio is None:
        return row.milliseconds
    return base.milliseconds * row.ratio.value


def best(rivals: Rivals) -> list[bool]:
    """Return whether each row is on the Pareto front of the metric over operations."""
    metric = rivals.metrics[0]
    kept = front([(row.gflop, row.metrics[metric].value) for row in rivals.rows])
    return [i in kept for i in range(len(rivals.rows))]


def rivals_table(rivals: Rivals) -> Group:
    """Return the table that the command prints; rows on the Pareto front are bold."""
    metric, *parts = rivals.metrics
    first, *others = headings(rivals)
    columns = [Column("instead", left=True)]
    columns += map(Column, (first, "[95 %]", *others, "GFLOP", "time", "seeds"))
    lines = []
    for row, kept in zip(rivals.rows, best(rivals), strict=True):
        score = row.metrics[metric]
        cells = [row.name, number(score.value), f"{score.low:.1f}, {score.high:.1f}"]
        cells += [number(row.metrics[name].value, 1) for name in parts]
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
    told.append(f"{rivals.merging}.")
    told += [f"{name} is not measured: {why}." for name, why in rivals.missing.items()]
    if any(why.startswith("not trained") for why in rivals.missing.values()):
        told.append(f"`{rivals.command}` trains what is missing.")
    return told


def rivals_figure(rivals: Rivals) -> dict[str, str]:
    """Draw the metric against operations and against time, on a screen and on a phone."""
    metric = rivals.metrics[0]
    drawn: dict[str, str] = {}
    costs = {"flops": ("GFLOP a frame, computed", "GFLOP"), "time": ("ms a frame", "ms")}
    for cost, (axis, unit) in costs.items():
        points = [
            _point(row, metric, row.gflop if cost == "flops" else milliseconds(rivals, row), unit)
            for row in rivals.rows
        ]
        name = f"rivals-{cost}"
        both = trade_off(
            points,
            name=name,
            x=axis,
            y=f"{metric} (points)",
            description=f"{metric} of rivals against {unit}",
            joined=False,
        )
        drawn |= {f"{name}-{flavour}": each for flavour, each in both.items()}
    return drawn


def _point(row: RivalRow, metric: str, value: float, unit: str) -> Point:
    score = row.metrics[metric]
    span = (score.low, score.high)
    tip = [row.name, f"{number(score.value)} {metric}{spanned(span)}", f"{number(value)} {unit}"]
    tip.append(f"{row.passes} passes, {len(row.seeds)} seeds")
    if row.ratio is not None:
        tip.append(f"{ratio_text(row.ratio)} times the time of uniform")
    return Point(row.variant, value, score.value, row.name, None, span, "\n".join(tip))
