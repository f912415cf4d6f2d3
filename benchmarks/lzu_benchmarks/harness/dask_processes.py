"""A scheduler and workers of Dask in processes of this machine, which may be killed and restarted.

They listen on 127.0.0.1 only.
"""

import os
import random
import re
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from lzu_export.errors import LzuError
from lzu_export.support.interpreter import run_module

HOST = "127.0.0.1"
STARTING = 120.0
"""Seconds within which all workers must be there."""
SCHEDULER, WORKER = "scheduler", "worker"


class DaskProcesses:
    """A scheduler and a group of workers, each started again when it ends, as by a service manager.

    Use it as a context. `dask worker` ends when its scheduler does.
    """

    def __init__(self, workers: int, *, environment: Mapping[str, str] | None = None) -> None:
        """Take the number of workers, each of one thread, and further environment variables."""
        self._count = workers
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        temporary = {"DASK_TEMPORARY_DIRECTORY": self._folder.name}
        self._environment = {**os.environ, **temporary, **(environment or {})}
        self._port = _free_port()
        self.address = f"tcp://{HOST}:{self._port}"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._resume = 0.0
        self._lock = threading.Lock()
        self._leaving = threading.Event()
        self._keeper = threading.Thread(target=self._keep, daemon=True)

    def __enter__(self) -> "DaskProcesses":
        """Start all processes and wait for the workers.

        Raises:
            LzuError: they are not there in time.
        """
        self._keeper.start()
        try:
            self.wait()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End all processes."""
        self._leaving.set()
        self._keeper.join()
        for process in self._processes.values():
            _kill(process)
        self._folder.cleanup()

    def wait(self) -> None:
        """Wait until all workers are connected.

        Raises:
            LzuError: they are not in time.
        """
        from distributed import Client

        from lzu_export.cluster.connection import quiet

        try:
            with quiet(), Client(self.address, timeout=STARTING, set_as_default=False) as client:
                client.wait_for_workers(self._count, timeout=STARTING)
        except OSError as error:
            raise LzuError(
                f"{self._count} workers of Dask did not start within {STARTING:g} s; see "
                f"{self._folder.name}"
            ) from error

    def kill_worker(self, luck: random.Random) -> bool:
        """Kill a worker, whose nanny starts another one; return whether there was any."""
        import psutil

        with self._lock, suppress(psutil.Error, KeyError):
            children = psutil.Process(self._processes[WORKER].pid).children()
            workers = [each for each in children if "spawn_main" in " ".join(each.cmdline())]
            if workers:
                luck.choice(workers).kill()
                return True
        return False

    def kill_scheduler(self, pause: float) -> None:
        """Kill the scheduler, which is started again after this many seconds."""
        with self._lock:
            _kill(self._processes.pop(SCHEDULER))
            self._resume = time.monotonic() + pause

    def usage(self) -> tuple[float, int]:
        """Return the scheduler's processor time in seconds, and its largest memory in bytes."""
        import psutil

        pid = self._processes[SCHEDULER].pid
        times = psutil.Process(pid).cpu_times()
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
        (peak,) = re.findall(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
        return times.user + times.system, 1024 * int(peak)

    def _keep(self) -> None:
        """Start each process that does not run, until the context is left."""
        while not self._leaving.wait(0.1):
            with self._lock:
                for name in (SCHEDULER, WORKER):
                    process = self._processes.get(name)
                    idle = process is None or process.poll() is not None
                    if idle and time.monotonic() >= self._resume:
                        self._processes[name] = self._start(name)

    def _start(self, name: str) -> "subprocess.Popen[bytes]":
        words = {
            SCHEDULER: ["--port", str(self._port), "--dashboard-address", f"{HOST}:0"],
            WORKER: [self.address, "--nworkers", str(self._count), "--nthreads", "1"],
        }[name]
        with open(Path(self._folder.name, f"{name}.log"), "ab") as log:
            return subprocess.Popen(
                run_module("dask", name, *words, "--host", HOST),
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )


def _kill(process: "subprocess.Popen[bytes]") -> None:
    """Kill a process and what it has started."""
    import psutil

    found = []
    with suppress(psutil.Error):
        found = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    for each in found:
        with suppress(psutil.Error):
            each.kill()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
    return port
