"""Show that kills of workers lose no job and double none.

`python -m lzu_benchmarks cluster_kills` runs 1,000 trivial jobs on 8 workers in processes of this
machine, and kills a random worker at 60 random moments. Then it does the same while the scheduler
is killed and started again three times, too. Each job appends a line to a file when it starts, so
executions are counted besides results. A job whose worker dies runs again, so there may be more
executions than jobs, but each job has one result.
"""

import argparse
import random
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from lzu_benchmarks.commands import add_json, print_result, study_parser
from lzu_benchmarks.harness.dask_processes import DaskProcesses
from lzu_export.cli import exits
from lzu_export.cluster.cluster import open_cluster
from lzu_export.cluster.jobs import Command, Job, Outcome
from lzu_export.cluster.store import Store
from lzu_export.errors import LzuError
from lzu_export.support import hardware
from lzu_export.support.progress import Reporter

NEEDS = "extra cluster"
DEATHS_ALLOWED = "20"
"""Luck may kill the worker of one job several times; Dask's default is 3."""
PAUSE = 1.0
"""Seconds that the scheduler is gone."""
PATIENCE = 600.0
"""Seconds to wait for workers, which start slowly on a busy machine."""


def job(i: int, executions: Path, seconds: float) -> Job:
    """Return a job that takes some time and prints its number.

    Its module is the standard library's `timeit`, which runs a statement once: any module of ours
    takes longer to import.
    """
    statement = (
        f"import time; open({str(executions)!r}, 'a').write('{i}\\n'); "
        f"time.sleep({seconds}); print('number', {i})"
    )
    command = Command(("-n", "1", "-r", "1", statement), module="timeit")
    return Job(f"job {i}", {"number": i}, command)


def measure(given: argparse.Namespace, restarts: int, report: Reporter) -> dict[str, Any]:
    """Run the jobs while processes are killed, and count results and executions."""
    luck = random.Random(given.seed)
    # The first results and the last ones are spared, so that jobs run when a process is killed.
    moments = range(given.workers, given.jobs - given.workers)
    kills = set(luck.sample(moments, min(given.kills, len(moments))))
    schedulers = set(luck.sample(moments, min(restarts, len(moments))))
    environment = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": DEATHS_ALLOWED}
    title = "jobs while workers are killed" + (", and the scheduler" if restarts else "")
    killed: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as place:
        executions = Path(place, "executions")
        executions.touch()
        jobs = [job(i, executions, given.seconds) for i in range(given.jobs)]
        outcomes: list[Outcome] = []
        with (
            DaskProcesses(given.workers, environment=environment) as processes,
            report.steps(title, len(jobs)) as advance,
            open_cluster(processes.address) as cluster,
            Store(Path(place, "store")) as store,
        ):
            started = time.monotonic()
            for outcome in cluster.run(jobs, store, patience=PATIENCE):
                outcomes.append(outcome)
                advance()
                killed["workers"] += len(outcomes) in kills and processes.kill_worker(luck)
                if len(outcomes) in schedulers:
                    processes.kill_scheduler(PAUSE)
                    killed["schedulers"] += 1
            seconds = time.monotonic() - started
            kept = sum(store.get(each) is not None for each in jobs)
        lines = Counter(executions.read_text().split())
    numbers = {each.key: f"number {i}\n" for i, each in enumerate(jobs)}
    return {
        "jobs": len(jobs),
        "seconds": seconds,
        "killed_workers": killed["workers"],
        "killed_schedulers": killed["schedulers"],
        "results": len(outcomes),
        "different_results": len({each.key for each in outcomes}),
        "right_results": sum(
            str(each.answer.get("stdout", "")).startswith(numbers[each.key]) for each in outcomes
        ),
        "kept_results": kept,
        "not_done": [f"{each.name}: {each.sentence}" for each in outcomes if each.status != "done"],
        "executed_jobs": len(lines),
        "executions": sum(lines.values()),
        "most_executions_of_a_job": max(lines.values(), default=0),
    }


def is_whole(found: Mapping[str, Any]) -> bool:
    """Whether each job has exactly one result, which is its own."""
    counts = ("results", "different_results", "right_results", "kept_results", "executed_jobs")
    return all(found[name] == found["jobs"] for name in counts)


def table(result: Mapping[str, Mapping[str, Any]]) -> Table:
    """Return the scenarios as columns."""
    made = Table(title="Jobs whose workers and schedulers are killed")
    made.add_column("")
    for name in result:
        made.add_column(name, justify="right")
    for row in next(iter(result.values())):
        if row != "not_done":
            cells = [each[row] for each in result.values()]
            texts = [f"{each:.0f}" if isinstance(each, float) else str(each) for each in cells]
            made.add_row(row.replace("_", " "), *texts)
    return made


def parser() -> argparse.ArgumentParser:
    """Make the parser of the command's options."""
    made = study_parser(__file__, __doc__)
    made.add_argument("--jobs", type=int, default=1000)
    made.add_argument("--workers", type=int, default=8)
    made.add_argument("--seconds", type=float, default=0.1, help="that a job sleeps")
    made.add_argument("--kills", type=int, default=60, help="workers that are killed")
    made.add_argument("--restarts", type=int, default=3, help="schedulers that are killed")
    made.add_argument("--seed", type=int, default=0, help="of the kills")
    add_json(made)
    return made


@exits.ending()
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    given = parser().parse_args(arguments)
    if min(given.jobs, given.workers, given.seconds) <= 0 or min(given.kills, given.restarts) < 0:
        raise LzuError(
            "--jobs, --workers and --seconds are positive, --kills and --restarts 0 or more; give "
            "such numbers"
        )
    report = Reporter()
    result = {
        "workers killed": measure(given, 0, report),
        "scheduler, too": measure(given, given.restarts, report),
    }
    machine = hardware.identity()
    print_result(given.json, {"machine": machine, **result}, machine, table(result))
    if not all(map(is_whole, result.values())):
        raise LzuError("a result is missing, doubled or wrong; see the counts on stdout")


if __name__ == "__main__":
    main()
