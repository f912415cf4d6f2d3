"""Read files from untrusted sources: bounded, and without waiting for a pipe.

The size is checked before anything is read, so that neither an endless device nor a sparse file
fills the memory.
"""

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from lzu_export.errors import LzuError

MIB = 1 << 20
JSON_LIMIT = 1024 * MIB
"""Largest JSON file in bytes: annotations of large data sets take some hundred MiB."""
JSON_DEPTH = 64
"""Deepest nesting of JSON that is read."""
REMEDY = "give another file"


def open_regular(path: Path, *, remedy: str = REMEDY) -> BinaryIO:
    """Open a regular file for reading; links to one are followed.

    Raises:
        LzuError: the file is missing, unreadable, a folder, a pipe, a socket or a device.
    """
    try:
        # Without O_NONBLOCK the open itself would wait for the writer of a pipe.
        number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise LzuError(f"{path} cannot be read ({_reason(error)}); {remedy}") from error
    except ValueError as error:  # a NUL in the path
        raise LzuError(f"{str(path)!r} is no path ({error}); {remedy}") from error
    try:
        mode = os.fstat(number).st_mode
        if not stat.S_ISREG(mode):
            raise LzuError(f"{path} is {kind_of(mode)}, not a file; {remedy}")
        return os.fdopen(number, "rb")
    except BaseException:
        os.close(number)
        raise


def read_bytes(path: Path, *, limit: int, remedy: str = REMEDY) -> bytes:
    """Read a regular file.

    Args:
        path: path of the file.
        limit: largest number of bytes that are read.
        remedy: advice that ends the error's sentence.

    Raises:
        LzuError: the file cannot be read, is not a regular file, or is larger than `limit`.
    """
    with open_regular(path, remedy=remedy) as stream:
        size = os.fstat(stream.fileno()).st_size
        if size > limit:
            raise LzuError(f"{path} has {size} bytes where at most {limit} are read; {remedy}")
        try:
            content = stream.read(size + 1)
            if len(content) > size:  # it grew, or has no known size, as in /proc
                content += stream.read(limit + 1 - len(content))
        except OSError as error:
            raise LzuError(f"{path} cannot be read ({_reason(error)}); {remedy}") from error
    if len(content) > limit:
        raise LzuError(f"{path} has more than {limit} bytes; {remedy}")
    return content


def read_text(path: Path, *, limit: int = 16 * MIB, remedy: str = REMEDY) -> str:
    """Read the text of a UTF-8 file, without a byte order mark.

    Raises:
        LzuError: see `read_bytes`; or the file is not UTF-8.
    """
    content = read_bytes(path, limit=limit, remedy=remedy)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise LzuError(f"{path} is not text in UTF-8 (byte {error.start}); {remedy}") from error


def read_json(
    path: Path, *, limit: int = JSON_LIMIT, depth: int = JSON_DEPTH, remedy: str = REMEDY
) -> Any:
    """Read a JSON file, see `parse_json`.

    Raises:
        LzuError: see `read_bytes`; or `parse_json` refuses the content.
    """
    content = read_bytes(path, limit=limit, remedy=remedy)
    try:
        return parse_json(content, depth=depth)
    except ValueError as error:
        raise LzuError(f"{path} is not valid JSON ({error}); {remedy}") from error


def parse_json(
    content: bytes | str, *, depth: int = JSON_DEPTH, unique: bool = False, strict: bool = False
) -> Any:
    """Parse JSON in UTF-8, 16 or 32 to plain data, with or without a byte order mark.

    Args:
        content: bytes, or text.
        depth: deepest nesting that is accepted.
        unique: refuse a key that is given twice in one object.
        strict: refuse NaN and infinities, which JSON lacks, and numbers too large for a float.

    Raises:
        ValueError: the content is no such JSON; the message names the reason and the place.
    """
    encoding = "" if isinstance(content, str) else json.detect_encoding(content)
    try:
        text = content if isinstance(content, str) else content.decode(encoding)
        data = json.loads(
            text,
            object_pairs_hook=_unique if unique else None,
            parse_constant=_refuse_constant if strict else None,
            parse_float=_finite if strict else None,
        )
        if _deeper(data, depth):
            raise ValueError(f"it is nested more than {depth} deep")
    except UnicodeDecodeError as error:
        called = encoding.removesuffix("-sig").upper()
        raise ValueError(f"byte {error.start} is not {called}") from error
    except RecursionError as error:
        raise ValueError(f"it is nested more than {depth} deep") from error
    except MemoryError as error:
        raise ValueError("it does not fit into memory") from error
    return data


def kind_of(mode: int) -> str:
    """Return the kind of a file that is not a regular one, in words."""
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
        stat.S_IFLNK: "a symbolic link",
    }
    return kinds.get(stat.S_IFMT(mode), "something else")


def _reason(error: OSError) -> str:
    if error.errno == errno.ELOOP:
        return "its symbolic links lead in a circle"
    return error.strerror or str(error)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"key {twice!r} stands twice in one object")
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _finite(digits: str) -> float:
    value = float(digits)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"the number {digits[:40]} is too large")
    return value


def _deeper(data: Any, depth: int) -> bool:
    """Whether lists and objects are nested deeper than `depth`."""
    level = [data]
    for _ in range(depth + 1):
        level = [
            child
            for each in level
            if isinstance(each, (dict, list))
            for child in (each.values() if isinstance(each, dict) else each)
            if isinstance(child, (dict, list))
        ]
        if not level:
            return False
    return True
