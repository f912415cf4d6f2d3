"""Figures of a sweep: accuracy over time with the Pareto front, and each key's effect."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lzu_export.support.look.svg import FAINT, INK, LIMIT, PLACES, STYLE, plain, svg, touch
from lzu_export.support.plots import plotting
from lzu_export.sweep.results import Result, Row
from lzu_export.sweep.schema import told

SIZES = {"wide": (7.4, 4.2), "narrow": (3.9, 4.2)}
"""Width and height in inches of the trade-off on a screen and on a phone."""
PANEL = {"wide": (2.5, 2.3), "narrow": (1.95, 2.2)}
"""Width and height in inches of a key's panel."""
COLUMNS = {"wide": 3, "narrow": 2}
MOST = 400
"""Largest number of points in a figure: those that come first in the ranking."""
BARS = 60
"""Largest number of points that all have bars; of more, those of the front have."""
NAMED = 12
"""Largest number of different texts of a key that are all written below its panel."""
DOT, RING = PLACES["fixed"], PLACES["good"]


def short(key: str, keys: Sequence[str]) -> str:
    """Return the last part of a dotted key, unless another key ends in the same one."""
    last = key.rpartition(".")[2]
    same = [each for each in keys if each.rpartition(".")[2] == last]
    return last if len(same) < 2 else key


def tip(row: Row, result: Result) -> str:
    """Return a point's numbers as lines."""
    lines = [row.name]
    if row.metric is not None:
        lines.append(f"{result.metric} {row.metric:.2f}")
    if row.ratio is not None:
        lines.append(
            f"{row.ratio.value:.3f} times the baseline [{row.ratio.low:.3f}, {row.ratio.high:.3f}]"
        )
    return "\n".join(lines)


def trade_off(result: Result) -> dict[str, str]:
    """Draw accuracy over time, for a screen (`wide`) and for a phone (`narrow`); empty if the sweep
    did not measure both.
    """
    rows = [each for each in result.rows if each.metric is not None and each.ratio][:MOST]
    if not rows:
        return {}
    drawn = {}
    for size, inches in SIZES.items():
        with plotting(STYLE) as plt:
            figure, panel = plt.subplots(figsize=inches, layout="constrained")
            marks = _points(panel, result, rows)
            panel.grid()
            panel.margins(0.1)
            panel.set_xlabel("time, divided by the baseline's")
            panel.set_ylabel(f"{plain(result.metric or '')} (points)")
            figure.legend(loc="outside lower center", ncols=3 if size == "wide" else 2)
            text = f"{result.metric} over time of {len(rows)} points with the Pareto front"
            drawn[size] = svg(figure, f"trade-off-{size}", text, marks)
    return drawn


def _points(panel: Any, result: Result, rows: Sequence[Row]) -> dict[str, dict[str, str]]:
    """Draw points with the bars of their times, and return the attributes of their marks."""
    marks = {}
    places: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
    for i, row in enumerate(rows):
        assert row.ratio is not None, "rows without a time are left out"
        assert row.metric is not None, "rows without a metric are left out"
        places[row.front].append((row.ratio.value, row.metric))
        if row.front or len(rows) <= BARS:
            panel.plot(
                [row.ratio.low, row.ratio.high], [row.metric, row.metric], linewidth=1.0,
                color=RING if row.front else FAINT, alpha=0.6, zorder=1,
            )  # fmt: skip
        touch(panel, row.ratio.value, row.metric, f"point-{i}")
        marks[f"point-{i}"] = {"data-tip": tip(row, result)}
    if places[False]:
        panel.plot(
            *zip(*places[False], strict=True), linestyle="none", marker="o", markersize=5,
            color=FAINT, label="beaten in both", zorder=2,
        )  # fmt: skip
    panel.plot(
        *zip(*sorted(places[True]), strict=True), drawstyle="steps-post", linewidth=1.2,
        linestyle=(0, (4, 3)), marker="o", markersize=7, color=RING, label="Pareto front", zorder=3,
    )  # fmt: skip
    base = result.baseline
    if base is not None and base.metric is not None:
        panel.plot(
            [1.0], [base.metric], linestyle="none", marker="s", markersize=7,
            color=PLACES["uniform"], label="baseline", zorder=4,
        )  # fmt: skip
    return marks


