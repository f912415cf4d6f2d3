"""Processes of the pool: they work where the caller does, and end with it, whatever ends it."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from lzu_benchmarks.harness.workers import run_jobs
from lzu_export.support.interpreter import run_program

SLEEPS = """
import os, pathlib, time
from lzu_benchmarks.harness.workers import workers
with workers(1) as pool:
    pathlib.Path("worker").write_text(str(pool.apply(os.getpid)))
    pool.apply(time.sleep, (600,))
"""


def test_jobs_run_in_the_caller_s_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = run_jobs(os.getcwd, [(), ()], 1)
    assert found == [str(tmp_path)] * 2


def test_a_killed_caller_leaves_no_process(tmp_path: Path) -> None:
    caller = subprocess.Popen(run_program(SLEEPS), cwd=tmp_path)
    try:
        worker = int(_content(tmp_path / "worker"))
        os.kill(worker, 0)  # it is there, and sleeps for ten minutes
    finally:
        caller.send_signal(signal.SIGKILL)
        caller.wait()
    deadline = time.monotonic() + 20
    while _runs(worker):
        assert time.monotonic() < deadline, "the process outlived its caller"
        time.sleep(0.05)


def _content(path: Path) -> str:
    deadline = time.monotonic() + 60
    while not (path.is_file() and path.read_text()):
        assert time.monotonic() < deadline, f"{path.name} was not written"
        time.sleep(0.05)
    return path.read_text()


def _runs(process: int) -> bool:
    """Whether a process runs; one that ended and was not waited for does not."""
    try:
        status = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"
