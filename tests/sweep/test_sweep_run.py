"""A sweep runs its jobs, goes on after a kill, and ranks what is done; exports are made up."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lzu_export.cluster.jobs import Command, Job
from lzu_export.sweep import run
from lzu_export.sweep.results import Result
from samples import refusal
from sweep_samples import Exports, FakeCluster, FakeOpener, setting, write_sweep


@pytest.fixture
def exports(tiny_bundle: Path, tmp_path: Path) -> Exports:
    return Exports(tiny_bundle, tmp_path)


Sweep = Callable[..., tuple[Result, FakeCluster]]


@pytest.fixture
def sweep(exports: Exports, tmp_path: Path) -> Sweep:
    """Run a sweep on made-up workers; return its result, and the workers with their jobs."""

    def call(
        count: int | None = None, workers: dict[str, str] | None = None, **keys: Any
    ) -> tuple[Result, FakeCluster]:
        cluster = FakeCluster(exports, workers)
        opener = FakeOpener(cluster, remote=workers is not None)
        path = write_sweep(tmp_path, **keys)
        result, _ = run.sweep(path, tmp_path / "out", opener, search=count)
        return result, cluster

    return call


def names(jobs: list[Job]) -> list[str]:
    return [job.name for job in jobs]


def test_points_are_exported_timed_and_ranked(sweep: Sweep) -> None:
    """AP rises with fwhm, and so does the time: all are on the front, the best first."""
    result, cluster = sweep()
    assert [row.settings["warp.fwhm"] for row in result.rows] == [10, 7, 4]
    assert [row.rank for row in result.rows] == [1, 2, 3]
    assert all(row.front for row in result.rows)
    best = result.best
    assert best is not None
    assert best.ratio is not None
    assert (best.metric, best.ratio.value, best.milliseconds) == (40, 1.1, 30)
    assert best.gain is not None
    assert best.gain.difference == 10
    assert result.baseline is not None
    assert result.baseline.name == "baseline"
    assert (result.metric, result.dataset, result.frames) == ("AP", "streets", 12)
    kinds = [job.command.module for job in cluster.ran]
    assert kinds == 4 * ["lzu_export"] + 3 * ["lzu_export.sweep.pairing"]
    assert [len(batch) for batch in cluster.batches] == [4, 1, 1, 1]  # times come one at a time


@pytest.mark.parametrize(
    ("rank", "order"),
    [
        ("time", [4, 7, 10]),
        ({"by": "accuracy", "metric": "AP_small"}, [4, 7, 10]),
        ({"by": "accuracy", "direction": "lowest"}, [4, 7, 10]),
        ("accuracy", [10, 7, 4]),
    ],
)
def test_the_order_is_the_ranks(sweep: Sweep, rank: Any, order: list[int]) -> None:
    result, _ = sweep(rank=rank)
    assert [row.settings["warp.fwhm"] for row in result.rows] == order


def test_what_is_done_is_not_done_again(sweep: Sweep) -> None:
    """A point more is one export and one timing more, whatever the order of the file."""
    before, first = sweep()
    after, second = sweep()
    assert (len(first.ran), second.ran) == (7, [])
    assert after.rows == before.rows
    _, third = sweep(matrix={"warp.fwhm": [12, 10, 7, 4]})
    assert names(third.ran) == 2 * ["warp.fwhm 12"]


def test_a_killed_sweep_goes_on(sweep: Sweep, exports: Exports) -> None:
    """Jobs that were done before the interruption are kept."""
    exports.refused = {7: ""}

    def interrupt(job: Job) -> str:
        if setting(job, "warp.fwhm") == 7:
            raise KeyboardInterrupt
        return Exports.__call__(exports, job)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FakeCluster, "__init__", _initialised(interrupt))
        with pytest.raises(KeyboardInterrupt):
            sweep()
    exports.refused = {}
    result, cluster = sweep()
    exported = [job for job in cluster.ran if job.command.module == "lzu_export"]
    assert names(exported) == ["warp.fwhm 7", "warp.fwhm 10"]
    assert len(result.rows) == 3
    assert not result.failed


def _initialised(answer: Callable[[Job], str]) -> Callable[..., None]:
    def init(self: FakeCluster, *_: Any) -> None:
        self.answer, self.hosts, self.ran, self.batches = answer, {"a": "a"}, [], []

    return init


def test_a_removed_bundle_is_exported_again(sweep: Sweep) -> None:
    result, _ = sweep()
    (Path(result.rows[0].bundle) / "manifest.json").unlink()
    _, cluster = sweep()
    assert names(cluster.ran)[:1] == ["warp.fwhm 10"]
    assert cluster.ran[0].command.module == "lzu_export"


def test_a_failed_job_is_a_row_and_the_others_go_on(sweep: Sweep, exports: Exports) -> None:
    """It is last, and runs again the next time."""
    exports.refused = {7: "the disk is full"}
    result, _ = sweep()
    assert [(row.status, row.rank) for row in result.rows] == [
        ("done", 1), ("done", 2), ("failed", None),
    ]  # fmt: skip
    assert result.rows[-1].sentence == "the disk is full"
    assert [row.name for row in result.failed] == ["warp.fwhm 7"]
    exports.refused = {}
    result, cluster = sweep()
    assert names(cluster.ran) == 2 * ["warp.fwhm 7"]
    assert not result.failed


def test_without_the_baseline_nothing_is_timed(sweep: Sweep, exports: Exports) -> None:
    exports.refused = {0: "it has no weights"}
    result, cluster = sweep()
    assert {row.sentence for row in result.rows} == {"not timed, since the baseline failed"}
    assert all(row.metric is not None for row in result.rows)
    assert result.failed[-1].sentence == "it has no weights"
    assert all(job.command.module == "lzu_export" for job in cluster.ran)


def test_an_answer_that_is_no_manifest_fails(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Exports, "__call__", lambda self, job: "[]")
    result, _ = sweep(do=["score"])
    assert {row.sentence for row in result.rows} == {
        "the export's answer is no manifest of this version; give the workers this version"
    }


def test_a_metric_that_is_not_there_is_refused_with_the_nearest(sweep: Sweep) -> None:
    said = refusal(lambda: sweep(rank={"by": "accuracy", "metric": "AP_smal"}))
    assert (
        said == "rank.metric is AP_smal, which the accuracy does not have; did you mean AP_small?"
    )


def test_points_of_one_model_are_noted(sweep: Sweep) -> None:
    result, _ = sweep(
        matrix={"warp.bandwidth": [8, 9]}, set={"warp.fwhm": 7}, baseline={"scale": 1}
    )
    assert any("came to the same model" in each for each in result.notes)


def test_the_key_holds_the_recipe_its_files_and_the_environment(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another release of a package makes every job new."""
    sweep()
    monkeypatch.setattr(run, "environment", lambda: {"torch": "9"})
    _, cluster = sweep()
    assert len(cluster.ran) == 7


