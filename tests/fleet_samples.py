"""A cluster of made-up boards, and what they answer."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lzu_export.cluster.jobs import Job, Outcome
from lzu_export.cluster.workers import WorkerInfo
from lzu_export.fleet.archives import Archived
from lzu_export.fleet.fleet import Order
from lzu_export.fleet.messages import BoardEngine, Look, Request, Sent, Step, Work
from lzu_export.fleet.rows import Fleet, Row
from lzu_export.support.version import VERSION

BUNDLES = ("uniform-0.5x", "fixed-0.5x")
ENGINE = "model.fp16.trt-10.3.0-sm87.orin-8mp.engine"

Answer = Callable[[Job], Outcome]


def worker(host: str, tag: str, *, port: int = 4000, name: str = "") -> WorkerInfo:
    """Make a worker with a tag."""
    address = f"tcp://{host}:{port}"
    return WorkerInfo(
        address=address, name=name or address, host=host, resources={tag: 1}, threads=1
    )


def sample_look(**changes: Any) -> Look:
    """Make a board's first answer."""
    fields = {
        "key": "0123456789abcdef",
        "machine": "ARMv8, 12 threads; Orin; Jetson Linux 36.4.3; MAXN",
        "device": "NVIDIA Jetson AGX Orin Developer Kit",
        "jetpack": "6.2, Jetson Linux 36.4.3, TensorRT 10.3.0",
        "version": "10.3.0",
        "python": "3.10.12",
        "lzu_export": "0.1.0",
        "doctor": {"findings": [], "abilities": []},
    }
    return Look(**{**fields, **changes})


def engine_bytes(bundle: str) -> bytes:
    """Return the content of a bundle's engine."""
    return f"engine of {bundle}".encode()


def sample_work(bundles: Sequence[str] = BUNDLES, precision: str = "fp16", **changes: Any) -> Work:
    """Make a board's result for bundles in one precision."""
    fields: dict[str, Any] = {
        "steps": (Step(name="time", status=0, seconds=3.5),),
        "engines": tuple(
            BoardEngine(
                bundle=each,
                precision=precision,
                file=ENGINE,
                sha256=hashlib.sha256(engine_bytes(each)).hexdigest(),
                bytes=len(engine_bytes(each)),
                build_seconds=41.5,
            )
            for each in bundles
        ),
        "parity": {
            each: [
                {"precision": precision, "on_device": False, "status": "graph passed"},
                {"precision": precision, "on_device": True, "status": "ran"},
            ]
            for each in bundles
        },
        "latency": sample_latency(),
        "before": {"gpu_mhz": 306.0, "celsius": {"gpu": 41.0}, "cards": []},
        "after": {"gpu_mhz": 1300.5, "celsius": {"gpu": 58.0}, "cards": []},
    }
    return Work(**{**fields, **changes})


def sample_latency(**conditions: Any) -> dict[str, Any]:
    """Make the times of both bundles without and with a CUDA graph, as the harness prints them."""
    engines = {}
    for graph in (False, True):
        for i, each in enumerate(BUNDLES):
            scale = 1.0 + 0.2 * i + 0.5 * (not graph)
            ratio = {"value": 1.2, "low": 1.19, "high": 1.21, "rounds": 16} if i else None
            engines[f"{each} {graph}"] = {
                "bundle": each,
                "precision": "fp16",
                "cuda_graph": graph,
                "end_to_end": {"p50": 10 * scale},
                "engine": {"p50": 8 * scale},
                "ratio": ratio,
                "power": {"watts": 21.0},
            }
    return {
        "machine": {"power_mode": "MAXN"},
        "conditions": {"throttled": [], "doubts": [], **conditions},
        "engines": engines,
    }


def answered(job: Job, printed: Any, **changes: Any) -> Outcome:
    """Make the outcome of a command that ran and printed JSON."""
    answer = {
        "status": 0,
        "stdout": json.dumps(printed),
        "error": "",
        "log": "",
        "python": "3.10.12",
        "lzu_export": VERSION,
    }
    outcome = Outcome(
        key=job.key,
        name=job.name,
        status="done",
        sentence="",
        answer=answer,
        seconds=12.0,
        worker=str(job.worker),
        files={},
    )
    return replace(outcome, **changes)


