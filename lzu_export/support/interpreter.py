"""Run Python in another process, without modules of the working directory."""

import os
import sys

SAFE_PATH = "import sys; sys.path[:] = [place for place in sys.path if place]; "
"""Code at the beginning of `-c` programs. Python puts the working directory in front of its search
path, so any `cv2.py` or `json.py` there would be run in place of the right module."""
_RUN = SAFE_PATH + "import runpy; runpy.run_module(sys.argv.pop(1), None, '__main__', True)"


def run_module(name: str, *arguments: str) -> list[str]:
    """Return the command `python -m NAME ARGUMENTS`, with no working directory on its path."""
    return [sys.executable, "-c", _RUN, name, *arguments]


def run_program(program: str, *arguments: str) -> list[str]:
    """Return the command `python -c PROGRAM ARGUMENTS`, with no working directory on its path.

    `program` is lines of Python.
    """
    return [sys.executable, "-c", f"{SAFE_PATH}\n{program}", *arguments]


def leave_working_directory_out(packages: tuple[str, ...]) -> None:
    """Remove the working directory from the search path if `python -m` put it there.

    A package calls this at its top, before it imports anything. The folder stays on the path if the
    package itself is run from it, or if another program's `-m` imports the package.

    Args:
        packages: names of packages whose modules `-m` may run.
    """
    if sys.argv[:1] != ["-m"] or not sys.path or sys.path[0] != os.getcwd():
        return  # the path is safe, or no `-m` is looking for its module
    for word in sys.orig_argv:
        package = word.rpartition("-m")[2].partition(".")[0]
        if package in packages and not os.path.isdir(os.path.join(sys.path[0], package)):
            del sys.path[0]
            return
