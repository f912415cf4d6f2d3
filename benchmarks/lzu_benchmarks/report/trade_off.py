"""Draw accuracy against a cost: points with intervals, labels apart, and the Pareto front."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from lzu_benchmarks.report.labels import Box, Label, Place, Segment, place
from lzu_export.support.look.svg import FAINT, INK, MARKERS, PAPER, SERIES, STYLE, plain, svg, touch
from lzu_export.support.pareto import front
from lzu_export.support.plots import plotting

Span = tuple[float, float]
"""Least and largest value."""
WIDTHS = {"wide": (7.0, 4.3), "narrow": (3.9, 4.0)}
"""Width and height in inches of the figure on a screen and on a phone."""
FROM_ZERO = 0.4
"""Smallest span of the values, as a share of the largest, for which an axis begins at zero."""
ROOM = 0.22
"""Part of the span that an axis has beyond its values."""
LETTERS = 9.5
"""Size of a label's letters in typographic points."""
LINE = 0.2
"""Height in inches of a line of the numbers' key."""


@dataclass(frozen=True)
class Point:
    """One bundle's engine in a trade-off diagram."""

    variant: str
    cost: float
    gain: float
    label: str
    """Text beside the point."""
    cost_span: Span | None = None
    """Interval of the cost; None if there is none."""
    gain_span: Span | None = None
    tip: str = ""
    """Text at the pointer, with the numbers."""
    data: Mapping[str, str] | None = None
    """Values by which the page filters, such as `data-scale`."""

    def ends(self, axis: int) -> Span:
        """Return the ends of the point's bar along the cost (0) or the gain (1)."""
        value, span = ((self.cost, self.cost_span), (self.gain, self.gain_span))[axis]
        return span or (value, value)


def trade_off(
    points: Sequence[Point], *, name: str, x: str, y: str, description: str, joined: bool = True
) -> dict[str, str]:
    """Draw accuracy against a cost, for a screen (`wide`) and for a phone (`narrow`).

    An axis begins at zero, unless its values are all far from it: then its beginning is marked by
    a break. The diagram follows the paper's figure 7.

    Args:
        points: points of all variants, in any order; those without a value are left out.
        name: name of the diagram, unique on the page.
        x: label of the cost, with its unit.
        y: label of the accuracy, with its unit.
        description: text for screen readers.
        joined: whether a line joins the points of a variant, which then differ in their scale.
    """
    shown = [each for each in points if not (math.isnan(each.cost) or math.isnan(each.gain))]
    return {
        flavour: _drawn(shown, f"{name}-{flavour}", size, x, y, description, joined)
        for flavour, size in WIDTHS.items()
    }


def axis_limits(values: Sequence[float]) -> tuple[float, float, bool]:
    """Return where an axis begins and ends, and whether its beginning is to be marked.

    It begins at zero where the values' span is at least `FROM_ZERO` of the largest one.
    """
    low, high = min(values), max(values)
    span = (high - low) or abs(high) or 1.0
    if low >= 0 and high - low >= FROM_ZERO * high:
        return 0.0, high + ROOM * span, False
    # Points alone are no reason to magnify: a span of under 2 % fills a part of the axis only.
    room = max(ROOM * span, 0.01 * abs(high))
    begin = max(low - room, 0.0) if low >= 0 else low - room
    return begin, high + room, begin > 0


def _drawn(
    points: Sequence[Point],
    name: str,
    size: tuple[float, float],
    x: str,
    y: str,
    description: str,
    joined: bool,
) -> str:
    numbered: list[int] = []
    while True:  # a key of numbers changes the figure, and with it the places of all labels
        marks: dict[str, dict[str, str]] = {}
        with plotting(STYLE) as plt:
            figure, panel = plt.subplots(figsize=size, layout="constrained")
            _frame(panel, points)
            lines = _marked(panel, points, joined, marks)
            panel.set_xlabel(x)
            panel.set_ylabel(y)
            _key(figure, points, numbered, marks)
            figure.canvas.draw()  # labels need the places of all else
            places = _places(figure, panel, points, numbered, lines)
            crowded = [i for i, each in enumerate(places) if each is None or each.numbered]
            if set(crowded) <= set(numbered):
                _labels(panel, points, places, numbered, marks)
                return svg(figure, name, description, marks)
            numbered = sorted({*crowded, *numbered})


