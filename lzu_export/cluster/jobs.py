"""Jobs and their outcomes, as plain data."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Literal

LARGE = 1024**2
"""Size in bytes from which on jobs share a file, instead of each carrying it."""
Status = Literal["done", "failed", "lost"]


@dataclass(frozen=True)
class Command:
    """Command line of a Python module, run in a process of its own on a worker."""

    arguments: tuple[str, ...]
    """Arguments of the command line."""
    module: str = "lzu_export"
    """Module that the worker's Python runs, as by `python -m`."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Environment variables to set besides the worker's own."""
    timeout: float | None = None
    """Seconds after which the command and all its processes are killed; None: no limit."""
    returns: tuple[str, ...] = ()
    """Patterns of files to return, as paths relative to the job's folder; `*` matches `/`, too."""
    folder: str | None = None
    """Folder on the worker, which stays; None: a temporary one, removed afterwards."""


@dataclass(frozen=True)
class Needs:
    """What a job needs of a worker."""

    worker: str | None
    """Name or address of the only worker that may run it; None: any."""
    resources: tuple[tuple[str, float], ...]
    """Name and amount of each of Dask's resources."""


@dataclass(frozen=True)
class Job:
    """A command to run once, its files, and the worker it may need."""

    name: str
    """Name for people."""
    inputs: Mapping[str, Any]
    """Plain data that decides the result, such as hashes of the files."""
    command: Command
    files: Mapping[str, bytes] = field(default_factory=dict)
    """Files in the job's folder, by relative path. Their bytes are not part of the key."""
    worker: str | None = None
    """Name or address of the worker that it must run on; None: any."""
    resources: Mapping[str, float] = field(default_factory=dict)
    """Amount of each of Dask's resources that its worker must have free."""

    @cached_property
    def key(self) -> str:
        """SHA-256 of the inputs and the command, in hexadecimal digits."""
        data = {"inputs": self.inputs, "command": asdict(self.command)}
        text = json.dumps(data, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def needs(self) -> Needs:
        """What the job needs of a worker."""
        wanted = ((name, amount) for name, amount in self.resources.items() if amount > 0)
        return Needs(self.worker, tuple(sorted(wanted)))

    @cached_property
    def digests(self) -> dict[str, str]:
        """SHA-256 of each large file, by its path."""
        return {
            name: hashlib.sha256(content).hexdigest()
            for name, content in self.files.items()
            if len(content) >= LARGE
        }


@dataclass(frozen=True)
class Outcome:
    """What became of a job."""

    key: str
    """Key of the job."""
    name: str
    """Name of the job."""
    status: Status
    """`done`; `failed`: its command or its worker failed; `lost`: no worker could run it."""
    sentence: str
    """Why it is not done; empty if it is."""
    answer: Mapping[str, Any]
    """Answer of the worker, see `lzu_export.cluster.worker.run`; empty without one."""
    seconds: float
    """Seconds that it took on the worker."""
    worker: str
    """Name of the worker, or its host; empty without one."""
    files: Mapping[str, bytes] = field(default_factory=dict)
    """Returned files, by relative path."""
