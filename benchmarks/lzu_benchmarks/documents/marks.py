"""Marks in Markdown pages: which figure of a page is which value of a command's JSON.

A mark is a comment below its figures, in the same section. It names a source (`sources.SOURCES`)
and gives, for each figure as the page spells it, a place in the source's result:

    <!-- figures of invert_warp: 2.0 = /levels/0/milliseconds +- 50 %; 5.1 = /levels/1/... -->

A place is a JSON Pointer (RFC 6901), or one operation: `POINTER minus POINTER`, `POINTER over
POINTER`, `POINTER times NUMBER`. A figure holds if it is the value rounded to the page's digits;
`+- 0.3` or `+- 20 %` behind the place allows more.

A whole table is marked by the place of its rows, and by the names that the source has for labels:

    <!-- table of records: /det; fixed warp = fixed; small = AP_small -->

The source has a list of numbers for each row and column. Rows and columns that it lacks are left
out.
"""

import operator
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lzu_export.errors import LzuError

MARK = re.compile(r"<!-- (figures|table) of ([\w-]+):(.*?)-->", re.DOTALL)
NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:e-?\d+)?")
ALLOWED = re.compile(r"^(.*?) \+- ([\d.e-]+)( %)?$")
OPERATIONS: dict[str, Callable[[float, float], float]] = {
    "minus": operator.sub,
    "over": operator.truediv,
    "times": operator.mul,
}
"""Operations on values of a result by the word of a mark."""


@dataclass(frozen=True)
class Figure:
    """A figure in a page."""

    page: str
    """Path of the page below the project's folder."""
    source: str
    text: str
    """The figure as the page spells it, such as `+4.34`."""
    place: str
    """Where the value is in the source's result."""
    allowed: float
    """Largest distance of the value from the page's number."""
    optional: bool = False
    """Whether the source may lack the value, as it may for a cell of a table."""

    @property
    def number(self) -> float:
        """The page's number."""
        return _number(self.text)

    def value(self, result: Any) -> float:
        """Return the figure's value in a source's result.

        Raises:
            LzuError: the result has no such value.
        """
        for word, apply in OPERATIONS.items():
            first, found, second = self.place.partition(f" {word} ")
            if found:
                other = _at(result, second, self) if second.startswith("/") else float(second)
                return apply(_at(result, first, self), other)
        return _at(result, self.place, self)

    def is_in(self, result: Any) -> bool:
        """Return whether a source's result has the figure's value."""
        try:
            self.value(result)
        except LzuError:
            return False
        return True

    def holds(self, value: float) -> bool:
        """Return whether the page's number is this value within what is allowed."""
        return abs(value - self.number) <= self.allowed * (1 + 1e-9) + 1e-12


def figures_in(text: str, page: str) -> Iterator[Figure]:
    """Yield the marked figures of a page.

    Raises:
        LzuError: a mark cannot be read, or its section does not hold a figure that it names.
    """
    for mark in MARK.finditer(text):
        kind, source = mark[1], mark[2]
        items = [item.strip() for item in " ".join(mark[3].split()).split(";") if item.strip()]
        section = MARK.sub("", text[: mark.start()].rpartition("\n#")[2])
        read = _table if kind == "table" else _single
        yield from read(items, section, page, source)


def _single(items: Sequence[str], section: str, page: str, source: str) -> Iterator[Figure]:
    """Yield the figures of a mark that names each."""
    for item in items:
        spelt, equals, place = item.partition(" = ")
        if not equals or not NUMBER.search(spelt) or not place.startswith("/"):
            raise LzuError(f"{page}: the mark {item!r} is not FIGURE = /PLACE; mend it")
        if not re.search(rf"(?<![\d.]){re.escape(spelt)}(?!\.?\d)", section):
            raise LzuError(
                f"{page}: the section before a mark of {source} does not hold {spelt}; "
                "correct the mark or the page"
            )
        limit = ALLOWED.match(place)
        allowed = _rounding(spelt)
        if limit is not None:
            place, amount = limit[1], float(limit[2])
            allowed = abs(_number(spelt)) * amount / 100 if limit[3] else amount
        yield Figure(page, source, spelt, place, allowed)


def _table(items: Sequence[str], section: str, page: str, source: str) -> Iterator[Figure]:
    """Yield the figures of the section's last table; the source decides which it has."""
    if not items or not items[0].startswith("/"):
        raise LzuError(f"{page}: a table's mark of {source} names no /PLACE first; mend it")
    names = dict(item.split(" = ", 1) for item in items[1:] if " = " in item)
    blocks = re.findall(r"(?:^\|.*\n)+", section, re.MULTILINE)
    if not blocks:
        raise LzuError(f"{page}: there is no table before a mark of {source}; mend it")
    head, _, *rows = (
        [cell.strip() for cell in line.strip("|").split("|")] for line in blocks[-1].splitlines()
    )
    if unknown := set(names) - {*head, *(row[0] for row in rows)}:
        raise LzuError(f"{page}: no row or column is called {', '.join(unknown)}; mend the mark")
    for label, *cells in rows:
        for column, cell in zip(head[1:], cells, strict=True):
            path = f"{items[0]}/{names.get(label, label)}/{names.get(column, column)}"
            for i, spelt in enumerate(NUMBER.findall(cell)):
                yield Figure(page, source, spelt, f"{path}/{i}", _rounding(spelt), optional=True)


def pages(root: Path) -> dict[str, str]:
    """Return the texts of the project's pages that may hold marks, by their paths.

    Raises:
        LzuError: the folder is no checkout.
    """
    if not (root / "README.md").is_file() or not (root / "docs").is_dir():
        raise LzuError(f"{root} holds no README.md with docs; run this in a checkout")
    found = [root / "README.md", *sorted((root / "docs").glob("*.md"))]
    return {str(path.relative_to(root)): path.read_text(encoding="utf-8") for path in found}


def all_figures(root: Path) -> list[Figure]:
    """Return the marked figures of all pages.

    Raises:
        LzuError: see `pages` and `figures_in`.
    """
    return [each for page, text in pages(root).items() for each in figures_in(text, page)]


def _number(text: str) -> float:
    found = NUMBER.search(text)
    assert found is not None, "checked when the mark was read"
    return float(found[0])


def _rounding(text: str) -> float:
    """Return half a unit of a number's last digit."""
    found = NUMBER.search(text)
    assert found is not None, "checked when the mark was read"
    digits = len(found[0].partition(".")[2])
    return 0.5 * float(10**-digits)


def _at(result: Any, pointer: str, figure: Figure) -> float:
    value = result
    for part in pointer.strip().split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        try:
            value = value[int(key)] if isinstance(value, list) else value[key]
        except (KeyError, IndexError, ValueError, TypeError):
            raise LzuError(
                f"{figure.page}: {figure.source} has nothing at {pointer} for {figure.text}; "
                "correct the mark"
            ) from None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise LzuError(f"{figure.page}: {figure.source} has no number at {pointer}")
    return float(value)
