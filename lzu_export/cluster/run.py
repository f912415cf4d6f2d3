"""One run of jobs: which wait, which run where, and what becomes of each."""

import json
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from queue import Empty, SimpleQueue
from typing import Any

from lzu_export.cluster.jobs import Job, Needs, Outcome
from lzu_export.cluster.workers import Answer, ConnectionLost, WorkerDied, WorkerInfo, Workers
from lzu_export.errors import LzuError, kind_and_reason

TICK = 0.5
"""Seconds after which a step returns, even if no job has completed."""
REFRESH = 2.0
"""Seconds between two looks at the workers."""
DEATHS = 4
"""Number of times that a bound job may end its worker. Of other jobs the scheduler keeps count, by
`distributed.scheduler.allowed-failures`."""


@dataclass(frozen=True)
class _Attempt:
    """A job that was given to workers."""

    job: Job
    worker: WorkerInfo | None
    """The worker that it is bound to."""


@dataclass
class _Queue:
    """Jobs with equal needs."""

    waiting: deque[Job] = field(default_factory=deque)
    running: int = 0
    starved: float | None = None
    """Time since when no worker fits; None: one does."""


class Run:
    """Gives jobs to workers, no more at a time than they run at once, and collects the outcomes.

    So a scheduler never holds many jobs, and a worker that dies takes only those with it that it
    ran.
    """

    def __init__(self, workers: Workers, patience: float) -> None:
        """Take the workers, and the seconds to wait for one that fits or for the scheduler."""
        self._workers, self._patience = workers, patience
        self._queues: dict[Needs, _Queue] = {}
        self._attempts: dict[Future[Answer], _Attempt] = {}
        self._completed: SimpleQueue[Future[Answer]] = SimpleQueue()
        self._uses: Counter[str] = Counter()
        self._deaths: Counter[str] = Counter()
        self._seen: list[WorkerInfo] = []
        self._connected = time.monotonic()
        self._looked = self._connected - REFRESH

    def add(self, job: Job) -> None:
        """Add a job."""
        self._queues.setdefault(job.needs, _Queue()).waiting.append(job)
        self._uses.update(job.digests.values())

    def is_going(self) -> bool:
        """Whether a job has no outcome yet."""
        return bool(self._attempts) or any(each.waiting for each in self._queues.values())

    def step(self) -> Iterator[Outcome]:
        """Give jobs to free workers, wait a moment, and yield the outcomes that there are.

        Raises:
            LzuError: the scheduler has gone for longer than the patience.
        """
        if time.monotonic() - self._looked >= REFRESH:
            yield from self._look()
        self._start()
        yield from self._collect()

    def stop(self) -> None:
        """Kill the commands that run, and forget all jobs."""
        keys = [each.job.key for each in self._attempts.values()]
        for future in self._attempts:
            future.cancel()
        self._attempts.clear()
        self._queues.clear()
        if keys:
            self._workers.stop(keys)
        self._workers.forget(set(self._uses))

    def _look(self) -> Iterator[Outcome]:
        """Look which workers there are, and give up jobs that none of them may run."""
        self._looked = time.monotonic()
        try:
            self._seen = self._workers.workers()
        except ConnectionLost as error:
            self._seen = []
            if self._looked - self._connected > self._patience:
                raise gone(self._workers) from error
            return
        self._connected = self._looked
        yield from self._check_bound()
        for needs, queue in self._queues.items():
            if self._slots(needs) or not (queue.waiting or queue.running):
                queue.starved = None
            elif queue.starved is None:
                queue.starved = self._looked
            elif self._looked - queue.starved > self._patience:
                yield from self._give_up(needs, queue)

    def _check_bound(self) -> Iterator[Outcome]:
        """Queue the jobs again whose own worker has gone."""
        addresses = {each.address for each in self._seen}
        for future, attempt in list(self._attempts.items()):
            if attempt.worker is not None and attempt.worker.address not in addresses:
                self._remove(future).cancel()
                self._deaths[attempt.job.key] += 1
                if self._deaths[attempt.job.key] < DEATHS:
                    self._queues[attempt.job.needs].waiting.appendleft(attempt.job)
                else:
                    yield self._failed(attempt, _deadly(DEATHS))

    def _give_up(self, needs: Needs, queue: _Queue) -> Iterator[Outcome]:
        """Yield all jobs of these needs as lost."""
        jobs = list(queue.waiting)
        queue.waiting.clear()
        for future, attempt in list(self._attempts.items()):
            if attempt.job.needs == needs:
                self._remove(future).cancel()
                jobs.append(attempt.job)
        sentence = lack(needs, self._workers.place, self._seen)
        for job in jobs:
            self._release(job)
            yield Outcome(job.key, job.name, "lost", sentence, {}, 0.0, job.worker or "")

    def _slots(self, needs: Needs) -> int:
        """Return how many jobs with these needs the workers run at a time."""
        return sum(each.slots(needs) for each in self._seen)

    def _start(self) -> None:
        """Give waiting jobs to the workers, as many as have a place."""
        for needs, queue in self._queues.items():
            room = self._slots(needs) - queue.running
            while queue.waiting and room > 0:
                room -= 1
                job = queue.waiting.popleft()
                fitting = [each for each in self._seen if each.slots(needs)]
                worker = fitting[0] if needs.worker is not None else None
                future = self._workers.submit(job, self._request(job), worker)
                self._attempts[future] = _Attempt(job, worker)
                queue.running += 1
                future.add_done_callback(self._completed.put)

    def _request(self, job: Job) -> str:
        command = dict(vars(job.command))
        command["environment"] = {**self._workers.environment, **job.command.environment}
        return json.dumps({"key": job.key, **command})

    def _collect(self) -> Iterator[Outcome]:
        """Wait for a job to complete, and yield the outcomes of all that have."""
        wait: float | None = TICK
        while True:
            try:
                future = self._completed.get(timeout=wait) if wait else self._completed.get_nowait()
            except Empty:
                return
            wait = None
            if future in self._attempts:  # else it was cancelled
                outcome = self._outcome(future)
                if outcome is not None:
                    yield outcome

    def _outcome(self, future: "Future[Answer]") -> Outcome | None:
        """Return what became of an attempt; None if its job is queued again."""
        attempt = self._attempts[future]
        self._remove(future)
        try:
            text, files = future.result()
            return self._answered(attempt, text, files)
        except (ConnectionLost, CancelledError):
            self._queues[attempt.job.needs].waiting.appendleft(attempt.job)
            self._seen = []  # so nothing starts before the next look at the workers
            return None
        except WorkerDied as error:
            return self._failed(attempt, _deadly(error.times))
        except ModuleNotFoundError as error:
            return self._failed(
                attempt,
                f"its worker has no module {error.name}; install lzu-export[cluster] in the "
                "worker's environment",
            )
        except Exception as error:  # whatever a worker's Python may raise
            return self._failed(attempt, f"its worker failed ({kind_and_reason(error)})")

    def _answered(self, attempt: _Attempt, text: str, files: dict[str, bytes]) -> Outcome:
        answer = json.loads(text)
        strays = [name for name in files if not _is_within(name)]
        if strays:
            return self._failed(attempt, f"its worker returned {strays[0]!r}, outside its folder")
        if answer["status"] != 0:
            return self._failed(attempt, answer["error"], answer)
        self._release(attempt.job)
        worker, job = _ran_on(attempt, answer), attempt.job
        return Outcome(job.key, job.name, "done", "", answer, answer["seconds"], worker, files)

    def _failed(self, attempt: _Attempt, why: str, answer: dict | None = None) -> Outcome:
        answer = answer or {}
        self._release(attempt.job)
        worker = _ran_on(attempt, answer)
        seconds = answer.get("seconds", 0.0)
        return Outcome(attempt.job.key, attempt.job.name, "failed", why, answer, seconds, worker)

    def _remove(self, future: "Future[Answer]") -> "Future[Answer]":
        """Forget an attempt and return its future."""
        self._queues[self._attempts.pop(future).job.needs].running -= 1
        return future

    def _release(self, job: Job) -> None:
        """Release the large files of a job that has its outcome, unless another job needs them."""
        self._uses.subtract(job.digests.values())
        unused = {digest for digest in job.digests.values() if self._uses[digest] <= 0}
        if unused:
            self._workers.forget(unused)