def _marked(
    panel: Any, points: Sequence[Point], joined: bool, marks: dict[str, dict[str, str]]
) -> list[Segment]:
    """Draw the front, the lines and all points; return the lines that no label should hide."""
    best = front([(point.cost, point.gain) for point in points])
    steps = [(points[i].cost, points[i].gain) for i in best]
    lines: list[Segment] = []
    if len(steps) > 1:
        panel.step(
            *zip(*steps, strict=True), where="post", color=FAINT, linewidth=1.1,
            linestyle=(0, (4, 3)), zorder=1, gid="front",
        )  # fmt: skip
        marks["front"] = {"data-whole": ""}
        for (x1, y1), (x2, y2) in pairwise(steps):
            lines += [((x1, y1), (x2, y1)), ((x2, y1), (x2, y2))]
    for variant in dict.fromkeys(point.variant for point in points):
        mine = [point for point in points if point.variant == variant]
        mine.sort(key=lambda point: point.cost)
        if joined and len(mine) > 1:
            places = [(p.cost, p.gain) for p in mine]
            panel.plot(
                *zip(*places, strict=True), color=_colour(variant), linewidth=1.4, zorder=2,
                alpha=0.55, gid=f"line-{variant}",
            )  # fmt: skip
            marks[f"line-{variant}"] = {"data-whole": ""}
            lines += pairwise(places)
    for i, point in enumerate(points):
        _point(panel, point, f"p{i}", ringed=i in best and len(points) > 1, marks=marks)
        if point.cost_span is not None:
            lines.append(((point.cost_span[0], point.gain), (point.cost_span[1], point.gain)))
        if point.gain_span is not None:
            lines.append(((point.cost, point.gain_span[0]), (point.cost, point.gain_span[1])))
    return lines


def _frame(panel: Any, points: Sequence[Point]) -> None:
    """Set both axes, and mark the beginning of one that does not begin at zero."""
    for axis, which in enumerate(("x", "y")):
        ends = [end for point in points for end in point.ends(axis)]
        ends += [point.cost if axis == 0 else point.gain for point in points]
        begin, end, broken = axis_limits([each for each in ends if math.isfinite(each)] or [0.0])
        (panel.set_xlim if axis == 0 else panel.set_ylim)(begin, end)
        if broken:
            _break(panel, which)
    panel.grid(axis="both")


def _break(panel: Any, axis: str) -> None:
    """Draw a zigzag on the first part of an axis."""
    along = [0.0, 0.012, 0.024, 0.036, 0.048, 0.06]
    across = [0.0, 0.014, -0.014, 0.014, -0.014, 0.0]
    xs, ys = (along, across) if axis == "x" else (across, along)
    style: Any = {"transform": panel.transAxes, "clip_on": False, "solid_joinstyle": "miter"}
    ends = ([0.0, 0.06], [0.0, 0.0]) if axis == "x" else ([0.0, 0.0], [0.0, 0.06])
    panel.plot(*ends, color=PAPER, linewidth=3.0, zorder=4, **style)
    panel.plot(xs, ys, color=INK, linewidth=1.2, zorder=5, gid=f"break-{axis}", **style)


def _colour(variant: str) -> str:
    return SERIES.get(variant, INK)


def _point(
    panel: Any, point: Point, mark: str, *, ringed: bool, marks: dict[str, dict[str, str]]
) -> None:
    colour, data = _colour(point.variant), dict(point.data or {})
    bars = (
        (point.cost_span, panel.hlines, point.gain),
        (point.gain_span, panel.vlines, point.cost),
    )
    for axis, (span, draw, at) in enumerate(bars):
        if span is not None:
            draw(at, *span, color=colour, linewidth=1.5, zorder=2.5, gid=f"{mark}-{axis}")
            marks[f"{mark}-{axis}"] = data
    panel.plot(
        [point.cost], [point.gain], color=colour, marker=MARKERS.get(point.variant, "o"),
        markersize=9, linestyle="none", zorder=3, gid=f"{mark}-mark",
        markeredgecolor=INK if ringed else colour, markeredgewidth=1.4,
    )  # fmt: skip
    touch(panel, point.cost, point.gain, f"{mark}-hit")
    marks[f"{mark}-mark"] = data
    marks[f"{mark}-hit"] = {**data, "data-tip": point.tip or plain(point.label)}


