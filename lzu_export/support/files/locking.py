"""Hold a folder, so that two commands never write to it at the same time."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lzu_export.errors import LzuError, readable_os_errors


@contextmanager
def holding(lock: Path, what: str, refusal: str) -> Iterator[None]:
    """Hold a lock file while the block runs; its folder is made.

    The lock ends with the process, however that ends. A symbolic link in its place is refused.

    Args:
        lock: path of the lock file, which stays.
        what: name of the folder in the sentence of a folder that cannot be written.
        refusal: sentence where another process holds the lock.

    Raises:
        LzuError: another process holds the lock, or the folder cannot be written.
    """
    with readable_os_errors(what):
        lock.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        file = os.fdopen(os.open(lock, flags, 0o666), "r+b", buffering=0)
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LzuError(refusal) from None
        yield
