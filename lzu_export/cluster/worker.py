"""Run one job's command on a worker: in a folder of its own, bounded in time and output.

Takes and returns only strings and bytes, so that scheduler, workers and the machine that asks may
have different releases of Python. Needs only the standard library.
"""

import errno
import fnmatch
import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePosixPath
from typing import IO, Any

from lzu_export.cluster.supervisor import SIGNALLED
from lzu_export.support.interpreter import run_module

OUTPUT_LIMIT = 64 * 1024**2
"""Largest stdout of a command in bytes."""
LOG_LIMIT = 64 * 1024
"""Bytes of the end of stderr that are kept."""
FRAME = " \t│╭╮╰╯─"
"""Characters around a line of stderr that are no part of it, such as the frame of a usage error."""
UNFIT = 2
"""Status of a job that could not be run, as of a command whose input is unfit."""

_running: dict[str, "subprocess.Popen[bytes]"] = {}
_lock = threading.Lock()


class _Unfit(Exception):
    """Sentence on why a job cannot be run here."""


def run(request: str, files: Mapping[str, bytes], worker: str = "") -> tuple[str, dict[str, bytes]]:
    """Run one command; every fault is part of the answer, not an exception.

    Args:
        request: JSON with `key`, and `module`, `arguments`, `environment`, `timeout`, `folder` and
            `returns` as in `lzu_export.cluster.jobs.Command`.
        files: files to write into the job's folder first, by path relative to it.
        worker: name of the worker; empty where it has none.

    Returns:
        The answer, JSON with `status` (of the exit; 128 and more: a signal), `stdout`, `error`
        (sentence; empty after status 0), `log` (end of stderr), `seconds`, `python`, `host`,
        `worker`, `lzu_export` (version or null); and the returned files by relative path.
    """
    started = time.monotonic()
    answer: dict[str, Any] = {"status": UNFIT, "stdout": "", "error": "", "log": ""}
    returned: dict[str, bytes] = {}
    try:
        job = json.loads(request)
        with _folder(job["folder"]) as folder:
            for name, content in files.items():
                _write(folder, name, content)
            answer |= _execute(job, folder)
            if answer["status"] == 0:
                returned = _read(folder, job["returns"])
    except _Unfit as error:
        answer["error"] = str(error)
    except OSError as error:
        answer["error"] = _sentence(error)
    if answer["error"] and answer["status"] == 0:
        answer["status"], returned = UNFIT, {}
    answer |= {
        "seconds": time.monotonic() - started,
        "python": platform.python_version(),
        "host": socket.gethostname(),
        "worker": worker,
        "lzu_export": _version(),
    }
    return json.dumps(answer), returned


def stop(keys: list[str] | None = None) -> int:
    """Kill the running jobs with these keys, or all of this process, and return their number."""
    with _lock:
        found = [process for key, process in _running.items() if keys is None or key in keys]
    for process in found:
        _let_go(process)
    return len(found)


def _let_go(process: "subprocess.Popen[bytes]") -> None:
    """Close the supervisor's stdin, upon which it kills the command."""
    if process.stdin is not None:
        process.stdin.close()


@contextmanager
def _folder(path: str | None) -> Iterator[Path]:
    """Yield the folder of a job: the given one, which stays, or a temporary one."""
    if path is not None:
        folder = Path(path).expanduser().resolve()
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
        return
    folder = Path(tempfile.mkdtemp(prefix="lzu-job-")).resolve()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _inside(folder: Path, name: str) -> Path:
    """Return the path of a job's file; refuse one that is not in its folder."""
    path = PurePosixPath(name)
    if not path.parts or path.is_absolute() or ".." in path.parts:
        raise _Unfit(f"the file {name!r} of a job is no relative path within its folder")
    found = folder / path
    if not found.parent.resolve().is_relative_to(folder):
        raise _Unfit(f"the file {name!r} of a job lies behind a link out of its folder")
    return found


def _write(folder: Path, name: str, content: bytes) -> None:
    path = _inside(folder, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.new")
    try:
        new.write_bytes(content)
        new.replace(path)  # a link is replaced, not followed
    finally:
        new.unlink(missing_ok=True)


def _read(folder: Path, patterns: list[str]) -> dict[str, bytes]:
    """Return the regular files in a folder whose relative path matches one of the patterns."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns):
            real = path.resolve()
            if real.is_file() and real.is_relative_to(folder):
                found[name] = real.read_bytes()
    return found


def _execute(job: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Run a job's command in a folder and return its part of the answer."""
    supervisor = Path(__file__).with_name("supervisor.py")
    process = subprocess.Popen(
        [
            sys.executable,
            "-I",
            "-S",
            str(supervisor),
            *run_module(job["module"], *job["arguments"]),
        ],
        cwd=folder,
        env=os.environ | job["environment"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    stdout, stderr = _Tail(process.stdout, OUTPUT_LIMIT), _Tail(process.stderr, LOG_LIMIT)
    with _lock:
        _running[job["key"]] = process
    late = False
    try:
        process.wait(job["timeout"])
    except subprocess.TimeoutExpired:
        late = True
    finally:
        _let_go(process)
        status = process.wait()
        with _lock:
            _running.pop(job["key"], None)
    log = stderr.text()
    answer = {"status": status, "stdout": stdout.text(), "log": log, "error": ""}
    if late:
        answer |= {
            "status": SIGNALLED + signal.SIGKILL,
            "error": f"it took longer than {job['timeout']:g} s and was stopped",
        }
    elif status != 0:
        answer["error"] = _error(status, log)
    elif stdout.cut:
        answer["error"] = f"its output has more than {OUTPUT_LIMIT // 1024**2} MiB"
    return answer


class _Tail:
    """Reads a stream to its end in a thread, and keeps its last bytes."""

    def __init__(self, stream: IO[bytes], limit: int) -> None:
        self.cut = False
        self._stream, self._limit, self._kept = stream, limit, bytearray()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        with self._stream:
            while piece := os.read(self._stream.fileno(), 1 << 16):
                self._kept += piece
                if len(self._kept) > 2 * self._limit:
                    self._shorten()

    def _shorten(self) -> None:
        if len(self._kept) > self._limit:
            self.cut = True
            del self._kept[: -self._limit]

    def text(self) -> str:
        """Return what was kept, after the stream's end."""
        self._thread.join()
        self._shorten()
        return self._kept.decode("utf-8", "replace")


def _error(status: int, log: str) -> str:
    """Return the sentence of a command that failed: its own, if stderr has one."""
    lines = [text for line in log.splitlines() if (text := line.strip(FRAME))]
    for line in reversed(lines):
        if line.startswith("error: "):
            return line.removeprefix("error: ")
    if status == SIGNALLED + signal.SIGKILL:
        return "it was killed (SIGKILL), as the kernel does when memory is full"
    if status > SIGNALLED:
        return f"it was ended by signal {status - SIGNALLED}"
    return f"it ended with status {status}" + (f": {lines[-1]}" if lines else "")


def _sentence(error: OSError) -> str:
    where = f" ({error.filename})" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"the disk of {socket.gethostname()} is full{where}; free space, or start the worker "
            "with TMPDIR set to a folder on another disk"
        )
    return f"{error.strerror or error}{where} on {socket.gethostname()}; fix that and run again"


def _version() -> str | None:
    try:
        return version("lzu-export")
    except PackageNotFoundError:
        return None
