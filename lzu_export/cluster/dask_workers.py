"""Jobs on the workers of a Dask scheduler.

What is submitted is `eval` of a constant text. Python's own functions travel by their name, and so
neither the scheduler needs this package nor workers this machine's release of Python.
"""

import asyncio
import time
import uuid
from collections.abc import Coroutine, Mapping
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from itertools import count
from typing import TYPE_CHECKING, Any

from lzu_export.cluster.connection import TIMEOUT, Certificates, connect, quiet
from lzu_export.cluster.jobs import Job
from lzu_export.cluster.workers import Answer, ConnectionLost, WorkerDied, WorkerInfo
from lzu_export.errors import LzuError

if TYPE_CHECKING:
    from distributed import Client
    from distributed import Future as DaskFuture

_MODULE = '__import__("lzu_export.cluster.worker", None, None, ["run"])'
_NAME = 'str(__import__("distributed").get_worker().name)'
RUN = f"{_MODULE}.run(request, files, {_NAME})"
"""Text that runs a job on a worker."""
STOP = f"{_MODULE}.stop(keys)"
"""Text that kills jobs on a worker."""
STOPPING = 5.0
"""Seconds that workers have to answer when jobs are stopped, or their releases are asked for."""
RETRY = 2.0
"""Seconds that a scheduler has to answer when a lost connection is made again."""
SILENT = 30.0
"""Seconds without a heartbeat after which a worker counts as gone; it beats every few seconds."""


