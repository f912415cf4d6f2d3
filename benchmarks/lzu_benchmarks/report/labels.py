"""Find places for labels of points: beside its point, farther off with a line, or as a number.

Lengths are in one unit, such as typographic points; y points up.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

GAPS = (11.0, 22.0, 36.0, 52.0)
"""Distances of a label from its point that are tried."""
LED = 30.0
"""Distance from which a line leads from a label to its point."""
DIRECTIONS = 16
"""Number of directions that are tried at each distance."""
MARK = 6.0
"""Half the side of a point's mark, which no label may hide."""
FAR = 60.0
"""Distance that is as bad as hiding one bar or line."""
ROUNDS = 4
"""Largest number of times that all labels are placed."""


class Box(NamedTuple):
    """An upright rectangle."""

    left: float
    low: float
    right: float
    high: float

    def meets(self, other: "Box") -> bool:
        """Return whether the two share an area."""
        return (
            self.left < other.right
            and other.left < self.right
            and self.low < other.high
            and other.low < self.high
        )

    def within(self, other: "Box") -> bool:
        """Return whether it lies inside of another box."""
        return (
            self.left >= other.left
            and self.right <= other.right
            and self.low >= other.low
            and self.high <= other.high
        )

    @property
    def centre(self) -> tuple[float, float]:
        """Its centre."""
        return (self.left + self.right) / 2, (self.low + self.high) / 2


Segment = tuple[tuple[float, float], tuple[float, float]]
"""Two ends of a line."""


class Label(NamedTuple):
    """A point with the size of its text, and that of the number that may stand for it."""

    at: tuple[float, float]
    size: tuple[float, float]
    number: tuple[float, float]


class Place(NamedTuple):
    """Where a label goes."""

    box: Box
    numbered: bool
    """Whether there was no room for the text, so that a number stands there."""
    led: bool
    """Whether a line leads to the point."""


def place(labels: Sequence[Label], area: Box, lines: Sequence[Segment] = ()) -> list[Place | None]:
    """Place labels so that none hides another one or a point's mark.

    A label lies as near to its point as there is room, preferably on no line. Where there is no
    room for its text its number is placed. A label without a free place goes first in a further
    round, `ROUNDS` in all.

    Args:
        labels: labels in their order of importance.
        area: area in which all labels lie.
        lines: bars and lines that a label should not hide.

    Returns:
        The place of each label; None where the area has no room even for its number.
    """
    order = list(range(len(labels)))
    best: list[Place | None] = []
    for _ in range(ROUNDS):
        found = _round(labels, order, area, lines)
        if not best or _poor(found) < _poor(best):
            best = found
        behind = [i for i in order if _is_poor(found[i])]
        again = behind + [i for i in order if i not in behind]
        if not behind or again == order:
            break
        order = again
    return best


def _is_poor(found: Place | None) -> bool:
    return found is None or found.numbered


def _poor(found: Sequence[Place | None]) -> tuple[int, int]:
    """Return the number of labels without a place and without their text."""
    return sum(each is None for each in found), sum(map(_is_poor, found))


def _round(
    labels: Sequence[Label], order: Sequence[int], area: Box, lines: Sequence[Segment]
) -> list[Place | None]:
    """Place the labels one after the other; later ones make way for earlier ones."""
    marks = [_around(label.at, 2 * MARK, 2 * MARK) for label in labels]
    taken, crossed = list(marks), list(lines)
    found: list[Place | None] = [None] * len(labels)
    for i in order:
        label = labels[i]
        for spots, numbered in (
            (_beside(label.at, label.size), False),
            (_beside(label.at, label.number), True),
            (_anywhere(area, label.number), True),
        ):
            chosen = _nearest(label.at, spots, area, taken, crossed)
            if chosen is not None:
                box, led = chosen
                found[i] = Place(box, numbered, led)
                taken.append(box)
                if led:
                    crossed.append((label.at, box.centre))
                break
    return found


def _around(centre: tuple[float, float], width: float, height: float) -> Box:
    x, y = centre
    return Box(x - width / 2, y - height / 2, x + width / 2, y + height / 2)


def _beside(at: tuple[float, float], size: tuple[float, float]) -> Iterator[Box]:
    """Give the places around a point, the preferred ones first."""
    turns = sorted(range(DIRECTIONS), key=lambda turn: (turn % 4 != 0, turn % 2 != 0))
    for gap in GAPS:
        for turn in turns:
            angle = math.pi / 2 - 2 * math.pi * turn / DIRECTIONS
            right, up = gap * math.cos(angle), gap * math.sin(angle)
            across = 0.0 if abs(right) < 1 else math.copysign(size[0] / 2, right)
            along = 0.0 if abs(up) < abs(right) / 2 else math.copysign(size[1] / 2, up)
            yield _around((at[0] + right + across, at[1] + up + along), *size)


def _anywhere(area: Box, size: tuple[float, float]) -> Iterator[Box]:
    """Give places all over the area."""
    columns = max(0, int((area.right - area.left) / size[0]))
    rows = max(0, int((area.high - area.low) / size[1]))
    for i in range(columns):
        for j in range(rows):
            left, low = area.left + i * size[0], area.low + j * size[1]
            yield Box(left, low, left + size[0], low + size[1])


def _nearest(
    at: tuple[float, float],
    spots: Iterator[Box],
    area: Box,
    taken: Sequence[Box],
    crossed: Sequence[Segment],
) -> tuple[Box, bool] | None:
    """Return the best free place, and whether a line leads to it; None if none is free."""
    best: tuple[float, Box, bool] | None = None
    for box in spots:
        far = max(_distance(at, box), GAPS[0])
        if best is not None and far / FAR >= best[0]:
            continue
        if not box.within(area) or any(map(box.meets, taken)):
            continue
        led = far > LED
        cost = far / FAR + sum(_cut(each, box) for each in crossed)
        if led:  # its line should not run through others
            cost += sum(_cut((at, box.centre), each) for each in taken if not _holds(each, at))
        if best is None or cost < best[0]:
            best = (cost, box, led)
    return None if best is None else best[1:]


def _distance(at: tuple[float, float], box: Box) -> float:
    x = max(box.left - at[0], 0.0, at[0] - box.right)
    y = max(box.low - at[1], 0.0, at[1] - box.high)
    return math.hypot(x, y)


def _holds(box: Box, at: tuple[float, float]) -> bool:
    return box.left <= at[0] <= box.right and box.low <= at[1] <= box.high


def _cut(line: Segment, box: Box) -> bool:
    """Return whether a line runs through a box (Liang and Barsky's clipping)."""
    (x, y), (end_x, end_y) = line
    first, last = 0.0, 1.0
    for start, step, low, high in (
        (x, end_x - x, box.left, box.right),
        (y, end_y - y, box.low, box.high),
    ):
        if step == 0:
            if not low < start < high:
                return False
            continue
        ends = sorted(((low - start) / step, (high - start) / step))
        first, last = max(first, ends[0]), min(last, ends[1])
    return first < last
