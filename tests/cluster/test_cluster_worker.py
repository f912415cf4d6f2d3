"""The worker's function: folders, bounds, and the ends of processes."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from lzu_export.cluster import worker
from lzu_export.support.interpreter import run_program


def ask(program: str, files: dict[str, bytes] | None = None, **more: Any) -> Any:
    """Run a statement in the standard library's `timeit`; return answer and files."""
    request = {
        "key": "k",
        "module": "timeit",
        "arguments": ["-n", "1", "-r", "1", program],
        "environment": {},
        "timeout": None,
        "folder": None,
        "returns": [],
        **more,
    }
    text, returned = worker.run(json.dumps(request), files or {})
    return json.loads(text), returned


def gone(pid: int, within: float = 5.0) -> bool:
    """Whether a process ends within some seconds; one that nobody has reaped has ended."""
    end = time.monotonic() + within
    while time.monotonic() < end:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.01)
    return False


def test_a_command_reads_and_returns_files_of_its_folder_which_goes() -> None:
    program = (
        "import os; print(os.getcwd(), os.environ['ME']); os.mkdir('b'); "
        "open('b/y.txt', 'w').write(open('a/x').read()); open('c.bin', 'w'); os.symlink('/', 'd')"
    )
    answer, files = ask(
        program, {"a/x": b"content"}, environment={"ME": "mine"}, returns=["*.txt", "d*"]
    )
    assert (answer["status"], answer["error"]) == (0, "")
    folder, me = answer["stdout"].split()[:2]
    assert me == "mine"
    assert not Path(folder).exists()
    assert files == {"b/y.txt": b"content"}
    assert answer["python"] == sys.version.split()[0]
    assert answer["seconds"] > 0


def test_a_given_folder_stays_and_its_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "in").symlink_to(tmp_path / "outside")
    answer, _ = ask("pass", {"in/x": b""}, folder=str(folder))
    assert answer["error"] == "the file 'in/x' of a job lies behind a link out of its folder"
    (folder / "file").symlink_to(tmp_path / "outside/file")
    answer, _ = ask("pass", {"file": b"new"}, folder=str(folder))
    assert answer["status"] == 0
    assert (folder / "file").read_bytes() == b"new"
    assert not (tmp_path / "outside/file").exists()
    assert {each.name for each in folder.iterdir()} == {"in", "file"}


@pytest.mark.parametrize("name", ["../x", "/x", "", "a/../../x"])
def test_a_file_outside_the_folder_is_refused(name: str) -> None:
    answer, _ = ask("pass", {name: b""})
    assert answer["status"] == worker.UNFIT
    assert answer["error"] == f"the file {name!r} of a job is no relative path within its folder"


def test_a_failure_s_sentence_is_the_command_s_own_and_its_log_is_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(worker, "LOG_LIMIT", 100)
    answer, _ = ask(
        "import os; os.write(2, b'x' * 999 + b'\\nerror: disks are round\\n'); os._exit(5)"
    )
    assert (answer["status"], answer["error"]) == (5, "disks are round")
    assert len(answer["log"]) == 100
    answer, _ = ask("import os; os.write(2, b'last words'); os._exit(7)")
    assert answer["error"] == "it ended with status 7: last words"
    box = "╭─ Error ─╮\\n│ No such option: --x  │\\n╰─────────╯"
    answer, _ = ask(f"import os; os.write(2, '{box}'.encode()); os._exit(2)")
    assert answer["error"] == "it ended with status 2: No such option: --x"
    answer, _ = ask("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert answer["status"] == 128 + signal.SIGKILL
    assert answer["error"].startswith("it was killed (SIGKILL)")
    answer, _ = ask("import os, signal; os.kill(os.getpid(), signal.SIGTERM)")
    assert answer["error"] == f"it was ended by signal {signal.SIGTERM:d}"


def test_too_much_output_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "OUTPUT_LIMIT", 1024)
    answer, files = ask("open('x', 'w'); print('y' * 5000)", returns=["x"])
    assert answer["status"] == worker.UNFIT
    assert answer["error"].startswith("its output has more than")
    assert (len(answer["stdout"]), files) == (1024, {})


@pytest.mark.parametrize("late", [True, False])
def test_the_processes_that_a_command_started_end_with_it(tmp_path: Path, late: bool) -> None:
    """Whether it is out of time or ends by itself."""
    program = (
        "import subprocess, time; found = subprocess.Popen(['sleep', '600']); "
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(found.pid)); time.sleep({600 * late})"
    )
    answer, _ = ask(program, timeout=0.5 if late else None)
    assert gone(int((tmp_path / "pid").read_text()))
    if late:
        assert answer["error"] == "it took longer than 0.5 s and was stopped"
        assert answer["seconds"] < 10
    else:
        assert answer["status"] == 0


def test_a_command_is_stopped_by_its_key() -> None:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(ask("import time; time.sleep(600)")))
    thread.start()
    while not worker.stop(["k"]):
        time.sleep(0.01)
    thread.join(10)
    assert found[0][0]["status"] == 128 + signal.SIGKILL
    assert worker.stop(["k"]) == 0


def test_a_command_ends_with_its_worker_however_that_dies(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    job = f"import os, time; open({str(pid)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    request = {"key": "k", "module": "timeit", "arguments": ["-n", "1", "-r", "1", job]}
    request |= {"environment": {}, "timeout": None, "folder": str(tmp_path), "returns": []}
    program = "import sys\nfrom lzu_export.cluster.worker import run\nrun(sys.argv[1], {})"
    process = subprocess.Popen(run_program(program, json.dumps(request)))
    while not (pid.exists() and pid.read_text()):
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert gone(int(pid.read_text()))


def test_a_full_disk_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, content: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self))

    monkeypatch.setattr(Path, "write_bytes", full)
    answer, _ = ask("pass", {"x": b""})
    assert answer["status"] == worker.UNFIT
    assert "is full (" in answer["error"]
    assert "TMPDIR" in answer["error"]
