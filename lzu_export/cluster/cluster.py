"""Run jobs on workers until each has an outcome, whatever happens to the workers."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from lzu_export.cluster.connection import Certificates
from lzu_export.cluster.dask_workers import DaskWorkers
from lzu_export.cluster.jobs import Job, Outcome
from lzu_export.cluster.local import LocalWorkers
from lzu_export.cluster.run import Run, gone
from lzu_export.cluster.store import Store
from lzu_export.cluster.workers import ConnectionLost, WorkerInfo, Workers
from lzu_export.errors import LzuError

PATIENCE = 60.0
"""Seconds to wait for a worker that fits, or for a scheduler that has gone."""


class Cluster:
    """Workers that run jobs: this machine's processes or those of a scheduler."""

    def __init__(self, workers: Workers) -> None:
        """Take the workers, which `open_cluster` closes."""
        self._workers = workers

    @property
    def place(self) -> str:
        """Address of the scheduler, or `this machine`."""
        return self._workers.place

    def workers(self) -> list[WorkerInfo]:
        """Return the workers that can be given jobs now.

        Raises:
            LzuError: the scheduler does not answer.
        """
        try:
            return self._workers.workers()
        except ConnectionLost as error:
            raise gone(self._workers) from error

    def run(
        self,
        jobs: Iterable[Job],
        store: Store | None = None,
        *,
        report: Callable[[Outcome], None] | None = None,
        patience: float = PATIENCE,
    ) -> Iterator[Outcome]:
        """Yield the outcome of each job: first those in the store, then others as they complete.

        A job runs again if its worker or the scheduler goes while it runs, so a command must do no
        harm when it runs twice. Its outcome is yielded once. Jobs of one key are one job. When the
        iterator is closed, or interrupted, the running commands are killed.

        Args:
            jobs: the jobs.
            store: where done outcomes are kept; None: nowhere.
            report: called with each outcome before it is yielded.
            patience: seconds to wait for a worker that fits a job, after which its outcome is
                `lost`, and for a scheduler that has gone.

        Raises:
            LzuError: the scheduler has gone for longer than `patience`, or the store cannot be
                read or written.
        """
        run = Run(self._workers, patience)
        try:
            for outcome in _outcomes(run, {job.key: job for job in jobs}.values(), store):
                if report is not None:
                    report(outcome)
                yield outcome
        finally:
            run.stop()


def _outcomes(run: Run, jobs: Iterable[Job], store: Store | None) -> Iterator[Outcome]:
    for job in jobs:
        kept = store.get(job) if store is not None else None
        if kept is None:
            run.add(job)
        else:
            yield kept
    while run.is_going():
        for outcome in run.step():
            if store is not None:
                store.put(outcome)
            yield outcome


@contextmanager
def open_cluster(
    scheduler: str | None = None,
    *,
    workers: int | None = None,
    certificates: Certificates | None = None,
) -> Iterator[Cluster]:
    """Open workers for the time of a block.

    Args:
        scheduler: address of a scheduler, such as tcp://10.0.0.1:8786 or tls://10.0.0.1:8786; None:
            this machine alone, where nothing listens on any port.
        workers: number of jobs at a time on this machine; None: its processors.
        certificates: files for TLS.

    Raises:
        LzuError: the scheduler cannot be used, or options contradict each other.
    """
    opened: Workers
    if scheduler is None:
        if workers is not None and workers < 1:
            raise LzuError(f"--workers is {workers}; give 1 or more")
        opened = LocalWorkers(workers)
    else:
        if workers is not None:
            raise LzuError(
                "--workers counts processes of this machine; leave it out with --scheduler, whose "
                "workers are started by `dask worker`"
            )
        opened = DaskWorkers(scheduler, certificates or Certificates())
    try:
        yield Cluster(opened)
    finally:
        opened.close()
