"""Jobs on a scheduler and workers in processes of their own. Slow: each takes seconds to start."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("distributed", reason="jobs on a cluster need the extra cluster")

from lzu_benchmarks.harness.dask_processes import DaskProcesses
from lzu_export.cluster.cluster import open_cluster
from lzu_export.cluster.jobs import Command, Job

pytestmark = pytest.mark.slow

KILL_THE_WORKER = (
    "import os, signal; stat = open(f'/proc/{os.getppid()}/stat').read(); "
    "os.kill(int(stat.rpartition(')')[2].split()[1]), signal.SIGKILL); "
    "import time; time.sleep(60)"
)
"""Statement that kills the parent of its supervisor."""


def job(program: str, name: str, **more: Any) -> Job:
    """Return a job that runs a statement once in the standard library's `timeit`."""
    command = Command(("-n", "1", "-r", "1", program), module="timeit", returns=("*.bin",))
    return Job(name, {"program": program}, command, **more)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with DaskProcesses(2) as processes:
        yield processes.address


def test_a_job_that_ends_its_worker_each_time_is_a_row_and_others_are_done(
    address: str, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    marks = tmp_path / "starts"
    deadly = f"open({str(marks)!r}, 'a').write('x'); {KILL_THE_WORKER}"
    jobs = [job(deadly, "deadly"), *(job(f"print({i})", f"job {i}") for i in range(6))]
    with open_cluster(address) as cluster:
        found = {each.name: each for each in cluster.run(jobs, patience=120)}
    assert found.pop("deadly").sentence.startswith("this job ended its worker 4 times")
    assert marks.read_text() == "xxxx"
    assert {each.status for each in found.values()} == {"done"}
    assert len(found) == 6
    assert capfd.readouterr() == ("", "")


def test_a_large_file_goes_and_comes_back(address: str, capfd: pytest.CaptureFixture[str]) -> None:
    """The file has 100 MB. Dask must not warn about it on stderr."""
    content = bytes(range(256)) * 400_000
    copy = job("import shutil; shutil.copy('in', 'out.bin')", "copy", files={"in": content})
    with open_cluster(address) as cluster:
        (found,) = cluster.run([copy], patience=120)
    assert found.files == {"out.bin": content}
    assert capfd.readouterr() == ("", "")