def effects(result: Result) -> dict[str, str]:
    """Draw a panel for each key that was varied: each point's figure over the key's value.

    The figure is what the sweep ranks by, accuracy where that is two. Empty if nothing is ranked.
    """
    if result.rank is None or not result.keys:
        return {}
    by_time = result.rank.by == "time"
    label = "time" if by_time else plain(result.metric or "")

    def value(row: Row) -> float | None:
        return (row.ratio.value if row.ratio else None) if by_time else row.metric

    rows = [each for each in result.rows if value(each) is not None][:MOST]
    if not rows:
        return {}
    drawn = {}
    for size, columns in COLUMNS.items():
        count = min(columns, len(result.keys))
        lines = -(-len(result.keys) // count)
        width, height = PANEL[size]
        marks: dict[str, Mapping[str, str]] = {}
        with plotting(STYLE) as plt:
            figure, panels = plt.subplots(
                lines, count, figsize=(width * count, height * lines), layout="constrained",
                sharey=True, squeeze=False,
            )  # fmt: skip
            for i, panel in enumerate(panels.flat):
                if i >= len(result.keys):
                    panel.axis("off")
                    continue
                _effect(panel, i, result, rows, value, marks)
                if i % count == 0:
                    panel.set_ylabel(label)
            text = f"{label} by {', '.join(result.keys)}"
            drawn[size] = svg(figure, f"effects-{size}", text, marks)
    return drawn


def _effect(
    panel: Any,
    index: int,
    result: Result,
    rows: Sequence[Row],
    value: Callable[[Row], float | None],
    marks: dict[str, Mapping[str, str]],
) -> None:
    """Draw one key's panel, with a line through the best point of each value."""
    key = result.keys[index]
    mine = [row for row in rows if key in row.settings]
    numeric = all(_is_number(row.settings[key]) for row in mine)
    texts = list(dict.fromkeys(told(row.settings[key]) for row in mine))
    x = [row.settings[key] if numeric else texts.index(told(row.settings[key])) for row in mine]
    y = [value(row) for row in mine]
    panel.plot(x, y, linestyle="none", marker="o", markersize=4, color=DOT, alpha=0.7)
    lowest = result.rank is not None and (
        result.rank.by == "time" or result.rank.direction == "lowest"
    )
    best: dict[Any, float] = {}
    for place, each in zip(x, y, strict=True):
        assert each is not None, "rows without a value are left out"
        best[place] = (min if lowest else max)(best.get(place, each), each)
    if len(best) <= NAMED:
        panel.plot(*zip(*sorted(best.items()), strict=True), linewidth=1.2, color=RING)
    base = result.baseline
    if base is not None and base.status == "done":
        level = 1.0 if result.rank and result.rank.by == "time" else base.metric
        if level is not None:
            panel.axhline(level, color=LIMIT, linewidth=1.0, linestyle="--")
    for i, row in enumerate(mine):
        touch(panel, x[i], y[i] or 0.0, f"key{index}-{i}", 16)
        marks[f"key{index}-{i}"] = {"data-tip": tip(row, result)}
    if not numeric:
        shown = texts if len(texts) <= NAMED else [str(i) for i in range(1, len(texts) + 1)]
        panel.set_xticks(range(len(texts)), [plain(each)[-14:] for each in shown], rotation=20)
    panel.set_title(plain(short(key, result.keys)), fontsize=10.5, color=INK)
    panel.grid(axis="y")
    panel.margins(0.12)


def _is_number(value: object) -> bool:
    return isinstance(value, float | int) and not isinstance(value, bool)
