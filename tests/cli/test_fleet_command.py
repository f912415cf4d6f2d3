"""`lzu-export fleet` and `lzu-export board` as a shell sees them, over a made-up cluster."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fleet_samples import Answer, FakeCluster, failed, good, is_look, one, sample_work, worker
from lzu_export.compiler.derive import derive
from lzu_export.errors import LzuError
from lzu_export.fleet.messages import Step
from samples import status_of

ORIN = worker("10.0.0.2", "orin")
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def derived(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with a file for TensorRT, which no test changes."""
    folder = tmp_path_factory.mktemp("fleet") / "fixed"
    shutil.copytree(tiny_bundle, folder)
    derive(folder)
    return folder


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
    """A cluster of one board, to which every fleet connects."""
    found = one(ORIN)

    @contextmanager
    def opened(*_: Any, **__: Any) -> Iterator[FakeCluster]:
        yield found

    monkeypatch.setattr("lzu_export.cluster.cluster.open_cluster", opened)
    return found


@pytest.fixture
def fleet(
    cluster: FakeCluster, derived: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> Command:
    """Run `lzu-export fleet` with the bundle; return status, stdout and stderr."""

    def run(*more: Any, boards: str = "orin") -> tuple[int, str, str]:
        words = ["fleet", derived, "--scheduler", "tcp://10.0.0.1:8786", "--boards", boards]
        status = status_of(*words, "--out", tmp_path / "out", "--patience", 0, *more)
        return status, *capfd.readouterr()

    return run


def answer(**changes: Any) -> Answer:
    """Answer a look well, and the work with these changes."""

    def said(job: Any) -> Any:
        if is_look(job):
            return good(job)
        return good(job, work=sample_work(("fixed",), "fp32", **changes))

    return said


def test_a_fleet_prints_its_table_and_writes_its_report(fleet: Command, tmp_path: Path) -> None:
    status, out, _ = fleet()
    assert status == 0
    assert "orin 10.0.0.2 done" in out
    assert "  fixed fp32" in out
    assert out.splitlines()[-1] == str(tmp_path / "out/fleet.html")
    assert (tmp_path / "out/fleet.html").read_text().startswith("<!doctype html>")
    data = json.loads((tmp_path / "out/fleet.json").read_text())
    assert [row["status"] for row in data["rows"]] == ["done"]
    assert data["request"]["build"] == []


def test_json_is_the_report(fleet: Command, tmp_path: Path) -> None:
    status, out, err = fleet("--json")
    assert (status, err) == (0, "  boards ...\n"), "progress alone"
    assert json.loads(out) == json.loads((tmp_path / "out/fleet.json").read_text())


DEVIATES = (Step(name="verify fixed", status=1, sentence="scores deviate", seconds=1),)
FAILED = (Step(name="time", status=2, sentence="no frames", seconds=1),)


@pytest.mark.parametrize(
    ("board", "status", "said"),
    [
        (answer(steps=DEVIATES), 1, "verify fixed: scores deviate"),
        (answer(steps=FAILED), 4, "time: no frames"),
        (partial(failed, sentence="it ran too long"), 2, "it ran too long"),
    ],
)
def test_the_status_is_that_of_the_worst_row(
    board: Answer, status: int, said: str, fleet: Command, cluster: FakeCluster, tmp_path: Path
) -> None:
    """The report is written, and each reason is a sentence on stderr."""
    cluster.boards = [(ORIN, board)]
    found, _, err = fleet()
    assert found == status
    assert f"error: orin 10.0.0.2: {said}" in err
    assert "Traceback" not in err
    assert (tmp_path / "out/fleet.html").is_file()


def test_an_absent_board_beside_one_that_is_done(fleet: Command) -> None:
    status, out, err = fleet(boards="orin thor")
    assert status == 4
    assert "thor          absent" in out
    assert "error: thor: no worker has the tag thor after 0 s" in err
    assert fleet(boards="thor")[0] == 2


def test_options_of_the_build_and_the_timing_reach_the_board(
    fleet: Command, cluster: FakeCluster
) -> None:
    options = ("--workspace", 1024, "--version-compatible", "--min-seconds", 2.5)
    assert fleet(*options, "--precision", "fp32", "--timeout", 90)[0] == 0
    (job,) = cluster.works()
    request = json.loads(job.files["request.json"])
    assert request["build"] == ["--workspace", "1024", "--version-compatible"]
    assert request["timing"] == ["--min-seconds", "2.5"]
    assert (request["target"], request["precisions"]) == ("tensorrt", ["fp32"])
    assert job.command.timeout == 90


def test_boards_may_run_engines_that_the_bundle_has(fleet: Command, cluster: FakeCluster) -> None:
    assert fleet("--target", "onnxruntime")[0] == 0
    assert json.loads(cluster.works()[0].files["request.json"])["build"] is None


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--precision", "fp16"], "the bundle has nothing for tensorrt in fp16; it has"),
        (["--target", "tensorflow"], "there is no target tensorflow"),
        (["--hardware", "volta"], "--hardware volta is not known"),
        (["--target", "onnxruntime", "--level", "2"], "--level is for engines that the boards"),
        (["--target", "tensorrt-rtx"], "the bundle has nothing for tensorrt-rtx"),
    ],
)
def test_bad_input_is_one_sentence(
    more: list[str], said: str, fleet: Command, cluster: FakeCluster, tmp_path: Path
) -> None:
    """Before any board is asked."""
    status, out, err = fleet(*more)
    assert (status, out) == (2, "")
    assert said in err
    assert len(err.splitlines()) == 1
    assert cluster.jobs == []
    assert not (tmp_path / "out").exists()


