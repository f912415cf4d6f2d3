"""Run the accuracy and calibration stages of an export in parts, on the workers of a cluster.

A part is a process of `part`. It reads the growing bundle, the checkpoint and the data where they
lie, so that workers on other machines must see them under the same paths. Parts that are done are
kept beside the bundle until the stage is finished, so that an interrupted export goes on with them.
"""

import json
import math
import os
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lzu_calibration.histogram import Histogram
from lzu_export.bundle.workspace import Workspace, remove
from lzu_export.cluster.cluster import Cluster
from lzu_export.cluster.jobs import Command, Job, Outcome
from lzu_export.cluster.local import THREADS
from lzu_export.cluster.store import Store
from lzu_export.compiler.part import RESULT
from lzu_export.compiler.scoring import Counted, scored_names
from lzu_export.errors import LzuError
from lzu_export.evaluation.datasets import REGISTERED, EvaluationSet, State
from lzu_export.evaluation.evaluate import summaries
from lzu_export.evaluation.parts import cut, cut_at, divisible, merge, multiples
from lzu_export.evaluation.resume import unpacked
from lzu_export.graph.lowering.resample import LoweringMap
from lzu_export.inputs.frame_sources import FrameList
from lzu_export.manifest.schema import Engine
from lzu_export.quantization.ranges import merged_histograms
from lzu_export.recipes import Recipe
from lzu_export.support.files import read_npz
from lzu_export.support.progress import Reporter
from lzu_export.support.provenance import PACKAGES, source_digest, versions
from lzu_export.tasks.custom import is_registered

LEAST, MOST = 64, 1024
"""Fewest frames of a part, since it starts a process, which takes as long as some dozen frames; and
most, since an interrupted part begins again."""
REQUEST = "request.json"
MODULE = "lzu_export.compiler.part"