def test_a_search_is_reproduced_and_goes_on(sweep: Sweep) -> None:
    """Nothing is run again when the same search is asked for; a longer one begins with it."""
    pytest.importorskip("optuna", reason="the search needs the extra search")
    keys: dict[str, Any] = {
        "matrix": {"warp.fwhm": {"low": 2.0, "high": 20.0}},
        "search": {"seed": 3, "at_once": 2},
        "rank": "accuracy",
        "do": ["score"],
    }
    result, cluster = sweep(12, **keys)
    asked = names(cluster.ran)
    assert len(result.rows) == 12
    assert result.best is not None
    assert result.best.settings["warp.fwhm"] > 15  # where AP is highest
    _, again = sweep(12, **keys)
    assert again.ran == []
    _, longer = sweep(16, **keys)
    assert len(longer.ran) == 4
    assert not set(names(longer.ran)) & set(asked)


def test_a_cluster_s_workers_must_be_equal(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    hosts = {"a": "here", "b": "there"}

    def answer(self: Exports, job: Job) -> str:
        if job.command.module.endswith("environment"):
            return json.dumps({"torch": "2.9" if job.worker == "a" else "2.11"})
        return real(self, job)

    real = Exports.__call__
    monkeypatch.setattr(Exports, "__call__", answer)
    assert refusal(lambda: sweep(workers=hosts)) == (
        "worker a has torch 2.9 but worker b has 2.11; start all workers in equal environments, "
        "so that their results can be compared"
    )


def test_a_cluster_without_workers_is_one_sentence(sweep: Sweep) -> None:
    assert refusal(lambda: sweep(workers={})) == (
        "tcp://nowhere has no workers; start some by `dask worker` there"
    )


def test_on_a_cluster_bundles_are_timed_where_they_are(sweep: Sweep) -> None:
    """The baseline is exported on each worker that holds bundles; machines time beside others."""
    result, cluster = sweep(workers={"a": "here", "b": "there", "c": "there"})
    assert not result.failed
    timings = [job for job in cluster.ran if job.command.module.endswith("pairing")]
    assert {job.worker for job in timings} == {"a", "b", "c"} & {row.worker for row in result.rows}
    together = [batch for batch in cluster.batches if batch[0] in timings]
    assert all(
        len({cluster.hosts[job.worker or ""] for job in batch}) == len(batch) for batch in together
    )
    copies = [job for job in cluster.ran if job.name.startswith("baseline on ")]
    assert len(copies) == len({row.worker for row in result.rows} - {result.baseline.worker})  # type: ignore[union-attr]


def test_jobs_of_no_known_worker_are_alone() -> None:
    def job(name: str, worker: str | None) -> Job:
        return Job(name, {}, Command(()), worker=worker)

    jobs = [job("1", "a"), job("2", "a"), job("3", "b"), job("4", None), job("5", None)]
    found = run.batches(jobs, {"a": "here", "b": "there"})
    assert [names(batch) for batch in found] == [["1", "3"], ["2"], ["4"], ["5"]]