def _ran_on(attempt: _Attempt, answer: Mapping[str, Any]) -> str:
    """Return the name of the worker that ran an attempt, or its host; empty if none answered."""
    if attempt.worker is not None:
        return attempt.worker.name
    return str(answer.get("worker") or answer.get("host", ""))


def gone(workers: Workers) -> LzuError:
    """Return the error that a scheduler has gone."""
    return LzuError(
        f"the scheduler at {workers.place} does not answer any more; start it again and give the "
        "same command: done jobs are kept"
    )


def lack(needs: Needs, place: str, seen: list[WorkerInfo]) -> str:
    """Return the sentence that no worker can run a job with these needs."""
    if not seen:
        return f"no worker is connected to {place}; start one with: dask worker {place}"
    there = ", ".join(sorted(each.name for each in seen)[:5]) + (", ..." if len(seen) > 5 else "")
    if needs.worker is not None and needs.worker not in {each.name for each in seen}:
        return (
            f"its worker {needs.worker} is not connected to {place}; start it again "
            f"(connected: {there})"
        )
    wanted = " ".join(f"{name}={amount:g}" for name, amount in needs.resources)
    return (
        f"no worker at {place} has {wanted}; start one with: "
        f'dask worker {place} --resources "{wanted}"'
    )


def _deadly(times: int) -> str:
    return (
        f"this job ended its worker {times} times, as one does that needs more memory than there "
        "is; give it a larger worker"
    )


def _is_within(name: str) -> bool:
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts
