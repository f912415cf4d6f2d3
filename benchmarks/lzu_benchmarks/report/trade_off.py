"""Draw accuracy against a cost: points with intervals, labels apart, and the Pareto front."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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
RADII, DIRECTIONS = (11.0, 22.0, 36.0, 52.0), 16
"""Distances of a label from its point, in typographic points, and the number of directions that are
tried at each."""
LED = 30.0
"""Distance from which a line leads from a label to its point."""


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
    marks: dict[str, dict[str, str]] = {}
    with plotting(STYLE) as plt:
        figure, panel = plt.subplots(figsize=size, layout="constrained")
        _frame(panel, points)
        best = front([(point.cost, point.gain) for point in points])
        steps = [(points[i].cost, points[i].gain) for i in best]
        if len(steps) > 1:
            panel.step(
                *zip(*steps, strict=True), where="post", color=FAINT, linewidth=1.1,
                linestyle=(0, (4, 3)), zorder=1, gid="front",
            )  # fmt: skip
            marks["front"] = {"data-whole": ""}
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
        for i, point in enumerate(points):
            _point(panel, point, f"p{i}", ringed=i in best and len(points) > 1, marks=marks)
        panel.set_xlabel(x)
        panel.set_ylabel(y)
        figure.canvas.draw()  # labels need the places of all else
        _labels(figure, panel, points, marks)
        return svg(figure, name, description, marks)


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


def _offsets() -> list[tuple[float, float]]:
    """Return the places of a label around its point, the preferred ones first."""
    turns = sorted(range(DIRECTIONS), key=lambda turn: (turn % 4 != 0, turn % 2 != 0))
    angles = [math.pi / 2 - 2 * math.pi * turn / DIRECTIONS for turn in turns]
    return [(r * math.cos(a), r * math.sin(a)) for r in RADII for a in angles]


def _labels(
    figure: Any, panel: Any, points: Sequence[Point], marks: dict[str, dict[str, str]]
) -> None:
    """Write each label where it hides least: no mark, no bar and no other label."""
    renderer = figure.canvas.get_renderer()
    inside = panel.get_window_extent(renderer)
    taken = _taken(panel, points, figure.dpi / 72)
    for i, point in enumerate(points):
        best: tuple[float, Any, Any] | None = None
        for offset in _offsets():
            text = _label(panel, point, offset)
            box = text.get_window_extent(renderer)
            outside = box.x0 < inside.x0 or box.x1 > inside.x1 or box.y1 > inside.y1
            outside = outside or box.y0 < inside.y0
            hidden = sum(weight for other, weight in taken if box.overlaps(other)) + 4 * outside
            if best is None or hidden < best[0]:
                if best is not None:
                    best[1].remove()
                best = (hidden, text, box)
            else:
                text.remove()
            if hidden == 0:
                break
        assert best is not None, "there are offsets"
        best[1].set_gid(f"p{i}-label")
        taken.append((best[2], 5.0))
        marks[f"p{i}-label"] = dict(point.data or {})


def _label(panel: Any, point: Point, offset: tuple[float, float]) -> Any:
    """Write a label at an offset from its point, with a line to it where it is far."""
    right, up = (0.0 if abs(each) < 1 else each for each in offset)
    led = {"arrowstyle": "-", "color": FAINT, "linewidth": 0.7, "shrinkA": 0, "shrinkB": 6}
    return panel.annotate(
        plain(point.label), (point.cost, point.gain), xytext=(right, up),
        textcoords="offset points", fontsize=9.5, zorder=4, color=_colour(point.variant),
        ha="left" if right > 0 else "right" if right < 0 else "center",
        va="center" if abs(up) < abs(right) / 2 else "bottom" if up > 0 else "top",
        arrowprops=led if math.hypot(right, up) > LED else None,
    )  # fmt: skip


def _taken(panel: Any, points: Sequence[Point], scale: float) -> list[tuple[Any, float]]:
    """Return the areas of marks and bars, each with the harm of a label upon it."""
    from matplotlib.transforms import Bbox

    taken = []
    for point in points:
        x, y = panel.transData.transform((point.cost, point.gain))
        half = 6 * scale
        taken.append((Bbox.from_extents(x - half, y - half, x + half, y + half), 3.0))
        for axis in (0, 1):
            ends = [
                (end, point.gain) if axis == 0 else (point.cost, end) for end in point.ends(axis)
            ]
            (x1, y1), (x2, y2) = panel.transData.transform(ends)
            taken.append((Bbox.from_extents(x1 - 1, y1 - 1, x2 + 1, y2 + 1), 1.0))
    return taken