class DaskWorkers:
    """Runs jobs on the workers of a scheduler."""

    environment: Mapping[str, str] = {}
    text = RUN
    """Expression that workers evaluate for a job, with `request` and `files`."""

    def __init__(self, scheduler: str, certificates: Certificates) -> None:
        """Connect to the scheduler.

        Raises:
            LzuError: see `lzu_export.cluster.connection.connect`.
        """
        self.place = scheduler
        self._run = uuid.uuid4().hex[:8]
        self._numbers = count()
        self._contents: dict[str, DaskFuture[bytes]] = {}
        self._heard: dict[str, tuple[float, float]] = {}
        self._releases: dict[str, tuple[str, str]] = {}
        self._stack = ExitStack()
        self._stack.enter_context(quiet())
        try:
            self._security = certificates.security()
            self._client: Client = connect(scheduler, self._security)
        except BaseException:
            self._stack.close()
            raise

    def workers(self) -> list[WorkerInfo]:
        """Return the workers whose heart beats.

        Raises:
            ConnectionLost: the scheduler does not answer.
        """
        if self._client.status == "closed":
            self._reconnect()
        try:
            found = self._call(self._identity())["workers"]
        except (OSError, RuntimeError, asyncio.TimeoutError) as error:
            raise ConnectionLost from error
        now = time.monotonic()
        beating = {a: each for a, each in found.items() if self._beats(a, each, now)}
        self._ask_releases([address for address in beating if address not in self._releases])
        return [
            _info(address, each, *self._releases.get(address, ("", "")))
            for address, each in beating.items()
        ]

    def _ask_releases(self, addresses: list[str]) -> None:
        """Ask workers for their releases of Python and Dask; one that is silent is asked again."""
        if not addresses:
            return
        message = {"op": "versions", "packages": ()}
        asked = self._client.scheduler.broadcast(msg=message, workers=addresses, on_error="ignore")
        with suppress(OSError, RuntimeError, asyncio.TimeoutError):
            for address, each in self._call(asked, timeout=STOPPING).items():
                python = ".".join(each["host"]["python"].split(".")[:3])
                self._releases[address] = python, each["packages"]["distributed"]

    def _beats(self, address: str, worker: Mapping[str, Any], now: float) -> bool:
        """Whether a worker's heart has beaten lately, by this machine's clock."""
        seen, when = self._heard.get(address, (None, now))
        if seen != worker["last_seen"]:
            when = now
        self._heard[address] = worker["last_seen"], when
        return now - when < SILENT

    def submit(self, job: Job, request: str, worker: WorkerInfo | None) -> "Future[Answer]":
        """Start a job on a worker, or on any that has its resources."""
        where = None if worker is None else worker.address
        loop: Any = self._client.loop
        coroutine = self._attend(job, request, where)
        return asyncio.run_coroutine_threadsafe(coroutine, loop.asyncio_loop)

    async def _attend(self, job: Job, request: str, where: str | None) -> Answer:
        """Submit a job and wait for its answer."""
        from distributed import CancelledError, KilledWorker

        future = None
        try:
            future = self._submit(
                eval,
                self.text,
                {"request": request, "files": self._files(job, where)},
                key=f"lzu-job-{job.key[:16]}-{self._run}-{next(self._numbers)}",
                workers=where,
                resources=dict(job.resources) or None,
            )
            answer: Answer = await future
        except KilledWorker as error:
            raise WorkerDied(error.allowed_failures + 1) from error
        except CancelledError as error:
            raise ConnectionLost from error
        except (OSError, RuntimeError) as error:
            if future is not None and future.status == "error":
                raise  # of the worker, such as a full disk
            raise ConnectionLost from error  # of the connection, or its client is closed
        return answer

    def _files(self, job: Job, where: str | None) -> "dict[str, bytes | DaskFuture[bytes]]":
        """Return a job's files; large ones as a task of their own, which several jobs share.

        A task is made again if its worker dies. For a bound job it stands on the same worker, so
        that no worker needs to reach another one.
        """
        files: dict[str, bytes | DaskFuture[bytes]] = dict(job.files)
        for name, digest in job.digests.items():
            key = f"lzu-file-{digest}-{self._run}" + (f"-{where}" if where else "")
            if key not in self._contents or self._contents[key].status in ("cancelled", "error"):
                self._contents[key] = self._submit(bytes, job.files[name], key=key, workers=where)
            files[name] = self._contents[key]
        return files

    def _submit(self, function: Any, *arguments: Any, **options: Any) -> "DaskFuture[Any]":
        return self._client.submit(function, *arguments, pure=False, **options)

    def stop(self, keys: list[str]) -> None:
        """Kill the commands of running jobs with these keys, as far as their workers answer."""
        with suppress(Exception):  # a worker without this package, or without a connection
            run = self._client._run(eval, STOP, {"keys": keys}, on_error="ignore")
            self._call(run, timeout=STOPPING)

    def forget(self, digests: set[str]) -> None:
        """Release the content of files, by SHA-256, which no further job needs."""
        for key in [key for key in self._contents if key.split("-")[2] in digests]:
            del self._contents[key]

    def close(self) -> None:
        """Leave the scheduler, which then forgets what is left of the jobs."""
        self._contents.clear()
        self._client.close()
        self._stack.close()

    async def _identity(self) -> dict[str, Any]:
        found: dict[str, Any] = await self._client.scheduler.identity(n_workers=-1)
        return found

    def _call(self, coroutine: Coroutine[Any, Any, Any], timeout: float = TIMEOUT) -> Any:
        """Run a coroutine in the client's loop and wait for it."""
        return self._client.sync(_await, coroutine, callback_timeout=timeout)

    def _reconnect(self) -> None:
        """Connect to a scheduler that was started again.

        Raises:
            ConnectionLost: nobody answers yet.
        """
        try:
            self._client = connect(self.place, self._security, RETRY)
        except LzuError as error:
            raise ConnectionLost from error
        self._contents.clear()


async def _await(coroutine: Coroutine[Any, Any, Any]) -> Any:
    return await coroutine


def _info(address: str, worker: Mapping[str, Any], python: str, dask: str) -> WorkerInfo:
    return WorkerInfo(
        address=address,
        name=str(worker["name"]),
        host=worker["host"],
        threads=worker["nthreads"],
        resources=worker["resources"],
        python=python,
        dask=dask,
    )
