"""File of the figures of finished runs, with the settings that made them."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from lzu_export.errors import LzuError
from lzu_export.support.files import read_json, write_text

LIMIT = 64 * 2**20
"""Largest size in bytes of the file."""


class Job(NamedTuple):
    """One training."""

    task: str
    """`segmentation` or `detection`."""
    size: str
    """Size of the network's input, such as `90x120`."""
    variant: str
    """Kind of warp."""
    seed: int

    @property
    def name(self) -> str:
        """Name of the training in files."""
        return "-".join(map(str, self))


class Results:
    """Figures of finished runs by name, written to a file as soon as each run ends.

    The figures of a run are plain data: `task`, `size`, `variant`, `seed`, what it cost, and
    `found`, by engine (`pytorch`, `fp32`, ...) and split.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any] | None = None) -> None:
        """Read the file, or start one.

        Args:
            path: file of the results.
            settings: settings of the runs to come; by default those of the file.

        Raises:
            LzuError: the file is damaged, or holds results of other settings; or it is missing,
                and no settings are given.
        """
        self._path = path
        if path.exists():
            stored = _read(path)
            self.settings, self._runs = stored["settings"], stored["runs"]
            if settings is not None:
                _check_equal(path, self.settings, json.loads(json.dumps(settings)))
        elif settings is None:
            raise LzuError(f"{path} does not exist; train first, with --data")
        else:
            self.settings, self._runs = json.loads(json.dumps(settings)), {}

    def get(self, job: Job) -> dict[str, Any] | None:
        """Return the figures of a finished run; None if it is not there."""
        found: dict[str, Any] | None = self._runs.get(job.name)
        return found

    def runs(self, task: str) -> Iterator[dict[str, Any]]:
        """Yield the figures of all finished runs of a task."""
        yield from (each for each in self._runs.values() if each["task"] == task)

    def put(self, job: Job, figures: Mapping[str, Any]) -> None:
        """Add the figures of a run, or replace them, and write the file in one piece."""
        self._runs[job.name] = {**job._asdict(), **figures}
        lines = [
            f"{json.dumps(name)}: {json.dumps(self._runs[name], separators=(',', ':'))}"
            for name in sorted(self._runs)
        ]
        settings = json.dumps(self.settings, indent=1)
        text = f'{{"settings": {settings},\n"runs": {{\n' + ",\n".join(lines) + "\n}}\n"
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_text(self._path, text)


def _read(path: Path) -> dict[str, Any]:
    remedy = "give another --results, or remove it to start anew"
    stored = read_json(path, limit=LIMIT, remedy=remedy)
    if not isinstance(stored, dict) or not all(
        isinstance(stored.get(key), dict) for key in ("settings", "runs")
    ):
        raise LzuError(f"{path} holds no results of this command; {remedy}")
    return stored


def _check_equal(path: Path, stored: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Refuse to mix results of different settings, naming the first that differs."""
    before, now = _flat(stored), _flat(given)
    for key in dict.fromkeys([*before, *now]):
        if before.get(key) != now.get(key):
            raise LzuError(
                f"{path} holds results of {key} {before.get(key)}, but this command has "
                f"{now.get(key)}; give another --results, or the same settings"
            )


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in settings.items():
        inner = isinstance(value, Mapping)
        found |= _flat(value, f"{prefix}{key}.") if inner else {f"{prefix}{key}": value}
    return found
