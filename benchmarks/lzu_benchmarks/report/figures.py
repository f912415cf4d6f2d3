"""Draw the page's diagrams as SVG text in the page's own colours, light or dark."""

import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from lzu_benchmarks.report.pareto import front
from lzu_export.support.escaping import visible
from lzu_export.support.plots import plotting

INK, FAINT, RULE = "#010101", "#020202", "#030303"
PAPER = "#040404"
SERIES = {
    "uniform": "#050501",
    "fixed": "#050502",
    "adaptive": "#050503",
    "fovea": "#050504",
    "external": "#05050a",
}
SHADES = ("#050505", "#050506", "#050507", "#050508")
"""Placeholder colours of the stages."""
LIMIT = "#050509"
VARIABLES = {
    INK: "--ink",
    FAINT: "--faint",
    RULE: "--rule",
    PAPER: "--paper",
    **{colour: f"--{name}" for name, colour in SERIES.items()},
    **{colour: f"--stage-{i}" for i, colour in enumerate(SHADES)},
    LIMIT: "--limit",
}
"""CSS variable that replaces each placeholder colour on the page."""
MARKERS = {"uniform": "s", "fixed": "o", "adaptive": "^", "fovea": "D", "external": "v"}
LINES = {"fp32": "-", "fp16": "--", "bf16": "-.", "int8": ":"}
STYLE: Any = {
    "font.size": 10.5,
    "font.family": "sans-serif",
    "svg.fonttype": "none",
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": RULE,
    "grid.linewidth": 0.8,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "legend.fontsize": 9.5,
}


@dataclass(frozen=True)
class Point:
    """One bundle's engine in a trade-off diagram."""

    variant: str
    cost: float
    gain: float
    label: str


def trade_off(points: Sequence[Point], *, name: str, x: str, y: str, description: str) -> str:
    """Draw accuracy against a cost: one line per variant through its scales, and the Pareto front.

    The diagram follows the paper's figure 7.

    Args:
        points: points of all variants, in any order.
        name: name of the diagram, unique on the page.
        x: label of the cost, with its unit.
        y: label of the accuracy, with its unit.
        description: text for screen readers.
    """
    with plotting(STYLE) as plt:
        figure, panel = plt.subplots(figsize=(5.6, 4.0), layout="constrained")
        best = front([(point.cost, point.gain) for point in points])
        steps = [(points[i].cost, points[i].gain) for i in best]
        if len(steps) > 1:
            panel.step(
                *zip(*steps, strict=True),
                where="post",
                color=FAINT,
                linewidth=1.0,
                linestyle=(0, (4, 3)),
                label="Pareto front",
                zorder=1,
            )
        for variant in dict.fromkeys(point.variant for point in points):
            mine = sorted(
                (point for point in points if point.variant == variant), key=lambda p: p.cost
            )
            panel.plot(
                [point.cost for point in mine],
                [point.gain for point in mine],
                color=SERIES[variant],
                marker=MARKERS[variant],
                markersize=8,
                linewidth=1.6,
                label=variant,
                zorder=2,
            )
        # Variants of one scale are close together, so they share one label above the highest.
        for label in dict.fromkeys(point.label for point in points):
            highest = max((p for p in points if p.label == label), key=lambda point: point.gain)
            panel.annotate(
                label,
                (highest.cost, highest.gain),
                xytext=(0, 9),
                textcoords="offset points",
                ha="center",
                fontsize=9.5,
            )
        if len(points) > 1:
            panel.scatter(
                *zip(*steps, strict=True),
                s=150,
                facecolors="none",
                edgecolors=INK,
                linewidths=0.9,
                zorder=3,
            )
        panel.margins(x=0.22, y=0.2)
        panel.grid(axis="both")
        panel.set_xlabel(x)
        panel.set_ylabel(y)
        panel.legend(loc="best")
        return _svg(figure, name, description)


def stage_bars(rows: Mapping[str, Mapping[str, float]], *, name: str, description: str) -> str:
    """Draw the milliseconds of every stage, one bar per row."""
    with plotting(STYLE) as plt:
        height = 1.1 + 0.42 * len(rows)
        figure, panel = plt.subplots(figsize=(7.6, height), layout="constrained")
        names = list(rows)
        stages = list(next(iter(rows.values())))
        left = [0.0] * len(names)
        for stage, colour in zip(stages, SHADES, strict=True):
            widths = [rows[each][stage] for each in names]
            panel.barh(
                names, widths, left=left, color=colour, height=0.62, label=stage,
                edgecolor=PAPER, linewidth=0.8,
            )  # fmt: skip
            left = [a + b for a, b in zip(left, widths, strict=True)]
        for i, total in enumerate(left):
            panel.text(total, i, f"  {total:.1f}", va="center", fontsize=9.5)
        panel.invert_yaxis()
        panel.margins(x=0.1)
        panel.grid(axis="x")
        panel.tick_params(axis="y", length=0)
        panel.set_xlabel("milliseconds a query, median of each stage")
        figure.legend(loc="outside upper center", ncols=len(stages))
        return _svg(figure, name, description)


