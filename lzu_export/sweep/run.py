"""Run a sweep: export its points as jobs, time them one at a time, rank them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from lzu_export.cluster.jobs import Command, Job, Outcome
from lzu_export.cluster.store import Store
from lzu_export.compiler.fingerprint import contents
from lzu_export.errors import LzuError, readable_os_errors
from lzu_export.manifest.schema import FILE as MANIFEST
from lzu_export.support import hardware
from lzu_export.support.progress import Reporter
from lzu_export.sweep.environment import environment
from lzu_export.sweep.points import BASELINE, Point, Points, line, varied
from lzu_export.sweep.results import Exported, Result, Row, ranked, timed
from lzu_export.sweep.schema import Sweep, read_sweep
from lzu_export.sweep.search import Searcher, corners
from lzu_export.sweep.watch import Watch

if TYPE_CHECKING:
    from lzu_export.cluster.cluster import Cluster

JOBS = "jobs"
"""Folder of the done jobs in a sweep's folder."""
BUNDLES = "bundles"
VERSION = 1
"""Version of the jobs; results of others are not taken."""


class Opener(Protocol):
    """Opens the workers of a phase."""

    remote: bool
    """Whether they are other processes' workers, found by a scheduler."""

    def __call__(self, *, alone: bool) -> "AbstractContextManager[Cluster]":
        """Open workers; `alone`: one job at a time on this machine."""


@dataclass
class Run:
    """A sweep that runs."""

    points: Points
    out: Path
    """Folder of the sweep, absolute."""
    store: Store
    opener: Opener
    watch: Watch
    environment: Mapping[str, str]
    exported: dict[str, Exported] = field(default_factory=dict)
    """Exports by the key of their job."""
    rows: dict[str, Row] = field(default_factory=dict)
    """Rows by the key of their job, with the time."""
    jobs: dict[str, Job] = field(default_factory=dict)
    """Jobs of exports by the name of the point's folder."""
    base: Point | None = None
    base_key: str | None = None

    @property
    def sweep(self) -> Sweep:
        """The sweep's file."""
        return self.points.sweep

    def measure(self, points: Sequence[Point]) -> list[Row]:
        """Export points and time them, and return their rows in the same order."""
        with self.watch.preparation(len(points)) as step:
            mine = {}
            for each in points:
                mine[self.job(each).key] = each
                step()
        whole = dict(mine)
        if self.base is not None:
            self.base_key = self.job(self.base).key
            whole = {self.base_key: self.base, **mine}
        new = {key: each for key, each in whole.items() if key not in self.exported}
        if new:
            with self.opener(alone=False) as cluster:
                self._export(cluster, new)
            base = self.exported.get(self.base_key or "")
            self.rows |= {key: self.exported[key].over(base) for key in new}
        timed_now = [key for key in new if key in mine] if self.sweep.times else []
        if timed_now:
            with self.opener(alone=True) as cluster:
                self._time(cluster, timed_now)
        return [self.rows[key] for key in mine]

    def job(self, point: Point) -> Job:
        """Return the job that exports a point.

        Its key holds the recipe and the hashes of all files that it names, the releases of the
        workers' packages, and the command.
        """
        if point.folder not in self.jobs:  # else the files were hashed before
            inputs = {
                "version": VERSION,
                "contents": contents(point.recipe),
                "environment": dict(self.environment),
            }
            words = (*self.points.command(point, self.folder(point)), "--json")
            self.jobs[point.folder] = Job(point.name, inputs, Command(words))
        return self.jobs[point.folder]

    def folder(self, point: Point) -> Path:
        """Return the folder of a point's bundles."""
        return self.out / BUNDLES / point.folder

    def _export(self, cluster: "Cluster", points: Mapping[str, Point]) -> None:
        jobs = [self.job(each) for each in points.values()]
        for job in jobs:
            self._forget_removed(job)
        metric = self.sweep.rank.metric if self.sweep.rank else None
        with self.watch.phase("export", len(jobs)) as phase:
            for outcome in cluster.run(jobs, self.store):
                found = Exported(points[outcome.key], outcome, metric)
                self.exported[outcome.key] = found
                row = found.row
                figure = "" if row.metric is None else f"{found.metric} {row.metric:.2f}"
                phase.end(row.name, row.seconds, figure, row.sentence)

    def _forget_removed(self, job: Job) -> None:
        """Forget a done export whose bundle was removed since, so that it is done again."""
        if self.opener.remote:
            return  # it may lie on a worker's own disk
        done = self.store.get(job)
        if done is not None and not _is_there(done):
            self.store.forget(job)

    def _time(self, cluster: "Cluster", keys: Sequence[str]) -> None:
        """Time exported bundles in turns with the baseline, one job at a time on each machine."""
        base = self.exported[self.base_key] if self.base_key else None
        assert base is not None, "a sweep that times has a baseline"
        waiting = [key for key in keys if self.rows[key].status == "done"]
        if base.row.status == "failed":
            for key in waiting:
                update = {"status": "failed", "sentence": "not timed, since the baseline failed"}
                self.rows[key] = self.rows[key].model_copy(update=update)
            return
        hosts = self._hosts(cluster, base, waiting) if self.opener.remote else {}
        jobs = {}
        for key in waiting:
            worker = self.exported[key].outcome.worker
            job = self._timing(base, key, worker if worker in hosts else None)
            jobs[job.key] = (job, key)
        with self.watch.phase("time", len(waiting)) as phase:
            for batch in batches([job for job, _ in jobs.values()], hosts):
                for outcome in cluster.run(batch, self.store):
                    key = jobs[outcome.key][1]
                    row = self.rows[key] = timed(self.rows[key], outcome)
                    figure = f"{row.ratio.value:.3f} times" if row.ratio else ""
                    phase.end(row.name, outcome.seconds, figure, row.sentence)

    def _timing(self, base: Exported, key: str, worker: str | None) -> Job:
        """Return the job that times a bundle in turns with the baseline's."""
        mine = self.exported[key]
        return Job(
            name=mine.row.name,
            inputs={
                "version": VERSION,
                "base": self.base_key,
                "bundle": key,
                "machine": worker or hardware.processor(),
                "made": [each.manifest.created for each in (base, mine) if each.manifest],
            },
            command=Command(
                module="lzu_export.sweep.pairing", arguments=(base.row.bundle, mine.row.bundle)
            ),
            worker=worker,
        )

    def _hosts(self, cluster: "Cluster", base: Exported, keys: Sequence[str]) -> dict[str, str]:
        """Return the host of each worker that holds bundles; they get the baseline's too.

        A worker that did not export the baseline does so now, which takes seconds where its disk
        is shared with the one that did.
        """
        holding = {self.exported[key].outcome.worker for key in keys}
        hosts = {each.name: each.host for each in cluster.workers() if each.name in holding}
        assert self.base is not None, "a sweep that times has a baseline"
        job = self.job(self.base)
        copies = [
            replace(
                job, name=f"{BASELINE} on {name}", inputs={**job.inputs, "on": name}, worker=name
            )
            for name in sorted(hosts.keys() - {base.outcome.worker})
        ]
        if copies:
            with self.watch.phase("baseline on each worker", len(copies)) as phase:
                for outcome in cluster.run(copies, self.store):
                    phase.end(outcome.name, outcome.seconds, "", outcome.sentence)
        return hosts