def failed(job: Job, sentence: str, *, status: Any = "failed", **answer: Any) -> Outcome:
    """Make the outcome of a job that gave no result."""
    base = answered(job, None)
    return replace(
        base, status=status, sentence=sentence, answer={**base.answer, "stdout": "", **answer}
    )


def is_look(job: Job) -> bool:
    """Whether a job only looks at its board."""
    return "--look" in job.command.arguments


def good(job: Job, look: Look | None = None, work: Work | None = None) -> Outcome:
    """Answer as a board that does what it is asked."""
    if is_look(job):
        return answered(job, (look or sample_look()).model_dump(mode="json"))
    request = json.loads(job.files["request.json"])
    (precision,) = request["precisions"]
    work = work or sample_work([each["name"] for each in request["bundles"]], precision)
    files = {
        f"engines/{each.bundle}/{each.file}": engine_bytes(each.bundle) for each in work.engines
    }
    return answered(job, work.model_dump(mode="json"), files=files)


@dataclass
class FakeCluster:
    """Boards that answer at once, and a record of the jobs."""

    boards: list[tuple[WorkerInfo, Answer]]
    jobs: list[Job] = field(default_factory=list)

    def workers(self) -> list[WorkerInfo]:
        """Return the workers that are there."""
        return [each for each, _ in self.boards]

    def run(self, jobs: Iterable[Job], *, patience: float) -> Iterator[Outcome]:
        """Let each board answer its job."""
        answers = {each.name: answer for each, answer in self.boards}
        for job in jobs:
            self.jobs.append(job)
            yield answers[str(job.worker)](job)

    def works(self) -> list[Job]:
        """Return the jobs that did more than look."""
        return [each for each in self.jobs if not is_look(each)]


def one(board: WorkerInfo, answer: Answer = good) -> FakeCluster:
    """Make a cluster of one board."""
    return FakeCluster([(board, answer)])


def sample_order(folder: Path, *tags: str, **changes: Any) -> Order:
    """Make an order of `BUNDLES` in FP16 for boards with these tags."""
    archives = []
    for each in BUNDLES:
        content = f"archive of {each}".encode()
        sent = Sent(name=each, sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))
        path = folder / f"{each}.tar"
        path.write_bytes(content)
        archives.append(Archived(sent, path))
    request = Request(
        bundles=tuple(each.sent for each in archives),
        target="tensorrt",
        precisions=("fp16",),
        build=(),
    )
    fields = {"timeout": 600.0, "patience": 0.0, **changes}
    return Order(request, archives, tags, **fields)


ABSENT = "no worker has the tag thor <b> after 60 s; there are 4 workers"
"""Sentence of a row in `sample_fleet`, which a page has to escape."""
HOT = {"throttled": ["gpu (0) reached 95 C, its limit is 95 C"], "doubts": []}


def sample_row(name: str, **fields: Any) -> Row:
    """Make the row of a board."""
    return Row(**{"board": f"orin-agx {name}", "tag": "orin-agx", "status": "done", **fields})


def sample_fleet(folder: Path) -> Fleet:
    """Make a report: one board is done, one was throttled, one failed, one is absent."""
    good = {"look": sample_look(), "seconds": 812.0, "sent_bytes": 150_000_000}
    steps = (Step(name="build fixed-0.5x fp16", status=2, sentence="out of memory", seconds=3.0),)
    part = sample_work(steps=steps, engines=sample_work().engines[:1], latency=None, parity={})
    hot = sample_work(latency=sample_latency(**HOT))
    rows = (
        sample_row("10.0.0.2", **good, work=sample_work()),
        sample_row("10.0.0.3", **good, work=hot, stored=True),
        sample_row("10.0.0.4", **good, work=part, status="failed", sentence="out of memory"),
        Row(board="thor", tag="thor", status="absent", sentence=ABSENT),
    )
    return Fleet(
        created="2026-12-01T01:00:00+00:00",
        lzu_export="0.1.0",
        request=sample_order(folder).request,
        rows=rows,
    )
