"""Hold a folder, so that two commands never write to it at the same time."""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from lzu_export.errors import LzuError, readable_os_errors


@contextmanager
def holding(lock: Path, what: str, refusal: str, *, remove: bool = False) -> Iterator[None]:
    """Hold a lock file while the block runs; its folder is made.

    The lock ends with the process, however that ends. A symbolic link in its place is refused.

    Args:
        lock: path of the lock file.
        what: name of the folder in the sentence of a folder that cannot be written.
        refusal: sentence where another process holds the lock.
        remove: remove the lock file behind the block; by default it stays.

    Raises:
        LzuError: another process holds the lock, the folder cannot be written, or something else
            is in the lock file's place.
    """
    with _locked(lock, what, refusal):
        try:
            yield
        finally:
            if remove:
                lock.unlink(missing_ok=True)


def _locked(lock: Path, what: str, refusal: str) -> IO[bytes]:
    """Open and lock the lock file; retry where its last holder removed it meanwhile."""
    while True:
        file = _opened(lock, what)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise LzuError(refusal) from None
        with suppress(FileNotFoundError):
            if os.path.samestat(lock.stat(), os.fstat(file.fileno())):
                return file
        file.close()


def _opened(lock: Path, what: str) -> IO[bytes]:
    """Open the lock file without following a link and without changing an existing file."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    with readable_os_errors(what):
        lock.parent.mkdir(parents=True, exist_ok=True)
        try:
            return os.fdopen(os.open(lock, flags, 0o666), "r+b", buffering=0)
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
                raise
            raise LzuError(f"{lock} is no file of ours; remove it") from error
