"""Windows of a frame that a detector sees instead of the whole frame: a crop, or tiles."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lzu_export.errors import LzuError
from lzu_export.recipes.sections import Window
from lzu_export.warp.geometry import padded_size

Size = tuple[int, int]
"""(height, width) in pixels."""

OVERLAP = 0.2
"""Share of a tile that it shares with the next one: the default of SAHI."""
VISIBLE = 0.3
"""Share of a box within a window from which its object is learned there."""


class Seen(NamedTuple):
    """Objects that a window shows.

    Attributes:
        boxes: (n, 4) x1, y1, x2, y2 in pixels of the window, clipped to it.
        objects: (n,) index of each object in the frame.
        ignored: (n,) whether less than `VISIBLE` of the object is within the window.
    """

    boxes: NDArray[np.float64]
    objects: NDArray[np.int64]
    ignored: NDArray[np.bool_]


def seen_in(boxes: NDArray[np.float64], window: Window) -> Seen:
    """Return which objects with boxes (n, 4), in pixels of the frame, a window shows."""
    moved = boxes - [window.x, window.y] * 2
    clipped = moved.clip(0, [window.width, window.height] * 2)
    share = area(clipped) / area(boxes)
    index = np.flatnonzero(share > 0)
    return Seen(clipped[index], index, share[index] < VISIBLE)


def area(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the areas (n,) of boxes (n, 4)."""
    return np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)


def parse_window(values: Sequence[int], source: Size) -> Window:
    """Return the window at x, y with a width and a height, which lies within the frame.

    Raises:
        LzuError: the window is smaller than 32 x 32 pixels, or lies beyond the frame.
    """
    x, y, width, height = (int(each) for each in values)
    inside = min(x, y) >= 0 and x + width <= source[1] and y + height <= source[0]
    if not inside or min(width, height) < 32:
        raise LzuError(
            f"window is {x} {y} {width} {height}; give x, y, width and height of at least 32 "
            f"pixels within the frame of {source[1]}x{source[0]}"
        )
    return Window(x=x, y=y, width=width, height=height)


def parse_tiles(text: str) -> Size:
    """Return the numbers of rows and columns of tiles, given as `2x2`.

    Raises:
        LzuError: the text is something else.
    """
    counts = text.split("x")
    if len(counts) != 2 or not all(each.isdecimal() and 1 <= int(each) <= 8 for each in counts):
        raise LzuError(f"tiles are {text!r}; give rows and columns of 1 to 8 each, such as 2x2")
    return int(counts[0]), int(counts[1])


def tiles(source: Size, counts: Size) -> list[Window]:
    """Return the windows of equal tiles with SAHI's overlap, row by row, that fill a frame.

    Args:
        source: (height, width) of the frame.
        counts: numbers of rows and columns.
    """
    sides, starts = [], []
    for whole, count in zip(source, counts, strict=True):
        side = int(np.ceil(whole / (count - OVERLAP * (count - 1))))
        step = side - int(OVERLAP * side)
        sides.append(side)
        starts.append([min(i * step, whole - side) for i in range(count)])
    height, width = sides
    return [Window(x=x, y=y, width=width, height=height) for y in starts[0] for x in starts[1]]


def best_band(
    boxes: NDArray[np.float64], source: Size, scale: float, *, zoom: float = 1.5
) -> tuple[Window, float]:
    """Choose the band of a frame for a detector that sees nothing else, from training boxes.

    The band is as wide as the frame and is sampled `zoom` times as densely as a uniform canvas. It
    is as high as it can be without costing more than that canvas. It starts at the row at which it
    holds most boxes whole, the middle one of equally good rows.

    Args:
        boxes: (n, 4) training boxes in pixels of the frame.
        source: (height, width) of the frame.
        scale: size of the uniform canvas over that of the frame.
        zoom: scale of the band over `scale`.

    Returns:
        The window, and the share of boxes that it holds whole.

    Raises:
        LzuError: the whole frame costs no more at this density, so that there is nothing to choose.
    """
    height, width = source
    budget = np.prod(padded_size((int(height * scale), int(width * scale))))
    across = padded_size((1, int(width * scale * zoom)))[1]
    rows = int(budget // across // 32 * 32 / (scale * zoom))
    if not 32 <= rows < height:
        raise LzuError(
            f"a band at {scale * zoom:g}x would have {rows} of {height} rows; give another scale"
        )
    starts = np.arange(height - rows + 1)
    tops, bottoms = boxes[:, 1], boxes[:, 3]
    held = ((tops >= starts[:, None]) & (bottoms <= starts[:, None] + rows)).mean(axis=1)
    best = np.flatnonzero(held == held.max())
    first = int(best[len(best) // 2])
    return Window(x=0, y=first, width=width, height=rows), float(held[first])
