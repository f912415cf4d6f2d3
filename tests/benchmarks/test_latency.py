"""Bundles are timed in turns: end to end with its stages, and the engine alone."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="exporting needs torch")

from lzu_benchmarks import latency as module
from lzu_benchmarks.latency import STAGES, LatencyRun, enter, frames_of, main, measure, pair
from lzu_export import exits
from lzu_export.errors import LzuError
from lzu_export.interleave import Plan
from lzu_export.runtime.manifest import read_manifest

QUICK = Plan(queries=64, warmup_queries=1, warmup_seconds=0.0, block=8, settle=0)


@pytest.fixture(scope="module")
def run(tiny_bundle: Path) -> LatencyRun:
    contestants = [each for _ in range(2) for each in enter(tiny_bundle)]
    first, second = (
        module.Contestant(**{**vars(each), "name": name})
        for each, name in zip(contestants, "ab", strict=True)
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
    (found,) = measure(enter(bundle), plan).engines.values()
    assert found.frames_per_query == read_manifest(bundle).recipe.batch
    assert found.end_to_end.p50 > 0


def test_noise_stands_for_frames_where_no_set_is_at_hand(tiny_bundle: Path) -> None:
    recipe = read_manifest(tiny_bundle).recipe
    gone = recipe.evaluation.model_copy(update={"dataset": "gone.json"})
    for each in (recipe, recipe.model_copy(update={"evaluation": gone})):
        batches = frames_of(each, count=3)
        assert len(batches) == 3
        assert all(shot.frame.shape == (96, 160, 3) for batch in batches for shot in batch)
        assert not np.array_equal(batches[0][0].frame, batches[1][0].frame)


def test_the_demonstration_s_frames_are_shown_in_the_order_of_time(tiny_bundle: Path) -> None:
    recipe = read_manifest(tiny_bundle).recipe
    demo = recipe.evaluation.model_copy(update={"dataset": "demo"})
    shown = frames_of(recipe.model_copy(update={"evaluation": demo, "source": (360, 640)}), 2)
    assert [len(batch) for batch in shown] == [1, 1]
    assert shown[0][0].frame.shape == (360, 640, 3)


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
        enter(tiny_bundle, precisions=["int8"])


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
