"""Write text on pictures, sized to the picture, inside it and clear of other text. OpenCV only."""

from collections.abc import Sequence

import cv2

from lzu_export.inputs.frame import Frame
from lzu_export.runtime.palette import Colour

FONT = cv2.FONT_HERSHEY_SIMPLEX
FONT_SIZE = 0.38
"""OpenCV's font scale at lines one pixel wide."""
Area = tuple[int, int, int, int]
"""Rectangle x1, y1, x2, y2 in pixels."""
DARK = 90
"""Luminance (0 to 255) below which letters are white: black letters would have a contrast of less
than a third of 255, since strokes of one pixel are drawn with as little as 95 % of their ink."""
TALL = "Ag"
"""Sample text that sets the height of every text, so that lines are level."""


def unit_of(picture: Frame) -> int:
    """Return the line width in pixels, which scales everything that is drawn."""
    return max(1, round(min(picture.shape[:2]) / 400))


def text_size(text: str, unit: int) -> tuple[int, int]:
    """Return (width, height) in pixels of a text with its margin."""
    (width, _), _ = cv2.getTextSize(text, FONT, FONT_SIZE * unit, unit)
    (_, height), base = cv2.getTextSize(TALL, FONT, FONT_SIZE * unit, unit)
    return width + 2 * unit, height + base


def place(picture: Frame, text: str, corner: tuple[int, int], unit: int) -> Area:
    """Return the area of a text inside the picture, with its lower left at `corner` if possible."""
    width, height = text_size(text, unit)
    x = min(max(corner[0], 0), max(picture.shape[1] - width, 0))
    y = min(max(corner[1], height), picture.shape[0])
    return x, y - height, x + width, y


def overlap(a: Area, b: Area) -> bool:
    """Whether two areas share a pixel."""
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def write(picture: Frame, text: str, area: Area, colour: Colour, unit: int) -> None:
    """Write text in its area on a background of `colour`: black, or white on a dark colour."""
    x1, y1, x2, y2 = area
    cv2.rectangle(picture, (x1, y1), (x2, y2), colour, cv2.FILLED)
    luminance = 0.114 * colour[0] + 0.587 * colour[1] + 0.299 * colour[2]  # ITU-R BT.601
    ink = (255, 255, 255) if luminance < DARK else (0, 0, 0)
    letters(picture, text, area, ink, unit)


def letters(picture: Frame, text: str, area: Area, colour: Colour, unit: int) -> None:
    """Write text of `colour` in its area, without a background."""
    _, base = cv2.getTextSize(TALL, FONT, FONT_SIZE * unit, unit)
    foot = (area[0] + unit, area[3] - base // 2)
    cv2.putText(picture, text, foot, FONT, FONT_SIZE * unit, colour, unit, cv2.LINE_AA)


def name_box(
    picture: Frame, text: str, box: Sequence[int], taken: list[Area], colour: Colour, unit: int
) -> None:
    """Write a name above a box, or below it where another name is in the way; else nowhere.

    Args:
        picture: (H, W, 3) uint8 BGR, which is drawn on.
        text: name to write.
        box: x1, y1, x2, y2 in pixels.
        taken: areas of the names so far, to which this one's is added.
        colour: colour of the background.
        unit: line width, see `unit_of`.
    """
    x1, y1, _, y2 = box
    for bottom in (y1, y2 + text_size(text, unit)[1]):
        area = place(picture, text, (x1, bottom), unit)
        if not any(overlap(area, other) for other in taken):
            taken.append(area)
            write(picture, text, area, colour, unit)
            return


def caption(picture: Frame, text: str, unit: int) -> None:
    """Write black text on white in the lower left corner, since legends are in the upper one."""
    area = place(picture, text, (4 * unit, picture.shape[0] - 4 * unit), unit)
    write(picture, text, area, (255, 255, 255), unit)


def legend_places(texts: Sequence[str], width: int, unit: int) -> tuple[list[Area], int]:
    """Compute the areas of a legend's entries, line by line, and its height in pixels.

    An entry is a square patch as high as its text, then the text.

    Args:
        texts: texts of the entries.
        width: width of the picture in pixels; a wider entry has its own line.
        unit: line width, see `unit_of`.
    """
    areas: list[Area] = []
    gap, line = 4 * unit, text_size(TALL, unit)[1] + 3 * unit
    x, y = gap, 2 * unit
    for text in texts:
        across, height = text_size(text, unit)
        across += height + 2 * unit
        if x > gap and x + across > width:
            x, y = gap, y + line
        areas.append((x, y, x + across, y + height))
        x += across + 2 * gap
    return areas, y + line + unit if areas else 0  # the margin below the last line


def legend(picture: Frame, entries: Sequence[tuple[str, Colour]], top: int, unit: int) -> None:
    """Draw a legend's patches and black texts below row `top`, without a background."""
    areas, _ = legend_places([text for text, _ in entries], picture.shape[1], unit)
    for (text, colour), (x1, y1, x2, y2) in zip(entries, areas, strict=True):
        side = y2 - y1
        corner, end = (x1, top + y1), (x1 + side, top + y2)
        cv2.rectangle(picture, corner, end, colour, cv2.FILLED)
        cv2.rectangle(picture, corner, end, (0, 0, 0), unit)
        area = (x1 + side + unit, top + y1, x2, top + y2)
        letters(picture, text, area, (0, 0, 0), unit)
