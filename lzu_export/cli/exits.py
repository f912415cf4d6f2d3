"""Exit statuses of all commands, and the functions that end a command.

Outside of this package, only the standard library is imported at the top, so that an interruption
while other packages are imported ends in a sentence, too.
"""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType, TracebackType
from typing import Any, NoReturn

from lzu_export.errors import LzuError
from lzu_export.support.escaping import visible
from lzu_export.support.extras import ALWAYS, SHARED, broken, is_whole, needs

DONE = 0
"""Exit status: everything requested is done, and every check passed."""
MISMATCH = 1
"""Exit status for this case only: an engine differs from PyTorch by more than its limit."""
UNFIT = 2
"""Exit status: the command could not run; an input, option or package is missing or unfit."""
REGRESSION = 3
"""Exit status: a check against a stored state failed."""
INCOMPLETE = 4
"""Exit status: part of the input could not be measured or read; the other results are written."""
INTERNAL = 70
"""Exit status: an error of this program, shown with its traceback; EX_SOFTWARE in sysexits.h."""
INTERRUPTED = 130
"""Exit status: interrupted from the keyboard, by the convention of shells."""

AGAIN = "give the same command again"
"""Remedy printed after an interruption where none is known for the command."""


def complain(sentence: str) -> None:
    """Print an error's sentence on stderr in one line."""
    from rich.text import Text

    from lzu_export.support.console import Terminal

    text = Text.assemble(("error:", "red"), f" {visible(sentence)}")
    Terminal(stderr=True).print(text, soft_wrap=True)


def interrupted(sentence: str = AGAIN) -> NoReturn:
    """Report on stderr that the command was interrupted and how to continue, and exit.

    Raises:
        SystemExit: always.
    """
    print(f"interrupted: {visible(sentence)}", file=sys.stderr)
    raise SystemExit(INTERRUPTED)


def lacking(error: ModuleNotFoundError, command: str) -> NoReturn:
    """Turn an error about a missing package into one that names the command's extra.

    Raises:
        LzuError: a package is missing; the message has the remedy.
        ModuleNotFoundError: the error itself, where a module of this project is missing.
    """
    if (error.name or "").startswith("lzu_"):
        raise error
    raise LzuError(needs("this", error.name, command)) from error


@contextmanager
def needing(command: str) -> Iterator[None]:
    """Pass an error of the block about a missing package to `lacking`."""
    try:
        yield
    except ModuleNotFoundError as error:
        lacking(error, command)


@contextmanager
def ending(again: str = AGAIN) -> Iterator[None]:
    """Let the block, a command, end with one sentence on stderr and its exit status.

    A reader of stdout or stderr that goes away, as `head` does, changes nothing: the command
    completes its work and ends with the status of that work.

    Args:
        again: remedy that is printed after an interruption.

    Raises:
        SystemExit: the block did not end well.
    """
    _outlive_readers()
    try:
        yield
    except SystemExit:
        _flush()
        raise
    except BaseException as error:
        raise SystemExit(explain(error, again)) from error
    _flush()


def explain(error: BaseException, again: str = AGAIN) -> int:
    """Report on stderr the error that ended a command, and return its exit status."""
    if isinstance(error, KeyboardInterrupt):
        print(f"interrupted: {again}", file=sys.stderr)
        return INTERRUPTED
    package = (getattr(error, "name", None) or "").partition(".")[0]
    if isinstance(error, LzuError):
        complain(str(error))
    elif isinstance(error, ModuleNotFoundError) and not package.startswith("lzu_"):
        complain(needs("this", error.name))
    elif (broken := _broken(error)) is not None:
        complain(broken)
    elif isinstance(error, OSError):
        where = f" ({error.filename})" if error.filename else ""
        complain(f"{error.strerror or error}{where}; fix that and run again")
    else:
        sys.__excepthook__(type(error), error, error.__traceback__)
        complain("this is a fault of lzu_export, not of your input; please report the lines above")
        return INTERNAL
    return UNFIT


def _broken(error: BaseException) -> str | None:
    """Return the sentence for a partly installed package; None for any other error."""
    if isinstance(error, AttributeError):
        module = error.obj
        if isinstance(module, ModuleType) and module.__name__ in SHARED and not is_whole(module):
            return broken(module.__name__)
    if isinstance(error, ImportError):
        name = (error.name or "").partition(".")[0]
        if name in SHARED or name in ALWAYS:
            return broken(name, str(error))
    return None


def guard_imports() -> None:
    """Let a module run by `python -m` end as in `ending`, even during its imports."""
    sys.excepthook = _end


def _end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    status = explain(error.with_traceback(trace))
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)  # a hook cannot choose the status otherwise


class _Outliving(io.FileIO):
    """A stream that drops its output once its reader has gone away."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            _drop(self.fileno())
            return memoryview(data).nbytes


def _outlive_readers() -> None:
    """Replace stdout and stderr by `_Outliving` streams where they are the process's own."""
    for name, number in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        if stream is None or stream is not getattr(sys, f"__{name}__"):
            continue
        if not isinstance(stream, io.TextIOWrapper):
            continue
        stream.flush()
        raw = _Outliving(number, "wb", closefd=False)
        made = io.TextIOWrapper(
            io.BufferedWriter(raw),
            encoding=stream.encoding,
            errors=stream.errors,
            line_buffering=stream.line_buffering,
            write_through=stream.write_through,
        )
        setattr(sys, name, made)


def _flush() -> None:
    """Write the buffered rest of stdout.

    Raises:
        SystemExit: stdout cannot be written, as on a full disk.
    """
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except OSError as error:
        _drop(1)
        complain(
            f"the result cannot be written to stdout: {error.strerror}; fix that and run again"
        )
        raise SystemExit(UNFIT) from error


def _drop(number: int) -> None:
    """Redirect a file descriptor to the null device."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    os.close(nowhere)