class Split:
    """Parts of one export's stages on a cluster."""

    def __init__(self, cluster: Cluster, recipe: Recipe, work: Workspace, report: Reporter) -> None:
        """Take the cluster, and the export's recipe, workspace and receiver of progress."""
        self._cluster, self._recipe, self._work, self._report = cluster, recipe, work, report
        self._folder = work.final.parent / f".{work.final.name}.parts"
        if not work.stages:
            remove(self._folder)  # parts of an export that is not gone on with

    def score(self, engines: Sequence[Engine], dataset: EvaluationSet) -> Counted | None:
        """Count the predictions of PyTorch and these engines in all frames of a set.

        Returns:
            The counters, or None if the set is too small for parts or cannot be divided.

        Raises:
            LzuError: a part failed.
        """
        name = self._recipe.evaluation.dataset
        if self._is_of_this_program() or name in REGISTERED:
            self._tell_whole("accuracy", "the running program alone has its network or its data")
            return None
        if not divisible(dataset, self._recipe):
            self._tell_whole("accuracy", f"{dataset.name} cannot be divided")
            return None
        parts = cut(dataset, self._recipe, self._count(len(dataset)), LEAST)
        if len(parts) < 2:
            self._tell_whole("accuracy", f"{len(dataset)} frames are too few")
            return None
        about = {
            "engines": [each.model_dump(mode="json") for each in engines],
            "frames": len(dataset),
        }
        names = scored_names(engines)
        counted = Counted.nothing(self._recipe, names, dataset)
        counters = counted.counters
        found = self._run("accuracy", f"accuracy on {dataset.name}", parts, about)
        merge(counters, [unpacked(each, list(counters)) for each in found])
        counted.metrics = summaries(counted.scorers, dataset)
        return counted

    def histograms(self, frames: FrameList, lowerings: LoweringMap) -> dict[str, Histogram] | None:
        """Count the values of the tensors that INT8 needs ranges of, in all calibration frames.

        Returns:
            Histograms by tensor, or None if the frames are too few for parts.

        Raises:
            LzuError: a part failed, or all frames are black.
        """
        if self._is_of_this_program():
            self._tell_whole("calibration", "the running program alone has its network")
            return None
        frames.check()
        parts = cut_at(multiples(self._recipe.batch, len(frames)), self._count(len(frames)), LEAST)
        if len(parts) < 2:
            self._tell_whole("calibration", f"{len(frames)} frames are too few")
            return None
        found = self._run(
            "calibrate", f"calibrating on {frames.name}", parts, {"lowerings": dict(lowerings)}
        )
        return merged_histograms(found)

    def _count(self, frames: int) -> int:
        """Return the number of parts to cut frames into.

        Raises:
            LzuError: there are no workers.
        """
        slots = sum(each.threads for each in self._cluster.workers())
        if not slots:
            raise LzuError(
                f"{self._cluster.place} has no workers; start one (dask worker), or leave out "
                "--scheduler"
            )
        return max(slots, math.ceil(frames / MOST))

    def _is_of_this_program(self) -> bool:
        """Return whether no other process can build the network."""
        name = self._recipe.custom_model
        return name is not None and is_registered(name)

    def _tell_whole(self, stage: str, why: str) -> None:
        self._report.note(f"  {stage} in one process: {why}")

    def _run(
        self, stage: str, title: str, parts: Sequence[range], about: Mapping[str, Any]
    ) -> list[State]:
        """Run the parts of a stage, and return the arrays of each, in order.

        Raises:
            LzuError: a part failed.
        """
        common = {**self._request(), "stage": stage, **about}
        jobs = [self._job(common, part) for part in parts]
        sizes = {job.key: len(part) for job, part in zip(jobs, parts, strict=True)}
        found, start, frames = {}, time.perf_counter(), parts[-1].stop
        with (
            self._report.steps(title, frames) as advance,
            Store(self._folder) as store,
            closing(self._outcomes(jobs, store)) as outcomes,
        ):
            for outcome in outcomes:
                found[outcome.key] = _content(outcome)
                advance(sizes[outcome.key])
        states = [_arrays(found[job.key]) for job in jobs]
        remove(self._folder)
        seconds = time.perf_counter() - start
        self._report.note(
            f"  {stage}: {frames} frames in {len(parts)} parts on {self._cluster.place}, "
            f"{seconds:.1f} s"
        )
        return states

    def _outcomes(self, jobs: Sequence[Job], store: Store) -> Generator[Outcome, None, None]:
        yield from self._cluster.run(jobs, store)

    def _request(self) -> dict[str, Any]:
        """Return what the requests of all parts have in common, see `part`."""
        return {
            "recipe": self._recipe.model_dump(mode="json"),
            "folder": str(self._work.folder.resolve()),
            "directory": os.getcwd(),
            "environment": {name: os.environ.get(name) for name in THREADS},
            "versions": versions(PACKAGES),
            "source": source_digest(),
        }

    def _job(self, common: Mapping[str, Any], part: range) -> Job:
        request = {**common, "positions": [part.start, part.stop]}
        decides = {name: request[name] for name in request.keys() - {"folder", "directory"}}
        return Job(
            name=f"{common['stage']} of frames {part.start + 1} to {part.stop}",
            inputs={
                "fingerprint": self._work.fingerprint,
                "files": self._work.hashes(),
                **decides,
            },
            command=Command(
                module=MODULE,
                arguments=(REQUEST,),
                # Waiting threads give way to those of other parts on the same processors.
                environment={"OMP_WAIT_POLICY": "PASSIVE"},
                returns=(RESULT,),
            ),
            files={REQUEST: json.dumps(request).encode()},
        )


def _content(outcome: Outcome) -> bytes:
    """Return what a part wrote.

    Raises:
        LzuError: it failed, or no worker could run it.
    """
    if outcome.status != "done" or RESULT not in outcome.files:
        where = f" on {outcome.worker}" if outcome.worker else ""
        raise LzuError(f"{outcome.name} failed{where}: {outcome.sentence or 'it wrote no result'}")
    return outcome.files[RESULT]


def _arrays(content: bytes) -> State:
    with TemporaryDirectory() as folder:
        path = Path(folder, RESULT)
        path.write_bytes(content)
        return read_npz(path, remedy="export again with --force")
