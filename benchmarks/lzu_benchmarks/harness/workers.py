"""Run jobs in other processes, without modules of the working directory."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.pool import Pool
from pathlib import Path


@contextmanager
def workers(processes: int) -> Iterator[Pool]:
    """A pool of so many fresh processes, which ends with the block.

    A fresh Python looks for modules in its working directory first, so that any `pickle.py` or
    `cv2.py` there would be run in place of the right one. So the processes start in the root of the
    file system, and go to the caller's working directory once their search path is the caller's.
    """
    here = Path.cwd()
    search = sys.path[:]
    sys.path[:] = [each for each in search if each]
    os.chdir(here.anchor)
    try:
        pool = get_context("spawn").Pool(processes, os.chdir, (here,))
    finally:
        os.chdir(here)
        sys.path[:] = search
    with pool:
        yield pool
