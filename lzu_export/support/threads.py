"""Number of threads that the environment allows a library."""

import os


def bounded_threads() -> int | None:
    """Return the number of threads that OMP_NUM_THREADS allows a library; None without a number."""
    text = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(text) or None if text.isdecimal() else None
