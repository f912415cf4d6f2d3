"""Files that networks of users' own are exported from: weights and knots, beside the bundles."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import mkdtemp
from types import TracebackType

from lzu_export.errors import readable_os_errors
from lzu_export.support.files.hashes import sha256

FOLDER = "inputs"
"""Name of the folder below that of all bundles; each bundle has a folder in it."""
DIGITS = 12
"""Number of digits of the SHA-256 in a file's name."""


class Inputs:
    """The input files of one command, a context.

    Names of files have a hash of their contents, so that those of an earlier export are never
    overwritten. These are removed when the block ends; if it fails, its own files are instead.
    """

    def __init__(self, out: Path) -> None:
        """Take the folder of all bundles; nothing is written yet."""
        self._out = out
        self._files: list[Path] = []  # all that were asked for
        self._made: list[Path] = []  # files and folders that were not there before, in order

    def write(self, bundle: str, name: str, write: Callable[[Path], object]) -> Path:
        """Write a file, and return its absolute path.

        Args:
            bundle: name of the bundle's folder.
            name: name of the file, before the hash is added.
            write: function that writes the file to a path.

        Raises:
            LzuError: the disk refuses.
        """
        folder = self._folder(bundle)
        with readable_os_errors(f"the folder {folder}"):
            part = Path(mkdtemp(prefix=".", dir=folder))
            try:
                write(part / name)
                digest = sha256(part / name)[:DIGITS]
                path = folder / f"{Path(name).stem}-{digest}{Path(name).suffix}"
                if not path.exists():
                    self._made.append(path)
                os.replace(part / name, path)
            finally:
                (part / name).unlink(missing_ok=True)
                part.rmdir()
        self._files.append(path)
        return path.resolve()

    def _folder(self, bundle: str) -> Path:
        """Return the folder of a bundle's inputs; make it, and those above, where they lack."""
        folder = self._out / FOLDER / bundle
        missing = [each for each in (folder, *folder.parents) if not each.exists()]
        with readable_os_errors(f"the folder {folder}"):
            folder.mkdir(parents=True, exist_ok=True)
        self._made += reversed(missing)
        return folder

    def __enter__(self) -> "Inputs":
        """Begin a command."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _error: object, _trace: TracebackType | None
    ) -> None:
        """Remove the files of earlier exports; after an error, those of this one."""
        if kind is not None:
            for path in reversed(self._made):
                with suppress(OSError):  # a folder in which others have written stays
                    path.rmdir() if path.is_dir() else path.unlink()
            return
        for folder in {path.parent for path in self._files}:
            for path in set(folder.iterdir()) - set(self._files):
                with suppress(OSError):
                    path.unlink()
