"""Read class names and normalisation from OpenMMLab checkpoints, as data.

Both generations store the whole training config as text. No line of it is run: the few values that
are needed are cut out and read as literals.
"""

import ast
import re
from collections.abc import Mapping
from itertools import islice
from typing import Any, NamedTuple

MOST_TEXT = 1 << 21
"""Number of characters at the beginning of a config that are searched."""
MOST_MEANS = 100
"""Largest number of means in a config that are examined."""
AROUND = 2000
"""Number of characters before and after a mean within which its dictionary must begin and end."""

_MEAN = re.compile(r"""(?:\bmean\s*=|['"]mean['"]\s*:)\s*([\[(][^\[\]()]{1,200}[\])])""")
_STD = re.compile(r"""(?:\bstd\s*=|['"]std['"]\s*:)\s*([\[(][^\[\]()]{1,200}[\])])""")
_RGB = re.compile(r"""(?:\b(?:bgr_)?to_rgb\s*=|['"](?:bgr_)?to_rgb['"]\s*:)\s*(True|False)\b""")


class Normalised(NamedTuple):
    """Normalisation of images, with channels in the order of the network."""

    order: str
    mean: tuple[float, ...]
    std: tuple[float, ...]


def class_names(meta: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Return the names in `CLASSES` (mmdet 2.x) or `dataset_meta.classes` (3.x), in their order."""
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
    """Return the normalisation of the stored config; None if it has none, or several that differ.

    It is that of the data preprocessor in 3.x, and of the pipelines' `Normalize` in 2.x.
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
        # Without this key, 2.x converts to RGB and 3.x does not; only 2.x has these dictionaries.
        old = (
            "Normalize" in around
            or "img_norm_cfg" in text[max(0, match.start() - 80) : match.start()]
        )
        is_rgb = rgb[1] == "True" if rgb else old
        found.add(Normalised("rgb" if is_rgb else "bgr", mean_values, std_values))
    return found


def _enclosing(text: str, at: int) -> str:
    """Return the text from the innermost bracket before a place to the bracket that closes it."""
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
