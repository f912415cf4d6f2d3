"""Draw the page's bars, chains and grids as SVG text in the page's own colours."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from lzu_benchmarks.report.trade_off import WIDTHS
from lzu_export.support.look.colours import STAGES
from lzu_export.support.look.svg import (
    FAINT,
    INK,
    LIMIT,
    MARKERS,
    PAPER,
    PLACES,
    RULE,
    SERIES,
    STYLE,
    plain,
    svg,
    touch,
)
from lzu_export.support.plots import plotting

LINES = {"fp32": "-", "fp16": "--", "bf16": "-.", "int8": ":"}
NARROW = WIDTHS["narrow"][0]
"""Width in inches of a figure on a phone."""
ROW = 0.36
"""Height in inches of a bar with the gap below it."""


def stage_bars(
    rows: Mapping[str, Mapping[str, float]],
    *,
    name: str,
    description: str,
    keys: Mapping[str, Mapping[str, str]] | None = None,
    narrow: bool = False,
) -> str:
    """Draw the milliseconds of every stage, one bar per row.

    Args:
        rows: milliseconds by stage, by the row's label.
        name: name of the diagram, unique on the page.
        description: text for screen readers.
        keys: values by which the page filters each row, such as `data-scale`.
        narrow: draw for a phone.
    """
    with plotting(STYLE) as plt:
        width, height = (NARROW, 1.2) if narrow else (7.0, 1.0)
        size = (width, height + ROW * len(rows))
        figure, panel = plt.subplots(figsize=size, layout="constrained")
        names = list(rows)
        stages = list(next(iter(rows.values())))
        marks: dict[str, dict[str, str]] = {}
        left = [0.0] * len(names)
        for j, (stage, colour) in enumerate(zip(stages, STAGES, strict=True)):
            for i, each in enumerate(names):
                length, mark = rows[each][stage], f"s{i}-{j}"
                panel.barh(
                    [i], [length], left=[left[i]], color=PLACES[colour], height=0.64,
                    edgecolor=PAPER, linewidth=0.8, label=stage if i == 0 else None,
                )[0].set_gid(mark)  # fmt: skip
                tip = f"{plain(each)}\n{stage}: {length:.2f} ms"
                marks[mark] = {**(keys or {}).get(each, {}), "data-tip": tip}
                left[i] += length
        for i, total in enumerate(left):
            panel.text(total, i, f"  {total:.1f}", va="center", fontsize=9.5)
        panel.set_yticks(range(len(names)), list(map(plain, names)))
        panel.invert_yaxis()
        panel.set_xlim(0, max([*left, 1e-9]) * (1.3 if narrow else 1.12))
        panel.grid(axis="x")
        panel.tick_params(axis="y", length=0)
        panel.set_xlabel(f"{'ms' if narrow else 'milliseconds'} a query, median of each stage")
        columns = 2 if narrow else len(stages)
        figure.legend(loc="outside upper left", ncols=columns, handlelength=1.1)
        return svg(figure, name, description, marks)


def parity_lines(
    series: Sequence[tuple[str, str, Mapping[str, float]]],
    limits: Mapping[str, float],
    *,
    decibels: bool,
    name: str,
    description: str,
    narrow: bool = False,
) -> str:
    """Draw the deviation of engines from PyTorch along the chain of probe points.

    Equal values have no logarithm: they are marked on a line of their own below the axis.

    Args:
        series: variant and precision of each engine, and its deviation at every probe point.
        limits: limit of the deviation by precision.
        decibels: whether values are signal-to-noise ratios; otherwise they are relative
            differences, drawn on a logarithmic axis.
        name: name of the diagram, unique on the page.
        description: text for screen readers.
        narrow: draw for a phone.
    """
    with plotting(STYLE) as plt:
        # The longest chain has all probe points in order; a uniform model has none of the unzoom.
        longest = max((values for _, _, values in series), key=len)
        probes = list(dict.fromkeys([*longest, *(a for _, _, v in series for a in v)]))
        width = min(8.2, max(5.6, 2.2 + 0.28 * len(probes)))
        size = (NARROW, 4.2) if narrow else (width, 3.6)
        figure, panel = plt.subplots(figsize=size, layout="constrained")
        equal = None if decibels else _equal_line(panel, series, limits)
        marks: dict[str, dict[str, str]] = {}
        for i, (variant, precision, values) in enumerate(series):
            style: Any = {"color": SERIES.get(variant, INK), "marker": MARKERS.get(variant, "o")}
            label = f"{variant} {precision}"
            lines = [values.get(probe, math.nan) for probe in probes]
            drawn = [each if math.isfinite(each) and (decibels or each > 0) else math.nan
                     for each in lines]  # fmt: skip
            panel.plot(
                range(len(probes)), drawn, **style, linestyle=LINES.get(precision, "-"),
                markersize=5, linewidth=1.4, label=label,
            )  # fmt: skip
            same = [j for j, each in enumerate(lines) if each == 0 and equal is not None]
            if same:
                beside = 0.22 * (i - (len(series) - 1) / 2)  # equal marks would hide each other
                panel.plot(
                    [j + beside for j in same], [equal] * len(same), **style,
                    linestyle="none", markersize=6, markerfacecolor=PAPER, markeredgewidth=1.3,
                )  # fmt: skip
            for j, value in enumerate(lines):
                place = equal if value == 0 and equal is not None else value
                if math.isfinite(value) and place is not None:
                    mark = f"d{i}-{j}"
                    touch(panel, j, place, mark, size=14)
                    told = "equal" if value == 0 and equal is not None else (
                        f"{value:.1f} dB" if decibels else f"{value:.1e}")  # fmt: skip
                    marks[mark] = {"data-tip": f"{plain(probes[j])}\n{label}: {told}"}
        for precision, limit in limits.items():
            panel.axhline(limit, color=LIMIT, linewidth=1.2, linestyle=LINES.get(precision, "-"))
            panel.annotate(
                f"limit {precision}", (1, limit), xycoords=("axes fraction", "data"),
                ha="right", va="bottom", fontsize=9, color=LIMIT,
            )  # fmt: skip
        # On a phone more than 18 names would run into each other in letters of the usual size.
        letters = min(9.0, 165 / len(probes)) if narrow else 9.0
        names = list(map(plain, probes))
        panel.set_xticks(range(len(probes)), names, rotation=90, fontsize=letters)
        panel.set_xlim(-0.6, len(probes) - 0.4)
        panel.grid(axis="y")
        if decibels:
            panel.set_ylim(bottom=0)
        panel.set_ylabel("signal-to-noise ratio (dB)" if decibels else "relative difference")
        figure.legend(loc="outside upper left", ncols=min(2 if narrow else 4, len(series)))
        return svg(figure, name, description, marks)


def _equal_line(
    panel: Any, series: Sequence[tuple[str, str, Mapping[str, float]]], limits: Mapping[str, float]
) -> float:
    """Make the axis logarithmic, with a line for equal values below it; return its place."""
    found = [each for _, _, values in series for each in values.values()]
    positive = [each for each in [*found, *limits.values()] if math.isfinite(each) and each > 0]
    least, most = (min(positive), max(positive)) if positive else (1e-8, 1e-4)
    low, high = math.floor(math.log10(least)), math.ceil(math.log10(most) + 0.2)
    equal, split = 10.0 ** (low - 0.9), 10.0 ** (low - 0.4)
    panel.set_yscale("log")
    panel.set_ylim(10.0 ** (low - 1.4), 10.0**high)
    panel.axhspan(10.0 ** (low - 1.4), split, color=RULE, alpha=0.5, linewidth=0, zorder=0)
    panel.axhline(split, color=FAINT, linewidth=0.8)
    step = max(1, (high - low) // 5)
    decades = list(range(low, high + 1, step))
    panel.set_yticks(
        [equal, *(10.0**each for each in decades)],
        ["equal", *(f"1e{each}".replace("-", "\N{MINUS SIGN}") for each in decades)],
    )
    panel.minorticks_off()
    return equal


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
    flat = [value for row in values for value in row if math.isfinite(value)]
    low, high = (min(flat), max(flat)) if flat else (0.0, 1.0)
    with plotting(STYLE) as plt:
        from matplotlib.patches import Rectangle

        size = (2.2 + 0.8 * len(columns), 1.2 + 0.5 * len(rows))
        figure, panel = plt.subplots(figsize=size, layout="constrained")
        for i, row in enumerate(values):
            for j, value in enumerate(row):
                share = (value - low) / (high - low) if math.isfinite(value) and high > low else 0.0
                panel.add_patch(
                    Rectangle(
                        (j - 0.48, i - 0.46), 0.96, 0.92, facecolor=SERIES["fixed"],
                        alpha=0.08 + 0.4 * share,
                        edgecolor=INK if (i, j) == marked else "none", linewidth=1.6,
                    )
                )  # fmt: skip
                text = form.format(value) if math.isfinite(value) else "-"
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
        return svg(figure, name, description)
