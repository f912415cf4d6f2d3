"""Read the edit lists of MP4 and QuickTime files, which define the part of a video to be shown."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

MOST_BYTES = 1 << 26
"""Size in bytes of the largest `moov` box that is read."""


class _Box(NamedTuple):
    kind: bytes
    content: bytes


def edited_seconds(path: Path) -> float | None:
    """Duration in seconds that the edit list of a file's video shows; None if it has no such list.

    A phone or an editor that trims without encoding anew leaves all frames in the file. The edit
    list defines which of them count, so that fewer are decoded than the file has.
    """
    try:
        with path.open("rb") as file:
            movie = _movie(file)
            return None if movie is None else _video_edit(movie)
    except (OSError, struct.error, IndexError, ZeroDivisionError):
        return None


def _movie(file: BinaryIO) -> bytes | None:
    """Read the content of the file's `moov` box; None if there is none, or it is too large."""
    while len(head := file.read(8)) == 8:
        size, kind = struct.unpack(">I4s", head)
        skipped = 8
        if size == 1:
            (size,) = struct.unpack(">Q", file.read(8))
            skipped = 16
        if kind == b"moov":
            return None if size > MOST_BYTES else file.read(size - skipped)
        if size < skipped:
            return None  # a box up to the end of the file, or damage
        file.seek(size - skipped, 1)
    return None


def _video_edit(movie: bytes) -> float | None:
    scale = 0
    for box in _boxes(movie):
        if box.kind == b"mvhd":
            (scale,) = struct.unpack_from(">I", box.content, 20 if box.content[0] == 1 else 12)
        if box.kind != b"trak":
            continue
        parts = {each.kind: each.content for each in _boxes(box.content)}
        handler = {each.kind: each.content for each in _boxes(parts.get(b"mdia", b""))}
        if handler.get(b"hdlr", b"")[8:12] != b"vide":
            continue
        lists = {each.kind: each.content for each in _boxes(parts.get(b"edts", b""))}
        edits = lists.get(b"elst")
        return None if edits is None else _shown(edits) / scale
    return None


def _shown(edits: bytes) -> int:
    """Units of the movie's clock for which an edit list shows the media."""
    entry = ">Qq4x" if edits[0] == 1 else ">Ii4x"
    (count,) = struct.unpack_from(">I", edits, 4)
    size = struct.calcsize(entry)
    total = 0
    for i in range(min(count, (len(edits) - 8) // size)):
        duration, start = struct.unpack_from(entry, edits, 8 + i * size)
        total += duration if start >= 0 else 0  # an entry without media is a pause
    return total


def _boxes(content: bytes) -> Iterator[_Box]:
    place = 0
    while place + 8 <= len(content):
        size, kind = struct.unpack_from(">I4s", content, place)
        if size < 8:
            return
        yield _Box(kind, content[place + 8 : place + size])
        place += size
