"""`LzuError`, the one error that is written for users."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from lzu_export.support.checkout import option


class LzuError(Exception):
    """A problem that the user can fix.

    Its message is one sentence that names the file, field or tensor and the remedy; the command
    line prints it without a traceback and exits with status 2.
    """


class ElsewhereError(LzuError):
    """A request that needs another machine, or software that this machine has not installed."""


@contextmanager
def readable_os_errors(what: str) -> Iterator[None]:
    """Turn an OSError, such as a full disk or a missing permission, into a sentence and a remedy.

    Raises:
        LzuError: instead of any OSError that the block raises.
    """
    try:
        yield
    except OSError as error:
        other = f"choose another folder ({option('out')})"
        remedy = {
            errno.ENOSPC: "the disk is full; free space and run again, finished stages are kept",
            errno.EDQUOT: "the disk quota is used up; free space and run again",
            errno.EACCES: f"permission is denied; make the folder writable or {other}",
            errno.EPERM: f"the operation is not permitted; {other}",
            errno.EROFS: f"the file system is read-only; {other}",
            errno.EEXIST: f"a file is in the way of the output folder; {other}",
            errno.ENOTDIR: f"part of the path is a file; {other}",
        }.get(error.errno or 0, f"{_reason(error)}; fix that and run again")
        raise LzuError(f"{what} cannot be written: {remedy}") from error


def kind_and_reason(error: BaseException) -> str:
    """Return an error's type and its message's first line, for a sentence about users' code."""
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"


def _reason(error: OSError) -> str:
    reason = error.strerror or str(error)
    return f"{reason} ({error.filename})" if error.filename else reason
