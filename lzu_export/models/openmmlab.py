"""Read class names and normalisation from OpenMMLab checkpoints, as data.

Both generations keep the whole training config as text. No line of it is run: the few values that
matter are cut out and read as literals.
"""

import ast
import re
from collections.abc import Mapping
from itertools import islice
from typing import Any, NamedTuple

MOST_TEXT = 1 << 21
"""Largest number of characters of a config that are searched."""
MOST_MEANS = 100
"""Largest number of places of a config that are searched."""
AROUND = 2000
"""Characters on either side of a mean in which its dictionary must begin and end."""

_MEAN = re.compile(r"""(?:\bmean\s*=|['"]mean['"]\s*:)\s*([\[(][^\[\]()]{1,200}[\])])""")
_STD = re.compile(r"""(?:\bstd\s*=|['"]std['"]\s*:)\s*([\[(][^\[\]()]{1,200}[\])])""")
_RGB = re.compile(r"""(?:\b(?:bgr_)?to_rgb\s*=|['"](?:bgr_)?to_rgb['"]\s*:)\s*(True|False)\b""")


class Normalised(NamedTuple):
    """A normalisation, channels in the order of the network."""

    order: str
    mean: tuple[float, ...]
    std: tuple[float, ...]


def class_names(meta: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The names in `CLASSES` (mmdet 2.x) or `dataset_meta.classes` (3.x), in their order."""
    places = [meta]
    if isinstance(inner := meta.get("dataset_meta"), Mapping):
        places.insert(0, inner)
    for place, key in ((place, key) for place in places for key in ("classes", "CLASSES")):
        names: Any = place.get(key)
        if isinstance(names, str) and place is not meta:
            names = (names,)
        listed = isinstance(names, (list, tuple)) and bool(names)
        if listed and all(isinstance(name, str) for name in names):
            return tuple(names)
    return None


def normalisation(meta: Mapping[str, Any]) -> Normalised | None:
    """What the stored config normalises images by; None where it says nothing, or several things.

    Of 3.x the data preprocessor, of 2.x the pipelines' `Normalize`.
    """
    for key in ("cfg", "config"):
        text = meta.get(key)
        if isinstance(text, str):
            found = _in_text(text[:MOST_TEXT])
            if len(found) == 1:
                return found.pop()
    return None


def _in_text(text: str) -> set[Normalised]:
    found: set[Normalised] = set()
    for match in islice(_MEAN.finditer(text), MOST_MEANS):
        around = _enclosing(text, match.start())
        std, rgb = _STD.search(around), _RGB.search(around)
        mean_values = _numbers(match[1])
        std_values = _numbers(std[1]) if std else None
        if mean_values is None or std_values is None or len(mean_values) != len(std_values):
            continue
        # Where neither is said, 2.x converts and 3.x does not; only 2.x has these dictionaries.
        old = (
            "Normalize" in around
            or "img_norm_cfg" in text[max(0, match.start() - 80) : match.start()]
        )
        is_rgb = rgb[1] == "True" if rgb else old
        found.add(Normalised("rgb" if is_rgb else "bgr", mean_values, std_values))
    return found


def _enclosing(text: str, at: int) -> str:
    """The innermost bracket around a place, without what stands in brackets within it."""
    begin, depth = at, 0
    while begin > max(0, at - AROUND):
        begin -= 1
        depth += text[begin] in ")]}"
        if text[begin] in "([{":
            if depth == 0:
                break
            depth -= 1
    end, depth = at, 0
    while end < min(len(text), at + AROUND):
        depth += text[end] in "([{"
        if text[end] in ")]}":
            if depth == 0:
                break
            depth -= 1
        end += 1
    return text[begin:end]


def _numbers(text: str) -> tuple[float, ...] | None:
    try:
        values = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    if not isinstance(values, (list, tuple)):
        return None
    if not all(isinstance(each, (int, float)) and not isinstance(each, bool) for each in values):
        return None
    return tuple(float(each) for each in values)