def parity_lines(
    series: Sequence[tuple[str, str, Mapping[str, float]]],
    limits: Mapping[str, float],
    *,
    decibels: bool,
    name: str,
    description: str,
) -> str:
    """Draw the deviation of engines from PyTorch along the chain of probe points.

    Args:
        series: variant and precision of each engine, and its deviation at every probe point.
        limits: limit of the deviation by precision.
        decibels: whether values are signal-to-noise ratios; otherwise they are relative
            differences, drawn on a logarithmic axis.
        name: name of the diagram, unique on the page.
        description: text for screen readers.
    """
    with plotting(STYLE) as plt:
        # The longest chain has all probe points in order; a uniform model has none of the unzoom.
        longest = max((values for _, _, values in series), key=len)
        probes = list(dict.fromkeys([*longest, *(a for _, _, v in series for a in v)]))
        width = min(9.6, max(5.6, 2.2 + 0.3 * len(probes)))
        figure, panel = plt.subplots(figsize=(width, 3.5), layout="constrained")
        for variant, precision, values in series:
            shown = {probe: value for probe, value in values.items() if _finite(value)}
            panel.plot(
                [probes.index(probe) for probe in shown],
                list(shown.values()),
                color=SERIES[variant],
                marker=MARKERS[variant],
                linestyle=LINES.get(precision, "-"),
                markersize=4.5,
                linewidth=1.3,
                label=f"{variant} {precision}",
            )
        for precision, limit in limits.items():
            panel.axhline(limit, color=LIMIT, linewidth=1.1, linestyle=LINES.get(precision, "-"))
            panel.annotate(
                f"limit {precision}", (1, limit), xycoords=("axes fraction", "data"),
                ha="right", va="bottom", fontsize=8.5, color=LIMIT,
            )  # fmt: skip
        if not decibels:
            panel.set_yscale("log")
        panel.set_xticks(range(len(probes)), list(map(visible, probes)), rotation=90, fontsize=8.5)
        panel.grid(axis="y")
        panel.set_ylabel("signal-to-noise ratio (dB)" if decibels else "relative difference")
        figure.legend(loc="outside upper center", ncols=min(4, len(series)))
        return _svg(figure, name, description)


def heat(
    rows: Sequence[str],
    columns: Sequence[str],
    values: Sequence[Sequence[float]],
    *,
    name: str,
    x: str,
    y: str,
    form: str,
    description: str,
    marked: tuple[int, int] | None = None,
) -> str:
    """Draw a table of numbers; larger numbers have darker cells."""
    flat = [value for row in values for value in row if _finite(value)]
    low, high = (min(flat), max(flat)) if flat else (0.0, 1.0)
    with plotting(STYLE) as plt:
        from matplotlib.patches import Rectangle

        size = (2.2 + 0.8 * len(columns), 1.2 + 0.5 * len(rows))
        figure, panel = plt.subplots(figsize=size, layout="constrained")
        for i, row in enumerate(values):
            for j, value in enumerate(row):
                share = (value - low) / (high - low) if _finite(value) and high > low else 0.0
                panel.add_patch(
                    Rectangle(
                        (j - 0.48, i - 0.46), 0.96, 0.92, facecolor=SERIES["fixed"],
                        alpha=0.08 + 0.4 * share,
                        edgecolor=INK if (i, j) == marked else "none", linewidth=1.6,
                    )
                )  # fmt: skip
                text = form.format(value) if _finite(value) else "-"
                weight = "bold" if (i, j) == marked else "normal"
                panel.text(j, i, text, ha="center", va="center", fontsize=9.5, fontweight=weight)
        panel.set_xlim(-0.5, len(columns) - 0.5)
        panel.set_ylim(len(rows) - 0.5, -0.5)
        panel.set_xticks(range(len(columns)), columns)
        panel.set_yticks(range(len(rows)), rows)
        panel.tick_params(length=0)
        for spine in panel.spines.values():
            spine.set_visible(False)
        panel.set_xlabel(x)
        panel.set_ylabel(y)
        return _svg(figure, name, description)


def _finite(value: float) -> bool:
    return math.isfinite(value)


def _svg(figure: Any, name: str, description: str) -> str:
    """Return a figure as an SVG element with unique identifiers and the page's colours."""
    import matplotlib as mpl

    with mpl.rc_context({"svg.hashsalt": name}):
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r"url\(#", f"url(#{name}-", text)
    text = re.sub(r'href="#', f'href="#{name}-', text)
    for placeholder, variable in VARIABLES.items():
        text = text.replace(placeholder, f"var({variable})")
    text = re.sub(r"font-family: [^;\"]*;? ?", "", text)
    text = re.sub(r"<style type=.*?</style>", "", text, flags=re.DOTALL)
    size = re.search(r'viewBox="0 0 ([\d.]+) ', text)
    assert size is not None, "matplotlib writes a box"
    head = (
        f'<svg role="img" aria-label="{escape(description, quote=True)}" '
        f'style="max-width: {float(size[1]) * 4 / 3:.0f}px"'
    )
    text = re.sub(r'^<svg\b([^>]*?) width="[^"]*"', r"<svg\1", text)
    text = re.sub(r'^<svg\b([^>]*?) height="[^"]*"', r"<svg\1", text)
    return head + text.removeprefix("<svg").strip()
