"""Read nuScenes' JSON tables row by row, since the largest have millions of rows."""

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, TypeVar

from lzu_export.errors import LzuError
from lzu_export.support.files import open_regular

CHUNK = 1 << 20  # characters read at once
LONGEST_ROW = 1 << 26  # characters; longer text is no row, and would be decoded again and again
BETWEEN = " \t\r\n,"

Kept = TypeVar("Kept")


def kept_rows(path: Path, keep: Callable[[dict[str, Any]], Kept | None]) -> Iterator[Kept]:
    """Yield the results of `keep` for a table's rows, except None; one row at a time is in memory.

    Raises:
        LzuError: the table is missing, is no regular file or is damaged, or a row lacks a field
            that `keep` reads.
    """
    remedy = "unpack the nuScenes metadata there"
    try:
        with open_regular(path, remedy=remedy) as file:
            for row in _rows(io.TextIOWrapper(file, encoding="utf-8-sig")):
                kept = keep(row)
                if kept is not None:
                    yield kept
    except OSError as error:
        raise LzuError(f"{path} cannot be read ({error.strerror}); {remedy}") from error
    except KeyError as error:
        raise LzuError(
            f"{path} has a row without the field {error.args[0]}; unpack the metadata again"
        ) from error
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise LzuError(f"{path} is damaged ({error}); unpack the metadata again") from error


def _rows(stream: IO[str]) -> Iterator[dict[str, Any]]:
    """Yield the rows of a list, decoded one by one as the text is read."""
    decoder = json.JSONDecoder()
    text = stream.read(CHUNK).lstrip()
    if not text.startswith("["):
        raise ValueError("it is no list of rows")
    place = 1
    while True:
        while place < len(text) and text[place] in BETWEEN:
            place += 1
        if text.startswith("]", place):
            return
        try:
            row, end = decoder.raw_decode(text, place)
        except ValueError:
            more = stream.read(CHUNK)
            if not more or len(text) - place > LONGEST_ROW:
                raise
            text, place = text[place:] + more, 0
            continue
        if not isinstance(row, dict):
            raise ValueError(f"{row!r:.40} is no row")
        yield row
        place = end
