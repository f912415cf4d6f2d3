"""`LzuError`, the one error that is written for users."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager


class LzuError(Exception):
    """A problem the user can mend.

    Its message is one sentence that names the file, field or tensor and the remedy; the command
    line prints it without a traceback and exits with status 2.
    """


class ElsewhereError(LzuError):
    """What is asked for is for another machine than this one, or for what it has not installed."""


@contextmanager
def readable_os_errors(what: str) -> Iterator[None]:
    """Turn a full disk or a missing permission into a sentence with the remedy.

    Raises:
        LzuError: in place of any OSError inside.
    """
    try:
        yield
    except OSError as error:
        remedy = {
            errno.ENOSPC: "the disk is full; free space and run again, finished stages are kept",
            errno.EDQUOT: "the disk quota is used up; free space and run again",
            errno.EACCES: "permission is denied; make the folder writable or choose another (OUT)",
            errno.EPERM: "the operation is not permitted; choose another folder (OUT)",
            errno.EROFS: "the file system is read-only; choose another folder (OUT)",
            errno.EEXIST: "a file is in the way of the output folder; choose another folder (OUT)",
            errno.ENOTDIR: "part of the path is a file; choose another folder (OUT)",
        }.get(error.errno or 0, f"{_reason(error)}; fix that and run again")
        raise LzuError(f"{what} cannot be written: {remedy}") from error


def _reason(error: OSError) -> str:
    reason = error.strerror or str(error)
    return f"{reason} ({error.filename})" if error.filename else reason
