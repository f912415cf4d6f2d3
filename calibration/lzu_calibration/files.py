"""Read regular files up to a size limit, and replace files atomically."""

import errno
import json
import os
import secrets
import stat
from pathlib import Path
from typing import Any, BinaryIO

from lzu_calibration.errors import CalibrationError, WriteError

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_STREAMS = (Path("/dev"), Path("/dev/fd"))
"""System folders whose entries are written to directly."""


def read_bytes(path: Path, *, limit: int, remedy: str) -> bytes:
    """Read a regular file without waiting for a pipe.

    Args:
        path: file to read; links are followed.
        limit: largest size in bytes.
        remedy: end of the message of an error.

    Raises:
        CalibrationError: the file is missing, unreadable, not a regular file, or too large.
    """
    try:
        with _open(path, remedy) as stream:
            size = os.fstat(stream.fileno()).st_size
            if size > limit:
                raise CalibrationError(
                    f"{path} has {size} bytes where at most {limit} are read; {remedy}"
                )
            content = stream.read(size + 1)
            if len(content) > size:  # the file grew, or reports no size, as in /proc
                content += stream.read(limit + 1 - len(content))
    except OSError as error:
        circle = error.errno == errno.ELOOP
        reason = "its symbolic links lead in a circle" if circle else error.strerror or error
        raise CalibrationError(f"{path} cannot be read ({reason}); {remedy}") from error
    if len(content) > limit:
        raise CalibrationError(f"{path} has more than {limit} bytes; {remedy}")
    return content


def parse_json(content: bytes) -> Any:
    """Parse JSON in which no key occurs twice in one object.

    Raises:
        ValueError: the content is not such JSON.
    """
    try:
        return json.loads(content, object_pairs_hook=_unique)
    except (RecursionError, MemoryError) as error:
        raise ValueError("it is nested too deep or too large") from error


def write_text(path: Path, text: str, what: str) -> None:
    """Write UTF-8 text to a new file, then replace the old file by one rename.

    A symbolic link is replaced, and its target is not changed. A character device, such as
    /dev/null, is written to directly.

    Args:
        path: file to write.
        text: new content of the file.
        what: name of the file in the message of an error.

    Raises:
        CalibrationError: the path is a folder or a block device.
        WriteError: the file cannot be written.
    """
    new = path.with_name(f".{path.name}.{secrets.token_hex(8)}.new")
    try:
        if _is_stream(path):
            path.write_text(text, encoding="utf-8")
            return
        try:
            new.write_text(text, encoding="utf-8")
            os.replace(new, path)
        finally:
            new.unlink(missing_ok=True)
    except OSError as error:
        raise WriteError(what, error) from error


def _open(path: Path, remedy: str) -> BinaryIO:
    def opener(name: str, flags: int) -> int:
        # Without O_NONBLOCK, opening a pipe waits for its writer.
        number = os.open(name, flags | os.O_NONBLOCK)
        mode = os.fstat(number).st_mode
        if stat.S_ISREG(mode):
            return number
        os.close(number)
        raise CalibrationError(f"{path} is {_kind(mode)}, not a file; {remedy}")

    try:
        return open(path, "rb", opener=opener)
    except ValueError as error:  # a NUL in the path
        raise CalibrationError(f"{str(path)!r} is no path ({error}); {remedy}") from error


def _is_stream(path: Path) -> bool:
    """Return whether a path is written to directly.

    Raises:
        CalibrationError: the path is a folder or a block device.
    """
    place = Path(os.path.abspath(path))
    try:
        mode = place.lstat().st_mode
    except FileNotFoundError:
        return False
    if place.parent in _STREAMS or place.parts[1:2] == ("proc",):
        return not stat.S_ISDIR(mode)
    if stat.S_ISDIR(mode) or stat.S_ISBLK(mode):
        raise CalibrationError(f"{path} is {_kind(mode)}, not a file; name another place")
    return stat.S_ISCHR(mode)


def _kind(mode: int) -> str:
    return _KINDS.get(stat.S_IFMT(mode), "something else")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key occurs twice in one object")
    return found
