"""A fleet asks its boards: every kind of row, what is sent, and what is not asked again."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fleet_samples import (
    BUNDLES,
    ENGINE,
    Answer,
    FakeCluster,
    engine_bytes,
    failed,
    good,
    is_look,
    one,
    sample_look,
    sample_order,
    sample_work,
    worker,
)
from lzu_export.errors import LzuError
from lzu_export.fleet.find import unsupported
from lzu_export.fleet.fleet import Order, ask_fleet
from lzu_export.fleet.messages import Step
from lzu_export.fleet.results import Results
from lzu_export.fleet.rows import Fleet, Row
from lzu_export.support.progress import Reporter

ORIN = worker("10.0.0.2", "orin-agx")

Ask = Callable[[Order, FakeCluster], Fleet]


@pytest.fixture
def order(tmp_path: Path) -> Order:
    return sample_order(tmp_path, "orin-agx")


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Ask boards; the results go to tmp_path/out."""
    monkeypatch.setattr("lzu_export.fleet.find.POLL", 0.01)
    results = Results(tmp_path / "out")
    return lambda order, cluster: ask_fleet(
        order,
        cluster,
        results,
        Reporter(quiet=True),  # type: ignore[arg-type]
    )


def only(fleet: Fleet) -> Row:
    (row,) = fleet.rows
    return row


def works_with(what: Answer) -> Answer:
    """Answer a look well, and the work in this way."""
    return lambda job: good(job) if is_look(job) else what(job)


def looks_with(**changes: Any) -> Answer:
    return lambda job: good(job, sample_look(**changes))


def left() -> Answer:
    """Be lost during the work."""
    return works_with(partial(failed, sentence="it left", status="lost"))


def test_a_board_that_does_its_work_is_done(order: Order, ask: Ask, tmp_path: Path) -> None:
    """Its engines lie in its folder, and everything that it sent is in its row."""
    row = only(ask(order, one(ORIN)))
    assert (row.board, row.tag) == ("orin-agx 10.0.0.2", "orin-agx")
    assert (row.status, row.sentence) == ("done", "")
    assert row.work == sample_work()
    assert row.sent_bytes == sum(each.sent.bytes for each in order.archives)
    folder = tmp_path / "out" / "orin-agx-10.0.0.2"
    for bundle in BUNDLES:
        assert (folder / "engines" / bundle / ENGINE).read_bytes() == engine_bytes(bundle)
    assert Row.model_validate_json((folder / "board.json").read_text()) == row


TIMED_OUT = "it ran longer than 600 s"
NO_MODULE = "No module named lzu_export"
FULL = "the bundle cannot be written: the disk is full; free space and run again"
STEPS = (
    Step(name="build uniform-0.5x fp16", status=2, sentence="TensorRT 10.2 is too old", seconds=1),
    Step(name="verify fixed-0.5x", status=0, seconds=2),
)
DEVIATES = (Step(name="verify fixed-0.5x", status=1, sentence="scores deviate", seconds=2),)


