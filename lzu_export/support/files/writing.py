"""Write files completely or not at all, and only in their own folder.

A folder may come from anyone, and a link in it may lead anywhere. A written file therefore replaces
a link itself, never the link's target.
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
"""System folders whose entries are written to directly, even links to files."""


@contextmanager
def replacing(path: Path, *, named: bool = False) -> Iterator[Path]:
    """Yield a temporary path to write to, which replaces the file in one rename afterwards.

    Readers see the old file or the new one, never a part. If there are several writers, the last
    one's file stays. After an error the old file stays, and nothing remains of the new one. A
    symbolic link is replaced by the file; its target is left unchanged. A character device, such as
    /dev/null or /dev/stdout, is written to directly.

    Args:
        path: path of the file.
        named: whether the user named this path: a pipe there is then written to, otherwise it is
            replaced like a file.

    Raises:
        OSError: the file cannot be written.
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
    """Write UTF-8 text to a file, see `replacing`.

    Raises:
        OSError: the file cannot be written.
        LzuError: a folder or a disk is in the way.
    """
    with replacing(path, named=named) as new:
        new.write_text(text, encoding="utf-8")


def _is_stream(path: Path, *, named: bool) -> bool:
    """Whether a path is written to directly, instead of being replaced."""
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
    """Make a folder below another one, unless it exists.

    Raises:
        OSError: the folder cannot be made.
        LzuError: a link or a file is in the way.
    """
    if path != below:
        make_folder(path.parent, below=below)
        if path.is_symlink():
            raise LzuError(f"{path} is a symbolic link, which is not followed; remove it")
    path.mkdir(exist_ok=True)


def clear(path: Path) -> None:
    """Remove a folder and everything in it; remove only the link if the path is a link."""
    if path.is_symlink():
        path.unlink()
    else:
        shutil.rmtree(path, ignore_errors=True)
