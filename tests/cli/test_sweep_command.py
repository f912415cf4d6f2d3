"""`lzu-export sweep` as a user sees it; exports are made up."""

import builtins
import json
from pathlib import Path
from typing import Any

import pytest

from lzu_export.cli import sweep as command
from lzu_export.cluster.jobs import Job
from lzu_export.sweep.schema import Range
from samples import status_of
from sweep_samples import Exports, FakeCluster, FakeOpener, write_sweep


@pytest.fixture
def exports(tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Exports:
    """What answers the jobs of the command."""
    pytest.importorskip("matplotlib", reason="the page needs the extra bench")
    made = Exports(tiny_bundle, tmp_path)
    opener = FakeOpener(FakeCluster(made))
    monkeypatch.setattr(command, "Opener", lambda *_: opener)
    return made


@pytest.mark.usefixtures("exports")
def test_results_and_page_are_written(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The table is on stdout, a line a job on stderr."""
    path = write_sweep(tmp_path)
    assert status_of("sweep", path, "--out", tmp_path / "out") == 0
    told = capfd.readouterr()
    assert "Sweep warps" in told.out
    assert "fwhm 10*" in told.out
    assert max(map(len, told.out.splitlines()[:-1])) <= 80
    assert told.out.splitlines()[-1].endswith("sweep.html, results.json")
    assert "  1/4 " in told.err
    folder = tmp_path / "out" / "warps"
    assert json.loads((folder / "results.json").read_text())["rows"][0]["rank"] == 1
    assert "LZU sweep" in (folder / "sweep.html").read_text()


def test_a_failed_point_is_status_4(
    exports: Exports, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    exports.refused = {7: "the disk is full"}
    path = write_sweep(tmp_path)
    assert status_of("sweep", path, "--out", tmp_path / "out", "--json") == 4
    told = capfd.readouterr()
    found = json.loads(told.out)
    assert [row["status"] for row in found["rows"]] == ["done", "done", "failed"]
    assert found["rows"][-1]["sentence"] == "the disk is full"
    assert "/4 warp.fwhm 7: failed: the disk is full" in told.err


def test_the_file_may_change_while_jobs_run(
    exports: Exports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Page and results are written as the sweep was when it began."""
    path = write_sweep(tmp_path)
    answer = Exports.__call__

    def answer_and_remove(self: Exports, job: Job) -> str:
        path.unlink(missing_ok=True)
        return answer(self, job)

    monkeypatch.setattr(Exports, "__call__", answer_and_remove)
    assert status_of("sweep", path, "--out", tmp_path / "out") == 0
    assert not path.exists()
    assert (tmp_path / "out" / "warps" / "sweep.html").is_file()


@pytest.mark.usefixtures("exports")
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--format", "csv"], "--format csv is not known; give json or parquet"),
        (["--search", "4", "--format", "csv"], "--format csv is not known"),
    ],
)
def test_bad_options(
    words: list[str], sentence: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert status_of("sweep", write_sweep(tmp_path), "--out", tmp_path / "out", *words) == 2
    assert sentence in capfd.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("exports")
def test_bad_points_end_it_before_any_job(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write_sweep(tmp_path, matrix={"warp.fwhm": [4, -1]})
    assert status_of("sweep", path, "--out", tmp_path / "out") == 2
    told = capfd.readouterr()
    assert told.out == ""
    assert told.err.startswith(f"error: sweep {path}, warp.fwhm -1: recipe ")
    assert len(told.err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("exports")
@pytest.mark.parametrize(
    ("package", "words", "extra"),
    [("optuna", ["--search", "3"], "search"), ("pyarrow", ["--format", "parquet"], "parquet")],
)
def test_without_a_package_there_is_one_sentence(
    package: str,
    words: list[str],
    extra: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    whole = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.partition(".")[0] == package:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return whole(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == package else name)
    matrix = {"warp.fwhm": Range(low=4, high=9).model_dump()} if package == "optuna" else None
    keys = {"matrix": matrix} if matrix else {}
    path = write_sweep(tmp_path, **keys)
    assert status_of("sweep", path, "--out", tmp_path / "out", *words) == 2
    said = capfd.readouterr().err
    assert f"needs the package {package}; pip install 'lzu-export[{extra}]'" in said
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.slow  # exports two small bundles in processes, and times them
def test_a_sweep_from_end_to_end(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """With real jobs on this machine; the same command does nothing again."""
    words = ["sweep", write_sweep(tmp_path, matrix={"warp.fwhm": [4, 7]}, do=["time"])]
    words += ["--out", tmp_path / "out", "--workers", "2"]
    assert status_of(*words, "--json") == 0, capfd.readouterr().err
    first = json.loads(capfd.readouterr().out)
    assert [row["status"] for row in first["rows"]] == ["done", "done"]
    for row in first["rows"]:
        assert row["ratio"]["low"] <= row["ratio"]["value"] <= row["ratio"]["high"]
        assert (Path(row["bundle"]) / "manifest.json").is_file()
    assert status_of(*words, "--json") == 0
    again = json.loads(capfd.readouterr().out)
    assert again["rows"] == first["rows"]


@pytest.mark.slow  # starts a scheduler and two workers, which export three small bundles
def test_a_sweep_on_a_scheduler(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """With real workers of Dask, which have the same disk; nothing of Dask is on the terminal."""
    pytest.importorskip("distributed", reason="a scheduler needs the extra cluster")
    pytest.importorskip("psutil", reason="the workers of this test need it")
    from lzu_benchmarks.harness.dask_processes import DaskProcesses

    path = write_sweep(tmp_path, matrix={"warp.fwhm": [4, 7]}, do=["time"])
    with DaskProcesses(2) as processes:
        words = ["sweep", path, "--out", tmp_path / "out", "--scheduler", processes.address]
        status = status_of(*words)
    told = capfd.readouterr()
    assert status == 0, told.err
    assert "baseline" in told.out
    assert "distributed" not in told.err
    found = json.loads((tmp_path / "out" / "warps" / "results.json").read_text())
    assert [row["status"] for row in found["rows"]] == ["done", "done"]
    assert all(row["ratio"]["rounds"] > 1 for row in found["rows"])
    assert found["machine"] == "workers of a cluster"
