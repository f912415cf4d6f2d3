"""Stages of an export in parts, with fakes for engines: equal results, and what goes wrong."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lzu_calibration import collect
from lzu_export.cluster.jobs import Job, Outcome
from lzu_export.cluster.store import Store
from lzu_export.cluster.workers import WorkerInfo
from lzu_export.compiler import part, split
from lzu_export.compiler.scoring import Counted
from lzu_export.compiler.split import Split
from lzu_export.errors import LzuError
from lzu_export.evaluation.datasets import REGISTERED, Sample, State
from lzu_export.evaluation.evaluate import count_part, evaluate
from lzu_export.evaluation.layouts.choose import lengths
from lzu_export.evaluation.metrics.scorers import BoxScorer, BoxTruth
from lzu_export.evaluation.resampling import resample
from lzu_export.evaluation.resume import packed
from lzu_export.inputs.frame_sources import FrameList
from lzu_export.quantization.ranges import packed_histograms
from lzu_export.recipes import Recipe, list_recipes, load_recipe
from lzu_export.runtime import CameraFrame, Detections
from lzu_export.tasks.agreement import Agreements
from lzu_export.verification.streams import ComparedStreams, Gap
from reporters import Notes
from samples import CLASSES, tiny_recipe

SEQUENCES = [sequence for sequence in range(9) for _ in range(2 + sequence % 3)]
"""The sequence of each frame."""
NAMES = ["pytorch", "onnxruntime/fp32", "onnxruntime/int8", "emulated/int8"]


class Streets:
    """Frames that show their number; nothing is detected but what a seed says."""

    name, note, metric, classes = "streets", "", "AP", tuple(CLASSES)
    sequence_lengths = lengths(SEQUENCES)

    def __len__(self) -> int:
        return len(SEQUENCES)

    def samples(self, start: int = 0) -> Iterator[Sample]:
        for i in range(start, len(SEQUENCES)):
            box = [10.0 + i, 20.0, 30.0, 25.0]
            truth = {"image_id": i, "category_id": 1, "bbox": box, "area": 750.0, "iscrowd": 0}
            frame = np.full((96, 160, 3), i, np.uint8)
            sample = BoxTruth({"id": i}, [{"id": 1, **truth}])
            yield Sample(i, CameraFrame(frame), sample, sequence=SEQUENCES[i])

    def scorer(self) -> BoxScorer:
        return BoxScorer(self.classes)


class Guess:
    """Predicts boxes that depend on the frame, and on those before it where it is stateful."""

    fit, engine_seconds = "exact", 0.0

    def __init__(self, recipe: Recipe, seed: int) -> None:
        self.recipe, self.seed = recipe, seed
        self.is_stateful, self.before = recipe.follows_boxes, 0

    def reset(self) -> None:
        self.before = 0

    def run(self, camera_frames: Sequence[CameraFrame]) -> list[Detections]:
        found = []
        for each in camera_frames:
            number = int(each.frame[0, 0, 0])
            random = np.random.default_rng([self.seed, number, self.before])
            self.before = 7 * self.before + number + 1 if self.is_stateful else 0
            corner = np.array([10.0 + number, 20.0]) + random.normal(0, 2, 2)
            box = np.concatenate([corner, corner + np.array([30, 25])])[None].astype(np.float32)
            score = random.random(1).astype(np.float32)
            found.append(Detections(box, score, np.zeros(1, np.int32), tuple(CLASSES)))
        return found


class Watch:
    """Compares PyTorch with the FP32 engine, as `StreamWatch` without engines."""

    def __init__(self) -> None:
        self.compared = ComparedStreams("onnxruntime/fp32")
        self.state, self.restore = self.compared.state, self.compared.merge

    def before(self, camera_frames: Sequence[CameraFrame]) -> None:
        """Nothing is to be known before."""

    def after(self, found: Mapping[str, Sequence[Any]]) -> None:
        for theirs, mine in zip(found["pytorch"], found["onnxruntime/fp32"], strict=True):
            gap = float(np.abs(theirs.boxes - mine.boxes).max())
            self.compared.add(Gap(gap, 0.0, int(gap > 3)), parted=gap > 2)


class InTurn:
    """A cluster whose jobs run in this process, one after another."""

    place = "this test"

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, slots: int = 3) -> None:
        self.folder, self.monkeypatch, self.slots = folder, monkeypatch, slots
        self.ran: list[str] = []
        self.broken: str = ""

    def workers(self) -> list[WorkerInfo]:
        return [WorkerInfo("a", "a", "a", self.slots)] if self.slots else []

    def run(self, jobs: Iterable[Job], store: Store) -> Iterator[Outcome]:
        for job in reversed(list(jobs)):  # in any order
            kept = store.get(job)
            if kept is None:
                kept = self._run(job)
                store.put(kept)
            yield kept

    def _run(self, job: Job) -> Outcome:
        if job.name == self.broken:
            return Outcome(job.key, job.name, "failed", "the disk is full", {}, 0.0, "a")
        self.ran.append(job.name)
        self.monkeypatch.chdir(self.folder)
        assert job.command.module == "lzu_export.compiler.part"
        assert part.main(json.loads(job.files[job.command.arguments[0]])) == 0
        files = {part.RESULT: (self.folder / part.RESULT).read_bytes()}
        return Outcome(job.key, job.name, "done", "", {}, 0.0, "a", files)


ENGINES: Any = [
    SimpleNamespace(
        name=f"onnxruntime/{precision}",
        emulated_name=f"emulated/{precision}",
        target="onnxruntime",
        precision=precision,
        model_dump=lambda mode: {},
    )
    for precision in ("fp32", "int8")
]


def predictors(recipe: Recipe) -> Any:
    return {name: Guess(recipe, seed) for seed, name in enumerate(NAMES)}


def make_recipe(folder: Path, kind: str) -> Recipe:
    changes: dict[str, Any] = {"evaluation": {"dataset": "streets"}}
    if kind == "adaptive":
        changes |= {"variant": "adaptive", "warp": {"boxes": 20, "bandwidth": 20.0}}
    return tiny_recipe(folder, batch=4 if kind == "batch of 4" else 1, **changes)


def whole(recipe: Recipe) -> Counted:
    counted = Counted.nothing(recipe, NAMES, Streets())
    watch = Watch() if recipe.follows_boxes else None
    counted.metrics = evaluate(
        predictors(recipe),
        Streets(),
        watch=watch,
        agreements=counted.agreements,
        scorers=counted.scorers,
    )
    counted.streams = watch.compared if watch else None
    return counted


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> InTurn:
    def score(request: Mapping[str, Any]) -> State:
        recipe = part._recipe(request)
        agreements = Agreements(recipe, "pytorch", NAMES)
        watch = Watch() if recipe.follows_boxes else None
        positions = range(*request["positions"])
        states = count_part(predictors(recipe), Streets(), positions, watch, agreements=agreements)
        return packed(states)

    monkeypatch.setitem(part.STAGES, "accuracy", score)
    monkeypatch.setattr(split, "LEAST", 5)
    jobs = tmp_path / "jobs"
    jobs.mkdir()
    return InTurn(jobs, monkeypatch)


def make_split(cluster: InTurn, recipe: Recipe, folder: Path) -> tuple[Split, Notes]:
    folder.mkdir(exist_ok=True)
    work: Any = SimpleNamespace(
        final=folder / "bundle", folder=folder, fingerprint="f", stages={"trace": {}}
    )
    work.hashes = lambda: {"model.fp32.onnx": "0"}
    notes, given = Notes(), cluster
    return Split(given, recipe, work, notes), notes  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["fixed", "batch of 4", "adaptive"])
def test_parts_are_counted_as_the_whole_to_the_bit(
    kind: str, cluster: InTurn, tmp_path: Path
) -> None:
    """Metrics, agreement, intervals and the comparison of streams; sequences are never split."""
    recipe = make_recipe(tmp_path, kind)
    parts, notes = make_split(cluster, recipe, tmp_path / "work")
    found, wanted = parts.score(ENGINES, Streets()), whole(recipe)
    assert found is not None
    assert len(cluster.ran) >= 2
    assert repr(found.metrics) == repr(wanted.metrics)
    assert list(found.metrics) == NAMES
    assert found.metrics["pytorch"] != found.metrics["emulated/int8"]
    assert found.agreements.result() == wanted.agreements.result()
    for name in NAMES:
        drawn = resample(found.scorers[name], resamples=9)
        assert drawn == resample(wanted.scorers[name], resamples=9) is not None
    assert (found.streams is None) == (kind != "adaptive")
    if found.streams is not None and wanted.streams is not None:
        assert found.streams.result() == wanted.streams.result()
        assert found.streams.result().parted
    assert notes.notes[0].startswith(f"accuracy: {len(SEQUENCES)} frames in {len(cluster.ran)} ")
    assert not list((tmp_path / "work").iterdir()), "parts are kept until the stage is done"


def test_an_interrupted_export_goes_on_with_the_parts_that_are_done(
    cluster: InTurn, tmp_path: Path
) -> None:
    recipe = make_recipe(tmp_path, "fixed")
    parts, _ = make_split(cluster, recipe, tmp_path / "work")
    cluster.broken = "accuracy of frames 1 to 9"
    with pytest.raises(LzuError, match=r"^accuracy of frames 1 to 9 failed on a: the disk is full"):
        parts.score(ENGINES, Streets())
    assert cluster.ran == ["accuracy of frames 19 to 27", "accuracy of frames 10 to 18"]
    cluster.broken, cluster.ran = "", []
    again, _ = make_split(cluster, recipe, tmp_path / "work")
    found = again.score(ENGINES, Streets())
    assert cluster.ran == ["accuracy of frames 1 to 9"]
    assert found is not None
    assert repr(found.metrics) == repr(whole(recipe).metrics)


def test_what_is_not_split_is_told(
    cluster: InTurn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = make_recipe(tmp_path, "fixed")
    parts, notes = make_split(cluster, recipe, tmp_path / "work")
    monkeypatch.setattr(split, "LEAST", 20)
    assert parts.score(ENGINES, Streets()) is None
    monkeypatch.setattr(split, "LEAST", 5)
    own = Streets()
    own.scorer = object  # type: ignore[method-assign, assignment]
    assert parts.score(ENGINES, own) is None
    monkeypatch.setitem(REGISTERED, "streets", lambda *_: Streets())
    assert parts.score(ENGINES, Streets()) is None
    assert notes.notes == [
        "accuracy in one process: 27 frames are too few",
        "accuracy in one process: streets cannot be divided",
        "accuracy in one process: the running program alone has its network or its data",
    ]
    assert not cluster.ran


def test_a_cluster_without_workers_is_refused(cluster: InTurn, tmp_path: Path) -> None:
    parts, _ = make_split(cluster, make_recipe(tmp_path, "fixed"), tmp_path / "work")
    cluster.slots = 0
    with pytest.raises(LzuError, match="this test has no workers; start one"):
        parts.score(ENGINES, Streets())


def test_ranges_of_parts_are_those_of_all_frames(
    cluster: InTurn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts are whole batches."""
    random = np.random.default_rng(0)
    values = [random.normal(0, 10.0 ** (i % 5), 50).astype(np.float32) for i in range(26)]

    def feeds(positions: range) -> Iterator[tuple[str, dict[str, Any]]]:
        return ((str(i), {"x": values[i]}) for i in positions)

    def run(inputs: Mapping[str, Any]) -> dict[str, Any]:
        return {"/a": inputs["x"], "b": np.maximum(inputs["x"], 0)}

    def calibrate(request: Mapping[str, Any]) -> State:
        assert request["lowerings"] == {"zoom": "matmul"}
        return packed_histograms(collect(run, feeds(range(*request["positions"]))))

    monkeypatch.setitem(part.STAGES, "calibrate", calibrate)
    recipe = make_recipe(tmp_path, "batch of 4")
    parts, _ = make_split(cluster, recipe, tmp_path / "work")
    bright = SimpleNamespace(key="0", read=lambda: np.ones((2, 2, 3), np.uint8))
    frames = FrameList("few", 1, "digest", [bright] * 26)
    found = parts.histograms(frames, {"zoom": "matmul"})
    assert sorted(cluster.ran) == ["calibrate of frames 1 to 12", "calibrate of frames 13 to 26"]
    wanted = collect(run, feeds(range(26)))
    assert found is not None
    assert list(found) == list(wanted) == ["/a", "b"]
    for name, each in wanted.items():
        assert found[name].state().tolist() == each.state().tolist()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"folder": "/nowhere"}, "the folder /nowhere is not on "),
        ({"versions": {"torch": "0.1"}}, " where the export has none; install the same on all"),
        ({"source": "0"}, " has another lzu-export than the export, of the same version"),
    ],
)
def test_a_worker_that_would_count_something_else_is_refused(
    change: dict[str, Any],
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from lzu_export.support.provenance import PACKAGES, source_digest, versions

    monkeypatch.setenv("MKL_NUM_THREADS", "3")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    request = {
        "directory": str(tmp_path),
        "environment": {"MKL_NUM_THREADS": None, "OMP_NUM_THREADS": "2"},
        "folder": str(tmp_path),
        "versions": versions(PACKAGES),
        "source": source_digest(),
    }
    assert part.main({**request, **change}) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert told in error
    assert (os.environ.get("MKL_NUM_THREADS"), os.environ["OMP_NUM_THREADS"]) == (None, "2")


@pytest.mark.parametrize("name", list_recipes())
def test_a_part_has_the_recipe_of_the_export(name: str) -> None:
    recipe = load_recipe(name)
    request = json.loads(json.dumps({"recipe": recipe.model_dump(mode="json")}))
    assert part._recipe(request) == recipe
