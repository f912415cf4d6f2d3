"""Run a command until it ends, or until stdin is closed; then kill what is left of it.

A worker starts this file as a program and holds the other end of its stdin, so that a command, and
what it started, ends with the worker, however that dies. Needs only the standard library.
"""

import os
import select
import signal
import sys

SIGNALLED = 128
"""Added to a signal's number, this is the exit status of a command that it ended, as in shells."""


def supervise(command: list[str]) -> int:
    """Run a command in a process group of its own, and return its exit status.

    Stdout and stderr are the command's alone, so that their readers see when it has closed them.
    """
    woken, waker = os.pipe()
    os.set_blocking(waker, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)  # without a handler no byte would be written
    signal.set_wakeup_fd(waker)
    nothing = (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)
    child = os.posix_spawn(command[0], command, os.environ, file_actions=[nothing], setpgroup=0)
    null = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(null, stream)
    ready, _, _ = select.select([0, woken], [], [])
    if 0 in ready:
        _kill(child)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    _kill(child)  # while the number is still the command's own: it has not been reaped
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return code if code >= 0 else SIGNALLED - code


def _kill(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return  # only processes that have ended, or have changed their user, are left


if __name__ == "__main__":
    status = supervise(sys.argv[1:])
    os._exit(status)
