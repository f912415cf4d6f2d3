"""Measure what a job costs Dask's scheduler as jobs grow.

`python -m lzu_benchmarks cluster_growth` runs jobs that sleep on workers in processes of this
machine, 10 to 10,000 of them on 8 workers, and then 1,000 on 2 to 16 workers. It reports what a job
costs: processor time of the scheduler and of the process that asks for the jobs, and bytes on the
loopback device, through which all messages go. Then it sends one file of 1 to 256 MB to a job and
back. An exponent is the slope between neighbouring sizes: 1 means that the cost of all jobs
grows as fast as their number. Other programs that use the loopback device add to the bytes.
"""

import argparse
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

from rich.table import Table

from lzu_benchmarks.commands import add_json, print_result, study_parser
from lzu_benchmarks.harness.dask_processes import DaskProcesses
from lzu_export.cli import exits
from lzu_export.cluster.cluster import Certificates, Cluster, open_cluster
from lzu_export.cluster.dask_workers import DaskWorkers
from lzu_export.cluster.jobs import Command, Job
from lzu_export.errors import LzuError
from lzu_export.support import hardware
from lzu_export.support.progress import Reporter

NEEDS = "extra cluster"
JOBS = (10, 100, 1000, 10000)
WORKERS = (2, 8, 16)
MEGABYTES = (1, 16, 256)
FIXED_WORKERS, FIXED_JOBS = 8, 1000
MB = 1_000_000


class Sleepers(DaskWorkers):
    """Workers that sleep and answer, without the process that a real job has.

    The processes are no load of the scheduler, and two processors carry few of them a second.
    """

    def __init__(self, scheduler: str, seconds: float) -> None:
        """Take the scheduler's address and the seconds that a job sleeps."""
        super().__init__(scheduler, Certificates())
        answer = {"status": 0, "seconds": seconds, "host": "", "error": "", "stdout": "x" * 200}
        self.text = f"(__import__('time').sleep({seconds}), ({json.dumps(answer)!r}, {{}}))[1]"


@contextmanager
def sleepers(scheduler: str, seconds: float) -> Iterator[Cluster]:
    """Open such workers for the time of a block."""
    workers = Sleepers(scheduler, seconds)
    try:
        yield Cluster(workers)
    finally:
        workers.close()


def sleeping(i: int) -> Job:
    """Return a job for sleepers, with a command line of a usual length."""
    return Job(f"job {i}", {"number": i}, Command(("x" * 200, str(i))))


def carrying(megabytes: int) -> Job:
    """Return a job that gets a file of so many megabytes and returns a copy."""
    command = Command(
        ("-n", "1", "-r", "1", "import shutil; shutil.copy('in', 'out')"),
        module="timeit",
        returns=("out",),
    )
    content = os.urandom(megabytes * MB)  # as an engine's, it cannot be compressed
    return Job(f"{megabytes} MB", {"megabytes": megabytes}, command, {"in": content})


def measure(processes: DaskProcesses, cluster: Cluster, jobs: Sequence[Job]) -> dict[str, float]:
    """Run jobs and return what they cost.

    Raises:
        LzuError: a job is not done.
    """
    scheduler, _ = processes.usage()
    bytes_before, started = _loopback(), time.monotonic()
    own = time.process_time()
    for outcome in cluster.run(jobs):
        if outcome.status != "done":
            raise LzuError(f"{outcome.name} failed: {outcome.sentence}")
    own = time.process_time() - own
    seconds = time.monotonic() - started
    after, memory = processes.usage()
    return {
        "jobs": len(jobs),
        "seconds": seconds,
        "scheduler_seconds": after - scheduler,
        "scheduler_megabytes": memory / MB,
        "asking_seconds": own,
        "megabytes": (_loopback() - bytes_before) / MB,
    }


def _loopback() -> int:
    """Return the bytes that the loopback device has carried."""
    for line in Path("/proc/net/dev").read_text(encoding="utf-8").splitlines():
        name, _, numbers = line.partition(":")
        if name.strip() == "lo":
            return int(numbers.split()[0])
    return 0