@pytest.mark.parametrize(
    ("answer", "status", "sentence"),
    [
        (looks_with(unfit="TensorRT does not import"), "failed", "TensorRT does not import"),
        (partial(failed, sentence=NO_MODULE, lzu_export=None), "failed", NO_MODULE),
        (
            partial(failed, sentence="x", python="3.14.0"),
            "failed",
            "the board's worker runs Python 3.14.0, and lzu_export needs <3.14,>=3.10; make its "
            "environment with such a Python",
        ),
        (
            lambda job: replace(good(job), answer={"stdout": "{}", "lzu_export": "0.0.9"}),
            "failed",
            "its answer is not understood: it has lzu_export 0.0.9, and this is ",
        ),
        (
            partial(failed, sentence="it ended with status 2", lzu_export="0.0.9"),
            "failed",
            "it ended with status 2; it has lzu_export 0.0.9, and this is ",
        ),
        (works_with(partial(failed, sentence=TIMED_OUT)), "failed", TIMED_OUT),
        (works_with(partial(failed, sentence=FULL)), "failed", FULL),
        (left(), "lost", "it left"),
        (partial(failed, sentence="it left", status="lost"), "lost", "it left"),
        (
            works_with(lambda job: good(job, work=sample_work(steps=STEPS))),
            "failed",
            "build uniform-0.5x fp16: TensorRT 10.2 is too old",
        ),
        (
            works_with(lambda job: good(job, work=sample_work(steps=DEVIATES))),
            "deviates",
            "verify fixed-0.5x: scores deviate",
        ),
        (
            works_with(lambda job: replace(good(job), files={})),
            "failed",
            f"its engine {ENGINE} arrived damaged; run the fleet again",
        ),
        (
            works_with(lambda job: replace(good(job), files=dict.fromkeys(good(job).files, b"x"))),
            "failed",
            f"its engine {ENGINE} arrived damaged; run the fleet again",
        ),
    ],
)
def test_a_board_that_fails_is_a_row_with_its_sentence(
    answer: Answer, status: str, sentence: str, order: Order, ask: Ask
) -> None:
    """Beside one that is done, which goes on."""
    other = worker("10.0.0.3", "orin-agx")
    bad, fine = ask(order, FakeCluster([(ORIN, answer), (other, good)])).rows
    assert (bad.board, bad.status) == ("orin-agx 10.0.0.2", status)
    assert bad.sentence.startswith(sentence)
    assert (fine.board, fine.status) == ("orin-agx 10.0.0.3", "done")


def test_a_tag_that_no_worker_has_is_absent(tmp_path: Path, ask: Ask) -> None:
    """The row names what there is instead; rows are in the order of the tags."""
    order = sample_order(tmp_path, "thor", "orin-agx")
    absent, there = ask(order, one(ORIN)).rows
    assert (absent.board, absent.status, there.status) == ("thor", "absent", "done")
    assert absent.sentence == (
        "no worker has the tag thor after 0 s; there is 1 worker, with the tags orin-agx; start "
        'one on the board (dask worker --resources "thor=1")'
    )


def test_a_fleet_without_workers_is_all_absent(order: Order, ask: Ask) -> None:
    fleet = ask(order, FakeCluster([]))
    assert [row.status for row in fleet.rows] == ["absent"]
    assert "there are no workers" in fleet.rows[0].sentence
    assert not fleet.begun


def test_workers_that_come_in_time_are_asked(tmp_path: Path, ask: Ask) -> None:
    cluster = FakeCluster([])
    looked: list[int] = []

    def workers() -> list[Any]:
        looked.append(1)
        if len(looked) == 3:
            cluster.boards = [(ORIN, good)]
        return [each for each, _ in cluster.boards]

    cluster.workers = workers  # type: ignore[method-assign]
    order = sample_order(tmp_path, "orin-agx", patience=0.5)
    assert only(ask(order, cluster)).status == "done"


def test_boards_with_one_tag_have_names_of_their_own(order: Order, ask: Ask) -> None:
    """A worker's own name before its host; one with two tags is asked once."""
    boards = [
        worker("10.0.0.2", "orin-agx"),
        worker("10.0.0.2", "orin-agx", port=4001),
        worker("10.0.0.3", "orin-agx", name="bench-3"),
    ]
    rows = ask(order, FakeCluster([(each, good) for each in boards])).rows
    names = ["orin-agx 10.0.0.2", "orin-agx 10.0.0.2:4001", "orin-agx bench-3"]
    assert [row.board for row in rows] == names
    assert len({row.folder for row in rows}) == 3
    both = replace(ORIN, resources={"orin-agx": 1, "lab": 1})
    cluster = one(both)
    assert only(ask(replace(order, tags=("orin-agx", "lab")), cluster)).tag == "orin-agx"
    assert [is_look(job) for job in cluster.jobs] == [True]


def test_each_job_is_bound_to_its_board_and_its_time(order: Order, ask: Ask) -> None:
    cluster = one(ORIN)
    ask(order, cluster)
    assert [is_look(job) for job in cluster.jobs] == [True, False]
    for job in cluster.jobs:
        assert (job.worker, job.resources) == (ORIN.name, {"orin-agx": 1})
        assert job.command.module == "lzu_export"
        assert job.command.arguments[:2] == ("board", "request.json")
        assert json.loads(job.files["request.json"]) == order.request.model_dump(mode="json")
    assert cluster.jobs[1].command.timeout == 600


