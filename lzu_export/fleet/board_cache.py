"""A board's cache of received archives: found by hash, complete or absent, bounded in size."""

import os
import shutil
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lzu_export.errors import LzuError, readable_os_errors
from lzu_export.support.files import clear, replacing
from lzu_export.support.files.hashes import sha256
from lzu_export.support.files.locking import holding
from lzu_export.support.files.places import user_folder

KEPT = 4 << 30
"""Largest size of all archives in bytes. Those of the work at hand are kept in any case."""


class BoardCache:
    """Archives in the user's folder (`LZU_CACHE`), and the folder in which they are unpacked."""

    def __init__(self, folder: Path | None = None, *, kept: int = KEPT) -> None:
        """Take the folder of the cache, by default `fleet` in the user's folder.

        Raises:
            LzuError: there is no such folder.
        """
        own = user_folder()
        if folder is None and own is None:
            raise LzuError("the board has no home for received bundles; set LZU_CACHE to a folder")
        self.folder = folder or Path(str(own)).absolute() / "fleet"
        self._kept = kept

    @contextmanager
    def alone(self) -> Iterator[Path]:
        """Hold the cache for one piece of work, and yield an empty folder to work in.

        What an earlier work left, which was killed, is removed before.

        Raises:
            LzuError: other work holds the cache, or the folder cannot be written.
        """
        refusal = (
            "the board works for another fleet; wait until that is done, or give it a folder of "
            "its own (LZU_CACHE)"
        )
        with holding(self.folder / "lock", f"the board's cache {self.folder}", refusal):
            work = self.folder / "work"
            clear(work)
            with readable_os_errors(f"the board's cache {self.folder}"):
                for left in self.folder.glob(".*.new"):  # a copy that was killed
                    left.unlink()
                work.mkdir()
            try:
                yield work
            finally:
                clear(work)

    def held(self, digests: Iterable[str]) -> list[str]:
        """Return the hashes whose archive is here and undamaged."""
        return [each for each in digests if self._path(each).is_file() and self._is_whole(each)]

    def keep(self, arrived: Path, digest: str) -> None:
        """Move an archive that arrived into the cache.

        Raises:
            LzuError: it is not the one with this hash, or cannot be written.
        """
        if sha256(arrived) != digest:
            raise LzuError(f"the archive {digest[:12]} arrived damaged; run the fleet again")
        with (
            readable_os_errors(f"the board's cache {self.folder}"),
            replacing(self._path(digest)) as new,
        ):
            shutil.move(arrived, new)

    def archive(self, digest: str) -> Path:
        """Return the path of an archive, and mark it as used.

        Raises:
            LzuError: it is not here, or is damaged.
        """
        path = self._path(digest)
        if not path.is_file() or not self._is_whole(digest):
            raise LzuError(
                f"the board's cache {self.folder} has lost the archive {digest[:12]}; run the "
                "fleet again"
            )
        os.utime(path)
        return path

    def prune(self, used: Collection[str], arriving: int = 0) -> None:
        """Remove the archives that were used longest ago, until the rest fits.

        They may take half of the disk's free space and their own, and no more than was chosen.

        Args:
            used: hashes of the archives that stay.
            arriving: size in bytes of archives that will be added.
        """
        there = sorted(self.folder.glob("*.tar"), key=lambda path: path.stat().st_mtime)
        total = sum(path.stat().st_size for path in there)
        room = min(self._kept, (shutil.disk_usage(self.folder).free + total) // 2)
        for path in there:
            if total + arriving > room and path.stem not in used:
                total -= path.stat().st_size
                path.unlink()

    def _path(self, digest: str) -> Path:
        return self.folder / f"{digest}.tar"

    def _is_whole(self, digest: str) -> bool:
        """Whether an archive's content has its hash; one that has not is removed."""
        path = self._path(digest)
        if sha256(path) == digest:
            return True
        path.unlink()
        return False