def test_names_of_bundles_and_boards(fleet: Command, derived: Path, tmp_path: Path) -> None:
    again = shutil.copytree(derived, tmp_path / "elsewhere/fixed")
    assert "two bundles are called fixed" in fleet(again)[2]
    spaced = shutil.copytree(derived, tmp_path / "my bundle")
    assert "the bundle's folder is called 'my bundle', and boards take names" in fleet(spaced)[2]
    assert "--boards names no board" in fleet(boards=" ")[2]
    assert "is no bundle" in fleet(tmp_path / "absent")[2]


def test_a_scheduler_that_is_away_is_one_sentence(
    fleet: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(*_: Any, **__: Any) -> None:
        raise LzuError("no scheduler answers at tcp://10.0.0.1:8786; start it")

    monkeypatch.setattr("lzu_export.cluster.cluster.open_cluster", opened)
    status, _, err = fleet()
    assert (status, len(err.splitlines())) == (2, 1)
    assert "no scheduler answers" in err


def test_an_interruption_keeps_what_is_done(fleet: Command, cluster: FakeCluster) -> None:
    def stop(_: Any) -> Any:
        raise KeyboardInterrupt

    cluster.boards = [(ORIN, good), (worker("10.0.0.3", "orin"), stop)]
    status, _, err = fleet()
    assert status == 130
    assert "results of boards that are done are kept; give the same command to go on" in err


def test_a_board_prints_its_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Steps that failed are in it; the command is for fleets alone, and not listed."""
    monkeypatch.setenv("LZU_CACHE", str(tmp_path / "cache"))
    request = tmp_path / "request.json"
    request.write_text('{"bundles": [], "target": "onnxruntime"}')
    assert status_of("board", request) == 0
    assert json.loads(capfd.readouterr().out)["steps"] == []
    monkeypatch.setattr("lzu_export.fleet.board.work", lambda *_: sample_work(steps=FAILED))
    assert status_of("board", request) == 0
    assert json.loads(capfd.readouterr().out)["steps"][0]["sentence"] == "no frames"
    assert status_of("board", tmp_path / "absent.json") == 2
    assert "absent.json cannot be read" in capfd.readouterr().err
    status_of("--help")
    assert " board " not in capfd.readouterr().out
