"""Jobs on this machine."""

import json
import time
from pathlib import Path

import pytest

from lzu_export.cluster.cluster import open_cluster
from lzu_export.cluster.jobs import Command, Job
from lzu_export.cluster.store import Store
from lzu_export.errors import LzuError


def job(program: str, name: str = "job", **more: object) -> Job:
    """Return a job that runs a Python statement once in the standard library's `timeit`."""
    options = {key: more.pop(key) for key in ("timeout", "returns") if key in more}
    command = Command(("-n", "1", "-r", "1", program), module="timeit", **options)  # type: ignore[arg-type]
    return Job(name, {"program": program}, command, **more)  # type: ignore[arg-type]


def test_jobs_run_once_and_return_output_and_files(tmp_path: Path) -> None:
    jobs = [
        job(f"print({i}); open('out.txt', 'w').write('{i}')", returns=("*.txt",)) for i in (1, 2)
    ]
    with open_cluster(workers=2) as cluster, Store(tmp_path / "store") as store:
        outcomes = {each.key: each for each in cluster.run([*jobs, jobs[0]], store)}
        assert [outcomes[each.key].status for each in jobs] == ["done", "done"]
        assert outcomes[jobs[1].key].files == {"out.txt": b"2"}
        assert outcomes[jobs[1].key].answer["stdout"].startswith("2\n")
        started = time.monotonic()
        again = {each.key: each for each in cluster.run(jobs, store)}
        assert time.monotonic() - started < 0.2
        assert again == outcomes
    kept = json.loads((tmp_path / "store" / f"{jobs[0].key}.json").read_text())
    assert kept["status"] == "done"


def test_a_run_that_is_left_kills_its_commands(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    slow = f"import os, time; open({str(pid)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    with open_cluster(workers=2) as cluster:
        steps = cluster.run([job(slow, "slow"), job("", "waits"), job("pass", "quick")])
        assert next(steps).name == "waits"
        while not (pid.exists() and pid.read_text()):
            time.sleep(0.01)
    assert not Path("/proc", pid.read_text()).exists()


def test_a_count_below_one_is_refused() -> None:
    with pytest.raises(LzuError, match="--workers is 0"), open_cluster(workers=0):
        pass