def _key(
    figure: Any, points: Sequence[Point], numbered: Sequence[int], marks: dict[str, dict[str, str]]
) -> None:
    """Write below the diagram which points the numbers stand for, and make the figure higher."""
    if not numbered:
        return
    from matplotlib.lines import Line2D

    texts = [f"{k} {plain(points[i].label)}" for k, i in enumerate(numbered, start=1)]
    widest = max(_size(figure, text)[0] for text in texts) + 2 * LETTERS
    width, height = figure.get_size_inches()
    columns = max(1, min(len(texts), int(72 * width / widest)))
    figure.set_size_inches(width, height + LINE * math.ceil(len(texts) / columns))
    legend = figure.legend(
        [Line2D([], [], linestyle="none") for _ in texts], texts, loc="outside lower center",
        ncols=columns, handlelength=0, handletextpad=0, fontsize=LETTERS,
        labelcolor=[_colour(points[i].variant) for i in numbered],
    )  # fmt: skip
    for i, text in zip(numbered, legend.get_texts(), strict=True):
        text.set_gid(f"p{i}-key")
        marks[f"p{i}-key"] = dict(points[i].data or {})


def _size(figure: Any, text: str) -> tuple[float, float]:
    """Return the width and height of a text with the room around it, in typographic points."""
    drawn = figure.text(0, 0, text, fontsize=LETTERS)
    box = drawn.get_window_extent(figure.canvas.get_renderer())
    drawn.remove()
    return box.width * 72 / figure.dpi + LETTERS / 2, box.height * 72 / figure.dpi


def _places(
    figure: Any,
    panel: Any,
    points: Sequence[Point],
    numbered: Sequence[int],
    lines: Sequence[Segment],
) -> list[Place | None]:
    """Find a place for each label; those that are `numbered` are their number."""
    number = _size(figure, "00" if len(points) < 100 else "000")
    labels = [
        Label(
            _at(panel, (point.cost, point.gain)),
            number if i in numbered else _size(figure, plain(point.label)),
            number,
        )
        for i, point in enumerate(points)
    ]
    area = Box(*(each * 72 / figure.dpi for each in panel.get_window_extent().extents))
    return place(labels, area, [(_at(panel, start), _at(panel, end)) for start, end in lines])


def _at(panel: Any, values: tuple[float, float]) -> tuple[float, float]:
    """Return where a cost and a gain are on the figure, in typographic points."""
    x, y = panel.transData.transform(values) * 72 / panel.figure.dpi
    return float(x), float(y)


def _labels(
    panel: Any,
    points: Sequence[Point],
    places: Sequence[Place | None],
    numbered: Sequence[int],
    marks: dict[str, dict[str, str]],
) -> None:
    """Write the labels at their places, with a line to the point from those that are far."""
    led = {"arrowstyle": "-", "color": FAINT, "linewidth": 0.7, "shrinkA": 0, "shrinkB": 6}
    for i, (point, found) in enumerate(zip(points, places, strict=True)):
        if found is None:  # its numbers are at the pointer
            continue
        (x, y), (right, up) = _at(panel, (point.cost, point.gain)), found.box.centre
        text = str(numbered.index(i) + 1) if i in numbered else plain(point.label)
        panel.annotate(
            text, (point.cost, point.gain), xytext=(right - x, up - y),
            textcoords="offset points", fontsize=LETTERS, zorder=4, color=_colour(point.variant),
            ha="center", va="center", arrowprops=led if found.led else None, gid=f"p{i}-label",
        )  # fmt: skip
        marks[f"p{i}-label"] = dict(point.data or {})
