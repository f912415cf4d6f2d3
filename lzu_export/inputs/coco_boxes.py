"""Read boxes of COCO annotations and check each against its frame."""

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from lzu_export.errors import LzuError

log = logging.getLogger(__name__)
OVERHANG = 2.0
"""Pixels that a box may reach beyond its frame, for rounding and coordinates counted from 1."""
RARE = 1000
"""Boxes of which one may be odd: without width or height, or within the frame's first pixel."""

Id: TypeAlias = int | str


class CocoImage(NamedTuple):
    """An image that annotations list."""

    id: Id | None
    """Id of the image; None if the entry has none, which is accepted only without boxes."""
    size: tuple[int, int] | None
    """Size (height, width) that the entry gives; None if it gives none."""
    key: str
    """File name of the image, with `/` between folders."""
    places: tuple[Path, ...]
    """Paths at which the image's file may be."""
    sequence: Any
    """Number or name of the image's sequence; None if the entry gives none."""
    order: Any
    """Number or name of the image within its sequence; 0 if the entry gives none."""


class CocoObject(NamedTuple):
    """An annotated object."""

    name: str
    """Name of the annotation in messages, such as `annotation 17`."""
    image: Id
    label: int
    """Index of the object's class among the classes."""
    box: tuple[float, float, float, float]
    """Box of the object: x, y, width, height in pixels of the image."""
    area: float
    """Annotated area in square pixels; width times height if none is annotated."""
    crowd: bool

    @property
    def is_empty(self) -> bool:
        """Whether the box has no width or no height."""
        return not (self.box[2] > 0 and self.box[3] > 0)


def extent_of(
    path: Path, name: str, entry: Mapping[str, Any]
) -> tuple[tuple[float, float, float, float], float, bool]:
    """Read an annotation's box, area and crowd mark, and check each by itself."""
    box = entry.get("bbox")
    if not isinstance(box, list) or len(box) != 4:
        words = "no bbox" if box is None else f"the bbox {shown(box)}"
        values = f" of {len(box)} values" if isinstance(box, list) else ""
        raise LzuError(f"{path}: {name} has {words}{values}; give x, y, width and height in pixels")
    x, y, width, height = (_number(value) for value in box)
    if not all(map(math.isfinite, (x, y, width, height))):
        raise LzuError(
            f"{path}: {name} has the bbox {shown(box)}; give four finite numbers: x, y, width and "
            "height in pixels"
        )
    if width < 0 or height < 0:
        raise LzuError(
            f"{path}: {name} has the bbox {shown(box)}, whose sides are not positive; give x, y, "
            "width and height in pixels, from the upper left corner"
        )
    area = _number(entry["area"]) if entry.get("area") is not None else width * height
    if not (math.isfinite(area) and area >= 0):
        raise LzuError(f"{path}: {name} has the area {shown(entry['area'])}; give square pixels")
    crowd = entry.get("iscrowd", 0)
    if crowd not in (0, 1):
        raise LzuError(f"{path}: {name} has the iscrowd {shown(crowd)}; give 0 or 1")
    return (x, y, width, height), area, bool(crowd)


def check_numbers(path: Path, annotations: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
    """Check that no id of an annotation is repeated; COCO's tools keep only one of those."""
    seen: set[Any] = set()
    for name, entry in annotations:
        number = entry.get("id")
        if number is None:
            continue
        if isinstance(number, list | dict):
            raise LzuError(f"{path}: {name} has an id that is no number; number annotations")
        if number in seen:
            raise LzuError(f"{path} has two annotations of one id, {name}; number them apart")
        seen.add(number)


def check_boxes(path: Path, objects: Sequence[CocoObject], images: Mapping[Any, CocoImage]) -> None:
    """Check boxes against their frames, and that they are not corners x1, y1, x2, y2."""
    for each in objects:
        size = images[each.image].size
        if size is None:
            continue
        x, y, width, height = each.box
        beyond = max(-x, -y, x + width - size[1], y + height - size[0])
        if beyond > OVERHANG:
            hint = " (they look like corners)" if _are_corners(objects, images) else ""
            raise LzuError(
                f"{path}: {each.name} has the bbox {shown(each.box)}, which reaches {beyond:g} "
                f"pixels beyond its frame, {size[1]} wide and {size[0]} high; give x, y, width and "
                f"height in pixels{hint}, and clip boxes to the frame"
            )
    tiny = [each for each in objects if max(each.box) <= 1 and _is_large(images[each.image])]
    _check_rare(path, tiny, len(objects), "within the first pixel of its frame, as shares of the "
                "frame would be; give x, y, width and height in pixels")  # fmt: skip
    empty = [each for each in objects if each.is_empty]
    _check_rare(path, empty, len(objects), "whose sides are not positive; remove it, or give its "
                "width and height")  # fmt: skip
    named = [each for each in objects if each.area and not each.crowd and not each.is_empty]
    corners = [each for each in named if _is_area_of_corners(each)]
    if 2 * len(corners) > len(named):
        raise LzuError(
            f"{path}: {corners[0].name} has the bbox {shown(corners[0].box)} and the area "
            f"{corners[0].area:g}, which is that of corners x1, y1, x2, y2; give x, y, width and "
            "height in pixels"
        )


def _is_large(image: CocoImage) -> bool:
    return image.size is None or min(image.size) > 8


def _check_rare(path: Path, odd: Sequence[CocoObject], count: int, words: str) -> None:
    if RARE * len(odd) > count:
        raise LzuError(f"{path}: {odd[0].name} has the bbox {shown(odd[0].box)}, {words}")
    if odd:
        log.warning(
            "%s: %d of %d boxes are odd, the first of %s: bbox %s, %s",
            path, len(odd), count, odd[0].name, shown(odd[0].box), words,
        )  # fmt: skip


def _are_corners(objects: Sequence[CocoObject], images: Mapping[Any, CocoImage]) -> bool:
    """Whether all boxes would lie in their frames if they were corners."""
    for each in objects:
        size = images[each.image].size
        x1, y1, x2, y2 = each.box
        if x2 < x1 or y2 < y1:
            return False
        if size is not None and (x2 > size[1] + OVERHANG or y2 > size[0] + OVERHANG):
            return False
    return True


def _is_area_of_corners(each: CocoObject) -> bool:
    """Whether the area fits the box read as corners and not the box as it is."""
    x, y, width, height = each.box
    as_corners = (width - x) * (height - y) if width > x and height > y else 0.0
    return math.isclose(each.area, as_corners, rel_tol=0.01) and not math.isclose(
        each.area, width * height, rel_tol=0.05
    )


def _number(value: Any) -> float:
    """Convert a JSON number to float; NaN for anything else."""
    if type(value) not in (int, float):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.inf


def shown(value: Any) -> str:
    """Format a value for a message, shortened to 60 characters."""
    if isinstance(value, tuple):
        value = [int(each) if each == int(each) else round(each, 3) for each in value]
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
