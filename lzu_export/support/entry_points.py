"""Find what installed packages announce, without reading their metadata at every question."""

import sys
from functools import lru_cache
from importlib import metadata
from pathlib import Path


def entry_points(group: str) -> metadata.EntryPoints:
    """Return the entry points of a group, of all packages on the search path.

    Packages are read again once the search path or one of its folders has changed.
    """
    return _on_path(group, tuple((place, _changed(place)) for place in sys.path))


def _changed(place: str) -> int | None:
    """Return the time of a folder's last change in nanoseconds; None if there is no folder."""
    try:
        return Path(place).stat().st_mtime_ns
    except OSError:
        return None


@lru_cache
def _on_path(group: str, places: tuple[tuple[str, int | None], ...]) -> metadata.EntryPoints:
    return metadata.entry_points(group=group)
