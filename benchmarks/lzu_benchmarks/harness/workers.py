"""Run jobs in other processes that import no module from the working directory."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from multiprocessing.pool import Pool
from pathlib import Path
from threading import Thread
from typing import Any

from lzu_export.cli import exits


@contextmanager
def workers(processes: int) -> Iterator[Pool]:
    """Yield a pool of fresh processes, which ends with the block.

    A fresh Python looks for modules in its working directory first, so a `pickle.py` or `cv2.py`
    there would be imported instead of the right one. Therefore the processes start in the root of
    the file system, and change to the caller's working directory once they have the caller's
    search path. They end with the caller, also where it is killed and cannot end them itself.
    """
    here = Path.cwd()
    search = sys.path[:]
    sys.path[:] = [each for each in search if each]
    os.chdir(here.anchor)
    try:
        pool = get_context("spawn").Pool(processes, _begin, (here,))
    finally:
        os.chdir(here)
        sys.path[:] = search
    with pool:
        yield pool


def run_jobs(
    function: Callable[..., Any], jobs: Sequence[tuple[Any, ...]], processes: int
) -> list[Any]:
    """Call a module-level function with each tuple of arguments, on a pool; return its results."""
    with workers(processes) as pool:
        return pool.starmap(function, jobs, chunksize=1)


def _begin(here: Path) -> None:
    """Prepare a process of the pool."""
    os.chdir(here)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process once its parent has ended: a job may go on for hours, for nobody."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(exits.INTERRUPTED)