def batches(jobs: Sequence[Job], hosts: Mapping[str, str]) -> Iterator[list[Job]]:
    """Yield jobs that may run together without sharing a machine: one for each host.

    Args:
        jobs: jobs, of which some must run on a worker.
        hosts: host by the worker's name; jobs without a worker are yielded alone, at the end.
    """
    queues: dict[str, list[Job]] = {}
    for job in jobs:
        if job.worker is not None:
            queues.setdefault(hosts[job.worker], []).append(job)
    while any(queues.values()):
        yield [queue.pop(0) for queue in queues.values() if queue]
    yield from ([job] for job in jobs if job.worker is None)


def sweep(
    path: Path,
    out: Path,
    opener: Opener,
    *,
    search: int | None = None,
    report: Reporter | None = None,
) -> tuple[Result, dict[str, Point]]:
    """Run a sweep, or go on with it: what was done with the same inputs is not done again.

    Args:
        path: the sweep's file.
        out: folder of all sweeps; this one's is in it, by its name.
        opener: opens the workers.
        search: number of points that Optuna chooses instead of the whole grid.
        report: receiver of progress.

    Returns:
        The result, and its points by name.

    Raises:
        LzuError: the file or a point's recipe is bad, no worker is reached, workers have different
            releases, or the disk refuses.
    """
    found = read_sweep(path)
    points = Points(found, path)
    base = points.baseline()
    searcher = None if search is None else _searcher(points)
    grid = points.grid() if searcher is None else []
    assert found.name is not None, "read_sweep names it"
    folder = (out / found.name).resolve()
    with readable_os_errors(f"the sweep {folder}"):
        folder.mkdir(parents=True, exist_ok=True)
    watch = Watch(report or Reporter(quiet=True))
    with Store(folder / JOBS) as store:
        run = Run(points, folder, store, opener, watch, _environment(opener), base=base)
        if searcher is None or search is None:
            rows = run.measure(grid)
        else:
            grid, rows = _searched(run, searcher, search)
    machine = "workers of a cluster" if opener.remote else hardware.processor()
    return _result(run, grid, rows, machine), {each.name: each for each in grid}


def _searcher(points: Points) -> Searcher:
    """Return what chooses the points of a sweep, after checking the ends of its matrix.

    Raises:
        LzuError: there is nothing to search or to rank by, a point at an end is refused, or Optuna
            is not installed.
    """
    found, where = points.sweep, f"sweep {points.path}"
    if found.ranked is None:
        raise LzuError(f"{where}: a search needs a figure to rank by; add score to do")
    if not found.matrix:
        raise LzuError(f"{where}: a search needs a matrix; name keys in it")
    points.check_exclusions()
    for each in corners(found):
        points.point(each)
    return Searcher(found, found.ranked)