def test_an_archive_that_the_board_has_is_not_sent(order: Order, ask: Ask) -> None:
    first, second = order.archives
    cluster = one(ORIN, looks_with(held=(first.sent.sha256,)))
    row = only(ask(order, cluster))
    (job,) = cluster.works()
    assert set(job.files) == {"request.json", second.sent.file}
    assert job.files[second.sent.file] == second.path.read_bytes()
    assert row.sent_bytes == second.sent.bytes


def test_a_stored_result_is_not_asked_again(order: Order, ask: Ask) -> None:
    """Unless that is asked for, or the options, the release or the machine have changed."""
    first = only(ask(order, one(ORIN)))
    moved = one(worker("10.0.0.2", "orin-agx", port=5000))
    row = only(ask(order, moved))
    assert moved.works() == []
    assert (row.status, row.stored, row.sent_bytes) == ("done", True, 0)
    assert row.work == first.work
    options = order.request.model_copy(update={"build": ("--level", "2")})
    for changed, answer in (
        (replace(order, again=True), good),
        (order, looks_with(version="10.16.2")),
        (order, looks_with(key="fedcba9876543210")),
        (order, looks_with(machine="30W")),
        (order, looks_with(key=None)),
        (replace(order, request=options), good),
    ):
        cluster = one(ORIN, answer)
        assert not only(ask(changed, cluster)).stored
        assert len(cluster.works()) == 1


@pytest.mark.parametrize("how", ["changed", "gone", "row"])
def test_a_stored_result_that_is_not_whole_is_asked_again(
    how: str, order: Order, ask: Ask, tmp_path: Path
) -> None:
    ask(order, one(ORIN))
    folder = tmp_path / "out" / "orin-agx-10.0.0.2"
    engine = folder / "engines" / BUNDLES[0] / ENGINE
    if how == "changed":
        engine.write_bytes(b"x")
    elif how == "gone":
        engine.unlink()
    else:
        (folder / "board.json").write_text("{")
    assert not only(ask(order, one(ORIN))).stored
    assert engine.read_bytes() == engine_bytes(BUNDLES[0])


def test_a_failed_result_is_asked_again(order: Order, ask: Ask) -> None:
    bad = one(ORIN, works_with(lambda job: good(job, work=sample_work(steps=STEPS))))
    assert only(ask(order, bad)).status == "failed"
    cluster = one(ORIN)
    assert only(ask(order, cluster)).status == "done"
    assert len(cluster.works()) == 1


def test_a_board_that_never_answers_is_lost(order: Order, ask: Ask) -> None:
    cluster = one(ORIN)
    cluster.run = lambda *_, **__: iter(())  # type: ignore[method-assign]
    row = only(ask(order, cluster))
    assert (row.status, row.sentence) == ("lost", "it did not answer")


def test_a_result_that_cannot_be_written_is_one_sentence(
    order: Order, ask: Ask, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "orin-agx-10.0.0.2").write_text("in the way")
    with pytest.raises(LzuError, match=r"the result of orin-agx 10\.0\.0\.2 cannot be written"):
        ask(order, one(ORIN))


def test_two_fleets_do_not_write_to_one_folder(tmp_path: Path) -> None:
    first, second = Results(tmp_path / "out"), Results(tmp_path / "out")
    with first.alone(), pytest.raises(LzuError, match="another fleet writes to"), second.alone():
        pass
    with second.alone():
        pass


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"python": "3.9.18"}, "the board's worker runs Python 3.9.18, and lzu_export needs <3.14"),
        ({"dask": "2024.8.0"}, "the board's worker has distributed 2024.8.0, which is too old"),
    ],
)
def test_a_worker_that_a_job_would_end_is_not_asked(
    changes: dict[str, str], sentence: str, order: Order, ask: Ask
) -> None:
    cluster = one(replace(ORIN, **changes))  # type: ignore[arg-type]
    row = only(ask(order, cluster))
    assert row.status == "failed"
    assert row.sentence.startswith(sentence)
    assert cluster.jobs == []


def test_supported_pythons() -> None:
    assert [unsupported(each) for each in ("3.10.12", "3.11.7", "3.13.0", "")] == [""] * 4
    assert all(unsupported(each) for each in ("3.9.18", "3.14.0"))
