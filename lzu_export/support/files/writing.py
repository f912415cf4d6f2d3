"""Write files whole or not at all, and only where they belong.

A folder may come from anyone, and a link in it lead anywhere: what is written takes the place of a
link, never that of what the link points to.
"""

import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lzu_export.errors import LzuError
from lzu_export.support.files.reading import kind_of

_STREAMS = (Path("/dev"), Path("/dev/fd"))
"""Folders of the system whose entries are written to, links to files among them."""


@contextmanager
def replacing(path: Path, *, named: bool = False) -> Iterator[Path]:
    """A path beside a file to write to; at the end it takes the file's place in one rename.

    Readers see the old file or the new one, never a part, and of several writers the last one's.
    After an error the old one stays and nothing remains of the new one. A symbolic link is replaced
    by the file; what it points to stays as it is. A character device, such as /dev/null or
    /dev/stdout, is written to itself.

    Args:
        path: of the file.
        named: the user named this very path: a pipe there is written to, where otherwise it is
            replaced like a file.

    Raises:
        OSError: it cannot be written.
        LzuError: a folder or a disk is in the way.
    """
    if _is_stream(path, named=named):
        yield path
        return
    new = path.with_name(f".{path.name}.{secrets.token_hex(8)}.new")
    try:
        yield new
        os.replace(new, path)
    finally:
        new.unlink(missing_ok=True)


def write_text(path: Path, text: str, *, named: bool = False) -> None:
    """Write UTF-8 text, see `replacing`.

    Raises:
        OSError: it cannot be written.
        LzuError: a folder or a disk is in the way.
    """
    with replacing(path, named=named) as new:
        new.write_text(text, encoding="utf-8")


def _is_stream(path: Path, *, named: bool) -> bool:
    """Whether a path is written to as it is."""
    place = Path(os.path.abspath(path))
    try:
        mode = place.lstat().st_mode
    except FileNotFoundError:
        return False
    if place.parent in _STREAMS or place.parts[1:2] == ("proc",):
        return not stat.S_ISDIR(mode)
    if stat.S_ISDIR(mode) or stat.S_ISBLK(mode):
        raise LzuError(f"{path} is {kind_of(mode)}, not a file; name another place")
    return stat.S_ISCHR(mode) or (stat.S_ISFIFO(mode) and named)


def make_folder(path: Path, *, below: Path) -> None:
    """Make a folder below another one, or find it there.

    Raises:
        OSError: it cannot be made.
        LzuError: a link or a file is in the way.
    """
    if path != below:
        make_folder(path.parent, below=below)
        if path.is_symlink():
            raise LzuError(f"{path} is a symbolic link, which is not followed; remove it")
    path.mkdir(exist_ok=True)


def clear(path: Path) -> None:
    """Remove a folder and all in it, or the link that stands there, not what it points to."""
    if path.is_symlink():
        path.unlink()
    else:
        shutil.rmtree(path, ignore_errors=True)
