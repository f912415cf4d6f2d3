"""Bundles are timed in turns: end to end with its stages, and the engine alone."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("torch", reason="exporting needs torch")

from lzu_benchmarks.harness import latency as module
from lzu_benchmarks.harness.candidates import STAGES, Candidate, frames_of, open_candidates, pair
from lzu_benchmarks.harness.latency import main, measure
from lzu_benchmarks.harness.latency_results import LatencyRun
from lzu_benchmarks.harness.latency_table import latency_tables
from lzu_export.bundle.bundle import Bundle
from lzu_export.cli import exits
from lzu_export.errors import LzuError
from lzu_export.manifest.schema import Manifest, read_manifest
from lzu_export.runtime.reference import read_reference
from lzu_export.support.interleave import Plan
from lzu_export.tasks.pytorch import noise_frame

QUICK = Plan(queries=64, warmup_queries=1, warmup_seconds=0.0, block=8, settle=0)


@pytest.fixture(scope="module")
def run(tiny_bundle: Path) -> LatencyRun:
    candidates = [each for _ in range(2) for each in open_candidates(tiny_bundle)]
    first, second = (
        Candidate(**{**vars(each), "name": name})
        for each, name in zip(candidates, "ab", strict=True)
    )
    return measure(pair([first, second]), QUICK)


def test_both_are_timed_and_compared(run: LatencyRun) -> None:
    first, second = run.engines["a"], run.engines["b"]
    assert first.ratio is None
    assert second.base == "a"
    assert second.ratio is not None
    assert second.ratio.low <= second.ratio.value <= second.ratio.high
    assert second.ratio.rounds == 64 // QUICK.block
    for each in (first, second):
        assert each.end_to_end.queries == each.engine.queries == 64
        assert each.end_to_end.p90_estimate is not None
        assert set(each.stages) == set(STAGES)
        # A stage is a part of its query, and so is its median: this holds on a busy machine, too.
        assert all(0 < stage.p50 <= each.end_to_end.p50 for stage in each.stages.values())
        assert each.provider == "CPUExecutionProvider"
        assert each.cuda_graph is None


def test_what_it_was_measured_on_is_told(run: LatencyRun) -> None:
    assert run.machine.threads >= 1
    assert run.conditions.readings >= 2
    assert run.overhead_share < 0.02
    assert run.peak_memory is None or run.peak_memory > 1e7
    assert any("600" in note for note in run.notes)
    assert LatencyRun.model_validate_json(run.model_dump_json()) == run


def test_an_unsteady_figure_is_doubted(run: LatencyRun) -> None:
    engines = {"a": run.engines["a"].model_copy(update={"drift": 0.3})}
    doubts = run.model_copy(update={"engines": engines}).doubts
    assert any("a changed by +30%" in doubt for doubt in doubts)


@pytest.mark.parametrize("task", ["seg", "det3d"])
def test_every_task_is_timed(task: str, request: pytest.FixtureRequest) -> None:
    bundle = request.getfixturevalue(f"tiny_{task}_bundle")
    plan = Plan(queries=2, warmup_queries=1, warmup_seconds=0.0, block=1, settle=0)
    (found,) = measure(open_candidates(bundle), plan).engines.values()
    assert found.frames_per_query == read_manifest(bundle).recipe.batch
    assert found.end_to_end.p50 > 0


def with_dataset(bundle: Path, name: str | None, **changes: object) -> Manifest:
    manifest = read_manifest(bundle)
    evaluation = manifest.recipe.evaluation.model_copy(update={"dataset": name})
    recipe = manifest.recipe.model_copy(update={"evaluation": evaluation, **changes})
    return manifest.model_copy(update={"recipe": recipe})


def test_noise_stands_for_frames_where_no_set_is_given(tiny_bundle: Path) -> None:
    """And the headline says it."""
    shown = frames_of(Bundle(tiny_bundle, read_manifest(tiny_bundle)), count=3)
    assert shown.noise
    assert len(shown.batches) == 3
    assert all(
        camera_frame.frame.shape == (96, 160, 3)
        for batch in shown.batches
        for camera_frame in batch
    )
    assert not np.array_equal(shown.batches[0][0].frame, shown.batches[1][0].frame)
    plan = Plan(queries=2, warmup_queries=1, warmup_seconds=0.0, block=1, settle=0)
    run = measure(open_candidates(tiny_bundle), plan)
    assert run.noise
    assert "noise" in run.frames
    (table, *_) = latency_tables(run).renderables
    assert table.title.endswith(", of random noise")


def test_a_set_whose_path_is_lost_leaves_the_bundle_s_own_frames(tiny_bundle: Path) -> None:
    """The bundle was exported on frames of it, and holds some: no noise."""
    shown = frames_of(Bundle(tiny_bundle, with_dataset(tiny_bundle, "annotations.json")))
    own = read_reference(tiny_bundle / "reference.npz")
    assert not shown.noise
    assert [len(batch) for batch in shown.batches] == [1] * len(own)
    np.testing.assert_array_equal(shown.batches[0][0].frame, own[0].frames[0])
    assert "of annotations.json that the bundle holds" in shown.what


@pytest.mark.parametrize("own", [None, "demo", "annotations.json"])
def test_a_set_of_one_s_own_is_shown(own: str | None, tiny_bundle: Path, tmp_path: Path) -> None:
    """Whatever the recipe names: frames in the order of time, the last batch filled up."""
    path = coco_of_noise(tmp_path, 5)
    manifest = with_dataset(tiny_bundle, own, classes=("car", "sign"))
    shown = frames_of(Bundle(tiny_bundle, manifest), str(path), count=3)
    assert not shown.noise
    assert shown.what == "the first 3 frames of annotations.json in turn"
    for i, (camera_frame,) in enumerate(shown.batches):
        np.testing.assert_array_equal(camera_frame.frame, noise_frame((96, 160), 70 + i))


def test_frames_that_do_not_fit_are_refused(tiny_bundle: Path, tmp_path: Path) -> None:
    """Another size, or no such set: noise in their place would be a figure of nothing."""
    path = coco_of_noise(tmp_path, 2, size=(64, 64))
    manifest = read_manifest(tiny_bundle)
    with pytest.raises(LzuError, match=r"70\.png.*64x64"):
        frames_of(Bundle(tiny_bundle, manifest), str(path))
    with pytest.raises(LzuError, match="do not exist"):
        frames_of(Bundle(tiny_bundle, manifest), str(tmp_path / "none.json"))


def coco_of_noise(folder: Path, count: int, size: tuple[int, int] = (96, 160)) -> Path:
    """Annotations of as many noise frames, with a box in each."""
    (folder / "images").mkdir()
    rows = []
    for i in range(70, 70 + count):
        cv2.imwrite(str(folder / "images" / f"{i}.png"), noise_frame(size, i))
        rows.append({"id": i, "file_name": f"{i}.png", "height": size[0], "width": size[1]})
    boxes = [
        {"id": n, "image_id": each["id"], "category_id": 1, "bbox": [4, 4, 20, 20], "area": 400}
        for n, each in enumerate(rows, start=1)
    ]
    data = {
        "images": rows,
        "annotations": boxes,
        "categories": [{"id": 1, "name": "car"}, {"id": 2, "name": "sign"}],
    }
    path = folder / "annotations.json"
    path.write_text(json.dumps(data))
    return path


def test_the_demonstration_s_frames_are_shown_in_the_order_of_time(tiny_bundle: Path) -> None:
    manifest = with_dataset(tiny_bundle, "demo", source=(360, 640))
    shown = frames_of(Bundle(tiny_bundle, manifest), count=2)
    assert [len(batch) for batch in shown.batches] == [1, 1]
    assert shown.batches[0][0].frame.shape == (360, 640, 3)


def test_the_command(tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "out" / "latency.json"
    options = ["--min-queries", "2", "--warmup-seconds", "0", "--out", str(file)]
    main([str(tiny_bundle), *options])
    printed = capsys.readouterr().out
    assert "p90 es" in printed
    assert "harness" in printed
    run = LatencyRun.model_validate(json.loads(file.read_text()))
    assert list(run.engines) == [f"{tiny_bundle.name} onnxruntime fp32"]
    main([str(tiny_bundle), *options, "--json"])
    printed = LatencyRun.model_validate_json(capsys.readouterr().out)
    assert printed.engines.keys() == run.engines.keys()
    for arguments, said in (
        (["--target", "tensorrt"], "no engine for tensorrt"),
        (["--json", "x.json"], "x.json is no bundle; --json prints on stdout, the file is --out"),
    ):
        with pytest.raises(SystemExit) as done:
            main([str(tiny_bundle), *arguments])
        assert done.value.code == exits.UNFIT
        assert said in capsys.readouterr().err
    with pytest.raises(LzuError, match="no engine for onnxruntime in int8"):
        open_candidates(tiny_bundle, precisions=["int8"])


@pytest.mark.parametrize(("phase", "alone"), [("end to end", False), ("engine", True)])
def test_an_interrupted_command_keeps_its_figures(
    phase: str,
    alone: bool,
    tiny_bundle: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Those of whole rounds, marked; a sentence, and the shell's status of an interruption."""

    class Stopping(module.Watch):
        """Interrupts after three turns: of 16 queries the first phase has two."""

        left = 3

        def __call__(self) -> None:
            super().__call__()
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt

    monkeypatch.setattr(module, "Watch", Stopping)
    queries = "9000" if phase == "end to end" else "16"
    file = tmp_path / "latency.json"
    options = ["--min-queries", queries, "--warmup-seconds", "0", "--out", str(file)]
    with pytest.raises(SystemExit) as done:
        main([str(tiny_bundle), *options])
    assert done.value.code == 130
    told = capsys.readouterr()
    assert told.err.startswith("interrupted: the figures until then are in ")
    assert "interrupted: these are the whole rounds" in told.out
    run = LatencyRun.model_validate(json.loads(file.read_text()))
    assert run.interrupted
    (found,) = run.engines.values()
    assert found.end_to_end.queries >= Plan().block
    assert (found.engine is not None) == alone


def test_interrupted_before_anything_was_timed(
    tiny_bundle: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "take_turns", stop)
    with pytest.raises(SystemExit) as done:
        main([str(tiny_bundle)])
    assert done.value.code == 130
    assert capsys.readouterr().err.startswith("interrupted: nothing was timed yet")
