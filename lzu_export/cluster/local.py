"""Jobs on this machine: a pool of threads, each of which waits for a process. Nothing listens."""

import os
import socket
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait

from lzu_export.cluster import worker as command
from lzu_export.cluster.jobs import Job
from lzu_export.cluster.workers import Answer, WorkerInfo

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Environment variables that bound the threads of the libraries that compute."""
AGAIN = 0.1
"""Seconds between two attempts to stop jobs: one may not have started its process yet."""


def processors() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0))


class LocalWorkers:
    """Runs jobs in processes of this machine."""

    place = "this machine"

    def __init__(self, count: int | None) -> None:
        """Run this many jobs at a time; None: as many as there are processors."""
        self._count = count or processors()
        self._pool = ThreadPoolExecutor(self._count, thread_name_prefix="lzu-job")
        self._running: dict[Future[Answer], str] = {}
        share = max(1, processors() // self._count)
        self.environment: Mapping[str, str] = dict.fromkeys(THREADS, str(share))

    def workers(self) -> list[WorkerInfo]:
        """Return this machine as one worker."""
        host = socket.gethostname()
        return [WorkerInfo(address="local", name=host, host=host, threads=self._count)]

    def submit(self, job: Job, request: str, worker: WorkerInfo | None) -> "Future[Answer]":
        """Start a job as soon as a thread is free."""
        future = self._pool.submit(command.run, request, job.files)
        self._running[future] = job.key
        future.add_done_callback(self._running.pop)
        return future

    def stop(self, keys: list[str]) -> None:
        """Kill the commands of running jobs with these keys, and wait for their folders' end."""
        futures = [future for future, key in list(self._running.items()) if key in keys]
        for future in futures:
            future.cancel()
        while wait(futures, timeout=AGAIN).not_done:
            command.stop(keys)

    def forget(self, digests: set[str]) -> None:
        """Do nothing: files are passed by reference."""

    def close(self) -> None:
        """Kill the commands that still run."""
        self.stop(list(self._running.values()))
        self._pool.shutdown()
