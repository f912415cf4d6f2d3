"""What runs jobs: the interface that this machine's processes and Dask's workers share."""

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Protocol

from lzu_export.cluster.jobs import Job, Needs

Answer = tuple[str, dict[str, bytes]]
"""What `lzu_export.cluster.worker.run` returns."""


@dataclass(frozen=True)
class WorkerInfo:
    """A worker that can be given jobs now."""

    address: str
    """Address of this process of the worker, such as tcp://10.0.0.7:40123; changes with it."""
    name: str
    """Name that it keeps when it is restarted."""
    host: str
    """Host name or address of its machine."""
    threads: int
    """Number of jobs that it runs at a time."""
    resources: Mapping[str, float] = field(default_factory=dict)
    """Amount of each of Dask's resources that it was started with."""
    python: str = ""
    """Release of its Python; empty where it is unknown, and for this machine."""
    dask: str = ""
    """Release of its Dask; empty where it is unknown, and for this machine."""

    def slots(self, needs: Needs) -> int:
        """Return how many jobs with these needs it runs at a time; 0 if it may run none."""
        if needs.worker not in (None, self.name, self.address):
            return 0
        room = [int(self.resources.get(name, 0) / amount) for name, amount in needs.resources]
        return min([self.threads, *room])


class WorkerDied(Exception):
    """A job's worker ended while it ran the job, so often that it is not tried again."""

    def __init__(self, times: int) -> None:
        """Take the number of workers that ended."""
        super().__init__(times)
        self.times = times


class ConnectionLost(Exception):
    """The scheduler is gone, and all it knew of submitted jobs."""


class Workers(Protocol):
    """Runs jobs somewhere."""

    place: str
    """What a sentence calls it."""
    environment: Mapping[str, str]
    """Environment variables of all jobs, which those of a command override."""

    def workers(self) -> list[WorkerInfo]:
        """Return the workers that can be given jobs now.

        Raises:
            ConnectionLost: there is no scheduler at the moment; ask again.
        """

    def submit(self, job: Job, request: str, worker: WorkerInfo | None) -> "Future[Answer]":
        """Start a job and return its answer's future, whose exceptions are the ones above.

        Args:
            job: the job, for its files and resources.
            request: argument of `lzu_export.cluster.worker.run`.
            worker: the worker that must run it; None: any.
        """

    def stop(self, keys: list[str]) -> None:
        """Kill the commands of running jobs with these keys, as far as their workers answer."""

    def forget(self, digests: set[str]) -> None:
        """Release the content of files, by SHA-256, which no further job needs."""

    def close(self) -> None:
        """Kill the commands that still run, and release everything."""
