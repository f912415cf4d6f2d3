"""Sweeps of a small recipe whose exports are made up, and made-up results."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from lzu_export.cluster.jobs import Job, Outcome
from lzu_export.cluster.store import Store
from lzu_export.cluster.workers import WorkerInfo
from lzu_export.manifest.schema import Accuracy, read_manifest
from lzu_export.support.ratio import Ratio
from lzu_export.sweep.page import sweep_page
from lzu_export.sweep.points import Points
from lzu_export.sweep.results import Gain, Result, Row, ranked
from lzu_export.sweep.schema import Rank, read_sweep
from samples import tiny_settings

Answer = Callable[[Job], str]
"""What a job prints; a `ValueError` is the sentence of a job that fails."""


def write_sweep(folder: Path, **keys: Any) -> Path:
    """Write a recipe with random weights and a sweep of its fwhm, and return the sweep's path."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = tiny_settings(folder)
    (folder / "tiny.yaml").write_text(yaml.safe_dump(json.loads(json.dumps(settings, default=str))))
    data = {"recipe": "tiny.yaml", "matrix": {"warp.fwhm": [4, 7, 10]}, **keys}
    path = folder / "warps.yaml"
    kept = {key: value for key, value in data.items() if value != "-"}
    path.write_text(yaml.safe_dump(kept, sort_keys=False))
    return path


def setting(job: Job, key: str, default: float = 0.0) -> float:
    """Return a number that a job's command sets."""
    found = re.search(rf"{re.escape(key)}=([\d.e+-]+)", " ".join(job.command.arguments))
    return float(found[1]) if found else default


class FakeCluster:
    """Runs jobs in this process, and counts them."""

    def __init__(self, answer: Answer, workers: Mapping[str, str] | None = None) -> None:
        """Take what answers, and hosts by the names of workers."""
        self.answer, self.place = answer, "tcp://nowhere"
        self.hosts = {"this machine": "here"} if workers is None else workers
        self.ran: list[Job] = []
        self.batches: list[list[Job]] = []

    def workers(self) -> list[WorkerInfo]:
        return [WorkerInfo(f"tcp://{n}", n, host, 1) for n, host in self.hosts.items()]

    def run(self, jobs: Iterable[Job], store: Store | None = None) -> Iterator[Outcome]:
        jobs = list(jobs)
        self.batches.append(jobs)
        for i, job in enumerate(jobs):
            kept = store.get(job) if store else None
            if kept is not None:
                yield kept
                continue
            self.ran.append(job)
            worker = job.worker or list(self.hosts)[i % len(self.hosts)]
            try:
                answer = {"stdout": self.answer(job)}
                outcome = Outcome(job.key, job.name, "done", "", answer, 1.0, worker)
            except ValueError as error:
                outcome = Outcome(job.key, job.name, "failed", str(error), {}, 1.0, worker)
            if store is not None:
                store.put(outcome)
            yield outcome


class FakeOpener:
    """Opens the same made-up workers in every phase."""

    def __init__(self, cluster: FakeCluster, *, remote: bool = False) -> None:
        """Take the workers."""
        self.cluster, self.remote = cluster, remote
        self.alone: list[bool] = []

    @contextmanager
    def __call__(self, *, alone: bool) -> Iterator[Any]:
        """Give the workers."""
        self.alone.append(alone)
        yield self.cluster


class Exports:
    """Answers jobs as `lzu-export` and the pairing do, with a bundle's manifest."""

    def __init__(self, bundle: Path, folder: Path) -> None:
        """Take the bundle whose manifest all exports have, and a folder for theirs."""
        self._manifest, self._folder = read_manifest(bundle), folder
        self.refused: dict[float, str] = {}
        """Sentences by the fwhm of exports that fail."""

    def __call__(self, job: Job) -> str:
        """Return what a job prints: AP rises with fwhm, and so does the time."""
        if job.command.module.endswith("pairing"):
            return self._pair(job.command.arguments[1])
        if job.command.module.endswith("environment"):
            return json.dumps({"torch": "2.9"})
        fwhm = setting(job, "warp.fwhm")
        if fwhm in self.refused:
            raise ValueError(self.refused[fwhm])
        out = Path(job.command.arguments[-2])
        folder = out / "det" / f"{fwhm:g}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "manifest.json").write_text("{}")
        points = {"AP": 30 + fwhm, "AP_small": 10 - fwhm}
        accuracy = Accuracy(
            dataset="streets", note="", metric="AP", frames=12, pytorch=points,
            engines={"onnxruntime/fp32": points}, limits={"fp32": 0.1},
        )  # fmt: skip
        manifest = self._manifest.model_copy(
            update={"accuracy": accuracy, "files": {**self._manifest.files,
                                                    "model.fp32.onnx": f"{fwhm:064.0f}"}}
        )  # fmt: skip
        return json.dumps(
            [{"bundle": str(folder), "status": "exported", **manifest.model_dump(mode="json")}]
        )

    def _pair(self, bundle: str) -> str:
        value = 1 + float(Path(bundle).name) / 100
        ratio = Ratio(value=value, low=value - 0.01, high=value + 0.01, rounds=8)
        return json.dumps({"milliseconds": 30.0, "ratio": ratio.model_dump(), "doubt": ""})


def sample_result(count: int = 12, *, failed: int = 1, name: str = "warps") -> Result:
    """Make the result of a sweep over two keys, of which one is text."""
    rows = []
    for i in range(count):
        settings = {"warp.fwhm": 4 + i // 2, "variant": ("fixed", "adaptive")[i % 2]}
        text = ", ".join(f"{key} {value}" for key, value in settings.items())
        if i < failed:
            rows.append(Row(name=text, settings=settings, status="failed", sentence="it is full"))
            continue
        metric, value = 30 + i % 7, 1 + ((i * 5) % 11) / 50
        rows.append(
            Row(
                name=text,
                settings=settings,
                status="done",
                engine="onnxruntime/fp32",
                metric=metric,
                metrics={"AP": metric, "AP_small": metric / 2},
                gain=Gain(difference=metric - 31, low=metric - 32, high=metric - 30),
                milliseconds=30 * value,
                ratio=Ratio(value=value, low=value - 0.01, high=value + 0.02, rounds=9),
                bytes=4_000_000,
                bundle=f"/bundles/{i}",
                worker="a",
                seconds=40.0,
            )
        )
    base = Row(name="baseline", settings={"variant": "uniform"}, status="done", metric=31.0)
    rank = Rank(by="pareto")
    return Result(
        name=name, recipe="det", keys=("warp.fwhm", "variant"), rank=rank, metric="AP",
        dataset="demo", frames=64, baseline=base, rows=ranked(rows, rank),
        created="2026-01-01T00:00:00+00:00", machine="a machine", notes=("a note",),
    )  # fmt: skip


def sweep_page_of(result: Result, folder: Path) -> str:
    """Return the page of a result, whose points all have a small recipe in `folder`."""
    path = write_sweep(folder)
    point = Points(read_sweep(path), path).grid()[0]
    names = [row.name for row in result.rows]
    commands = dict.fromkeys(names, ("export", "det", "--set", "warp.fwhm=7"))
    return sweep_page(result, dict.fromkeys(names, point), commands, ["parquet"])