def _searched(run: Run, searcher: Searcher, count: int) -> tuple[list[Point], list[Row]]:
    """Measure points that are chosen a few at a time; return each different one once."""
    points: dict[str, Point] = {}
    rows: dict[str, Row] = {}
    asked = 0
    while asked < count:
        chosen = searcher.ask(min(run.sweep.search.at_once, count - asked), run.points.excluded)
        asked += len(chosen)
        batch: dict[str, Point] = {}
        for _, settings in chosen:
            name = line(settings)
            try:
                batch[name] = run.points.point(settings)
            except LzuError as error:  # a combination that the recipe refuses
                rows[name] = Row(name=name, settings=settings, status="failed", sentence=str(error))
        points |= batch
        rows |= zip(batch, run.measure(list(batch.values())), strict=True)
        for trial, settings in chosen:
            searcher.tell(trial, rows[line(settings)])
    return list(points.values()), list(rows.values())


def _environment(opener: Opener) -> dict[str, str]:
    """Return what results depend on besides recipes: on a cluster, the workers' releases.

    Raises:
        LzuError: a worker does not say, or two differ.
    """
    if not opener.remote:
        return environment()
    found: dict[str, dict[str, str]] = {}
    with opener(alone=False) as cluster:
        command = Command(module="lzu_export.sweep.environment", arguments=())
        jobs = [
            Job(name=each.name, inputs={"on": each.name}, command=command, worker=each.name)
            for each in cluster.workers()
        ]
        for outcome in cluster.run(jobs, None):
            if outcome.status != "done":
                raise LzuError(f"worker {outcome.name} cannot take part: {outcome.sentence}")
            found[outcome.name] = json.loads(outcome.answer["stdout"])
        if not found:
            raise LzuError(f"{cluster.place} has no workers; start some by `dask worker` there")
    return agreed(found)


def agreed(found: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Return the environment of all workers, by name; refuse workers that differ.

    Raises:
        LzuError: two differ, so that their results could not be compared; the message names what.
    """
    (first, mine), *others = found.items()
    for name, theirs in others:
        for package in dict.fromkeys((*mine, *theirs)):
            has = [each.get(package, "none")[:12] for each in (mine, theirs)]
            if mine.get(package) != theirs.get(package):
                raise LzuError(
                    f"worker {first} has {package} {has[0]} but worker {name} has {has[1]}; start "
                    "all workers in equal environments, so that their results can be compared"
                )
    return dict(mine)


def _is_there(done: Outcome) -> bool:
    try:
        (answer,) = json.loads(done.answer["stdout"])
        return (Path(answer["bundle"]) / MANIFEST).is_file()
    except (ValueError, KeyError, TypeError):
        return False


def _same(exports: Sequence[Exported]) -> list[str]:
    """Return notes on points that came to the same graph, so that a key did nothing."""
    names: dict[str, list[str]] = {}
    for each in exports:
        if each.manifest is not None and each.manifest.graphs:
            graph = next(iter(each.manifest.graphs.values())).file
            names.setdefault(each.manifest.files[graph], []).append(each.row.name)
    return [
        f"{' and '.join(same[:2])}{f' ({len(same)} points)' if len(same) > 2 else ''} came to the "
        "same model: a key that they differ in does nothing here"
        for same in names.values()
        if len(same) > 1
    ]


def _result(run: Run, points: Sequence[Point], rows: Sequence[Row], machine: str) -> Result:
    found = run.sweep
    exports = [each for each in run.exported.values() if each.manifest is not None]
    accuracies = [each.manifest.accuracy for each in exports if each.manifest]
    accuracy = next((each for each in accuracies if each is not None), None)
    base = run.rows.get(run.base_key or "")
    frames = {each.frames for each in accuracies if each is not None}
    notes = []
    if len(frames) > 1:
        notes.append(f"points were scored on {min(frames)} to {max(frames)} frames")
    untrained = {str(key) for each in exports if each.manifest for key in each.manifest.untrained}
    if untrained:
        notes.append(
            "the weights were not trained with all of these settings: a point says what they do to "
            "these weights, not what training with them would reach"
        )
    notes += _same(exports)
    return Result(
        name=found.name or "",
        recipe=found.recipe,
        keys=tuple(varied(points)),
        rank=found.ranked,
        metric=next((each.metric for each in exports if each.metric), None),
        dataset=accuracy.dataset if accuracy else None,
        frames=accuracy.frames if accuracy else None,
        baseline=base.model_copy(update={"name": BASELINE}) if base else None,
        rows=ranked(rows, found.ranked),
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        machine=machine,
        notes=tuple(notes),
    )