def run_series(
    title: str, sizes: Sequence[int], one: Callable[[int], dict[str, float]], report: Reporter
) -> list[dict[str, float]]:
    """Return the costs at each size, in ascending order, each but the first with its exponents."""
    rows: list[dict[str, float]] = []
    with report.steps(title, len(sizes)) as advance:
        for size in sorted(sizes):
            rows.append({"size": size, **one(size)})
            advance()
    for smaller, larger in pairwise(rows):
        step = math.log(larger["size"] / smaller["size"])
        for name in ("scheduler_seconds", "megabytes"):
            if min(smaller[name], larger[name]) > 0:
                larger[f"{name}_exponent"] = math.log(larger[name] / smaller[name]) / step
    return rows


def over_jobs(given: argparse.Namespace, report: Reporter) -> list[dict[str, float]]:
    """Vary the number of jobs on one cluster."""
    with (
        DaskProcesses(FIXED_WORKERS) as processes,
        sleepers(processes.address, given.seconds) as cluster,
    ):
        measure(processes, cluster, [sleeping(i) for i in range(FIXED_WORKERS)])  # warm up

        def one(count: int) -> dict[str, float]:
            return measure(processes, cluster, [sleeping(i) for i in range(count)])

        return run_series("numbers of jobs", given.jobs, one, report)


def over_workers(given: argparse.Namespace, report: Reporter) -> list[dict[str, float]]:
    """Vary the number of workers for the same jobs."""

    def one(count: int) -> dict[str, float]:
        with (
            DaskProcesses(count) as processes,
            sleepers(processes.address, given.seconds) as cluster,
        ):
            measure(processes, cluster, [sleeping(i) for i in range(count)])
            return measure(processes, cluster, [sleeping(i) for i in range(FIXED_JOBS)])

    return run_series("numbers of workers", given.workers, one, report)


def over_bytes(given: argparse.Namespace, report: Reporter) -> list[dict[str, float]]:
    """Vary the size of a file that goes to a job and comes back."""

    def one(megabytes: int) -> dict[str, float]:
        with DaskProcesses(1) as processes, open_cluster(processes.address) as cluster:
            return measure(processes, cluster, [carrying(megabytes)])

    return run_series("sizes of files", given.megabytes, one, report)


def table(title: str, unit: str, rows: Sequence[dict[str, float]]) -> Table:
    """Return a series as a table; all but the seconds and the scheduler's peak are of one job."""
    made = Table(title=f"{title}: costs of one job")
    heads = (unit, "s", "scheduler ms", "exp.", "asker ms", "kB", "exp.", "peak MB")
    for heading in heads:
        made.add_column(heading, justify="right")
    for row in rows:
        jobs = row["jobs"]
        made.add_row(
            f"{row['size']:g}",
            f"{row['seconds']:.1f}",
            f"{1000 * row['scheduler_seconds'] / jobs:.2f}",
            _exponent(row.get("scheduler_seconds_exponent")),
            f"{1000 * row['asking_seconds'] / jobs:.2f}",
            f"{1000 * row['megabytes'] / jobs:.1f}",
            _exponent(row.get("megabytes_exponent")),
            f"{row['scheduler_megabytes']:.0f}",
        )
    return made


def _exponent(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


SERIES = {
    "jobs": ("Jobs on 8 workers", "jobs", over_jobs),
    "workers": ("1,000 jobs", "workers", over_workers),
    "megabytes": ("A file to one job and back", "MB", over_bytes),
}


def parser() -> argparse.ArgumentParser:
    """Make the parser of the command's options."""
    made = study_parser(__file__, __doc__)
    made.add_argument("--series", nargs="+", choices=list(SERIES), default=list(SERIES))
    made.add_argument("--jobs", nargs="+", type=int, default=JOBS)
    made.add_argument("--workers", nargs="+", type=int, default=WORKERS)
    made.add_argument("--megabytes", nargs="+", type=int, default=MEGABYTES)
    made.add_argument("--seconds", type=float, default=0.05, help="that a job sleeps")
    add_json(made)
    return made


@exits.ending()
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    given = parser().parse_args(arguments)
    for name in SERIES:
        sizes = getattr(given, name)
        if min(sizes) < 1 or len(set(sizes)) < len(sizes):
            raise LzuError(f"--{name} takes different positive numbers; give such")
    report = Reporter()
    result: dict[str, Any] = {"machine": hardware.identity()}
    for name in given.series:
        result[name] = SERIES[name][2](given, report)
    tables = [
        table(title, unit, result[n]) for n, (title, unit, _) in SERIES.items() if n in result
    ]
    print_result(given.json, result, result["machine"], *tables)


if __name__ == "__main__":
    main()
