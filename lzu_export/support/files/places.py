"""Find the user's cache folder and what was built there, and record what this user built."""

import os
from contextlib import suppress
from pathlib import Path

from lzu_export.errors import LzuError
from lzu_export.support import checkout
from lzu_export.support.files.reading import read_text
from lzu_export.support.files.writing import write_text

RECORD = "built.sha256"
"""Name of the file with lines of `sha256sum`, one per library or engine that this user built."""


def user_folder() -> Path | None:
    """Return `LZU_CACHE`, else `lzu_export` in the user's cache folder; None without a home.

    Deleting the folder costs time, and the record of what the user built.
    """
    if own := os.environ.get("LZU_CACHE"):
        return Path(own)
    if caches := os.environ.get("XDG_CACHE_HOME"):
        return Path(caches) / "lzu_export"
    with suppress(RuntimeError, KeyError):
        return Path.home() / ".cache" / "lzu_export"
    return None


def build_folder(name: str = "plugins") -> Path | None:
    """Return the folder where plugins are built by default; None without a home.

    Args:
        name: name of the build: `plugins`, or `plugins-aarch64` for another machine.

    Returns:
        `build/NAME` of a checkout, as of its Makefile; otherwise `NAME` in the user's folder.
    """
    if checkout.in_checkout():
        return checkout.CHECKOUT / "build" / name
    folder = user_folder()
    return None if folder is None else folder.absolute() / name


def was_built_here(digest: str) -> bool:
    """Whether the user's record lists a file with this SHA-256 as built by this user."""
    folder = user_folder()
    if folder is None:
        return False
    try:
        lines = read_text(folder / RECORD).splitlines()
    except LzuError:
        return False  # nothing was built yet
    return any(line.split(maxsplit=1)[:1] == [digest] for line in lines)


def record_built(digest: str, name: str) -> None:
    """Record that this user built a file; do nothing if the folder cannot be written."""
    folder = user_folder()
    if folder is None or was_built_here(digest):
        return
    with suppress(OSError, LzuError):
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / RECORD
        before = read_text(path) if path.is_file() else ""
        write_text(path, f"{before}{digest}  {name}\n")
