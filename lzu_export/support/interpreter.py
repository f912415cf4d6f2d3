"""Run Python in another process, without modules of the working directory."""

import os
import sys

SAFE_PATH = "import sys; sys.path[:] = [place for place in sys.path if place]; "
"""What `-c` programs begin with: Python puts the working directory in front of its search path, so
that any `cv2.py` or `json.py` there would be run in place of the right one."""
_RUN = SAFE_PATH + "import runpy; runpy.run_module(sys.argv.pop(1), None, '__main__', True)"


def run_module(name: str, *arguments: str) -> list[str]:
    """The command `python -m NAME ARGUMENTS`, without the working directory on the search path."""
    return [sys.executable, "-c", _RUN, name, *arguments]


def run_program(program: str, *arguments: str) -> list[str]:
    """The command `python -c PROGRAM ARGUMENTS`, likewise; `program` is lines of Python."""
    return [sys.executable, "-c", f"{SAFE_PATH}\n{program}", *arguments]


def leave_working_directory_out(packages: tuple[str, ...]) -> None:
    """Take the working directory off the search path, where `python -m` put it there.

    For the top of a package, before it imports anything. The folder stays where the package itself
    is run from it, and where it is another program's `-m` that imports the package.

    Args:
        packages: names of packages whose modules may be what `-m` runs.
    """
    if sys.argv[:1] != ["-m"] or not sys.path or sys.path[0] != os.getcwd():
        return  # a safe path, or no `-m` that is still looking for its module
    for word in sys.orig_argv:
        package = word.rpartition("-m")[2].partition(".")[0]
        if package in packages and not os.path.isdir(os.path.join(sys.path[0], package)):
            del sys.path[0]
            return
