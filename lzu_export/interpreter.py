"""Run Python in a process of its own, without the files of the working directory."""

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
