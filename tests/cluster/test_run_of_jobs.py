"""A run of jobs on workers that die, leave, or never were there: fakes in place of processes."""

import json
import random
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path

import pytest

from lzu_export.cluster import run as running
from lzu_export.cluster.cluster import Cluster
from lzu_export.cluster.jobs import LARGE, Command, Job, Outcome
from lzu_export.cluster.store import Store
from lzu_export.cluster.workers import Answer, ConnectionLost, WorkerDied, WorkerInfo
from lzu_export.errors import LzuError

ONE = WorkerInfo("tcp://1", "one", "host", 2, {"orin": 1})
TWO = WorkerInfo("tcp://2", "two", "host", 1)


class Fakes:
    """Workers whose answers a function makes, at once."""

    place = "tcp://fake"
    environment: Mapping[str, str] = {"OMP_NUM_THREADS": "3"}

    def __init__(self, answer: Callable[[Job], Answer | BaseException | None], *seen: WorkerInfo):
        self.answer, self.seen = answer, list(seen or (ONE, TWO))
        self.submitted: list[tuple[Job, str, WorkerInfo | None]] = []
        self.stopped: list[str] = []
        self.forgotten: set[str] = set()
        self.lost = False

    def workers(self) -> list[WorkerInfo]:
        if self.lost:
            raise ConnectionLost
        return self.seen

    def submit(self, job: Job, request: str, worker: WorkerInfo | None) -> "Future[Answer]":
        self.submitted.append((job, request, worker))
        future: Future[Answer] = Future()
        answer = self.answer(job)
        if isinstance(answer, BaseException):
            future.set_exception(answer)
        elif answer is not None:
            future.set_result(answer)
        return future

    def stop(self, keys: list[str]) -> None:
        self.stopped += keys

    def forget(self, digests: set[str]) -> None:
        self.forgotten |= digests

    def close(self) -> None:
        """Nothing is open."""


def job(i: int, **more: object) -> Job:
    return Job(f"job {i}", {"i": i}, Command((str(i),)), **more)  # type: ignore[arg-type]


def answer(job: Job, **more: object) -> Answer:
    found = {"status": 0, "stdout": job.name, "error": "", "seconds": 1.5, "host": "h", **more}
    return json.dumps(found), {"x.txt": b"x"}


def outcomes(fakes: Fakes, *jobs: Job, patience: float = 0.0) -> dict[str, Outcome]:
    found = list(Cluster(fakes).run(jobs, patience=patience))
    assert len({each.key for each in found}) == len(found)
    return {each.name: each for each in found}


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for nothing: fakes answer at once."""
    monkeypatch.setattr(running, "TICK", 0.001)
    monkeypatch.setattr(running, "REFRESH", 0.0)


def test_of_jobs_on_dying_workers_none_is_lost_or_doubled(tmp_path: Path) -> None:
    luck = random.Random(0)

    def unsteady(job: Job) -> Answer | BaseException:
        return ConnectionLost() if luck.random() < 0.2 else answer(job)

    jobs = [job(i) for i in range(200)]
    fakes = Fakes(unsteady)
    with Store(tmp_path) as store:
        found = list(Cluster(fakes).run(jobs, store))
        assert Counter(each.key for each in found) == Counter(each.key for each in jobs)
        assert {each.status for each in found} == {"done"}
        assert all(each.answer["stdout"] == each.name for each in found)
        assert len(fakes.submitted) > 210
        before = len(fakes.submitted)
        again = list(Cluster(fakes).run(jobs, store))
        assert len(fakes.submitted) == before
    assert sorted(each.key for each in again) == sorted(each.key for each in jobs)


def test_no_more_jobs_are_given_than_workers_run_at_a_time() -> None:
    fakes = Fakes(lambda job: None)
    run = running.Run(fakes, 60)
    for i in range(9):
        run.add(job(i))
    assert not list(run.step())
    assert len(fakes.submitted) == ONE.threads + TWO.threads
    run.stop()
    assert fakes.stopped == [each.key for each, _, _ in fakes.submitted]
    assert not run.is_going()


def test_the_request_has_the_command_and_the_place_s_environment() -> None:
    command = Command(("a",), environment={"ME": "1"}, timeout=3.0, returns=("*.txt",))
    fakes = Fakes(answer)
    outcomes(fakes, Job("name", {}, command))
    ((_, request, worker),) = fakes.submitted
    assert worker is None
    assert json.loads(request) == {
        "key": Job("other", {}, command).key,
        "module": "lzu_export",
        "arguments": ["a"],
        "environment": {"OMP_NUM_THREADS": "3", "ME": "1"},
        "timeout": 3.0,
        "returns": ["*.txt"],
        "folder": None,
    }


def test_failures_are_outcomes_with_a_sentence() -> None:
    faults: dict[str, Answer | BaseException] = {
        "job 0": answer(job(0), status=2, error="no such recipe"),
        "job 1": WorkerDied(4),
        "job 2": ModuleNotFoundError("No module", name="lzu_export"),
        "job 3": ValueError("odd\nlines"),
        "job 4": (answer(job(4))[0], {"../evil": b""}),
        "job 5": answer(job(5)),
    }
    found = outcomes(Fakes(lambda job: faults[job.name]), *map(job, range(6)))
    assert {name: each.status for name, each in found.items()} == {
        **{f"job {i}": "failed" for i in range(5)},
        "job 5": "done",
    }
    assert found["job 0"].sentence == "no such recipe"
    assert found["job 0"].answer["host"] == "h"
    assert found["job 1"].sentence.startswith("this job ended its worker 4 times")
    assert "install lzu-export[cluster]" in found["job 2"].sentence
    assert found["job 3"].sentence == "its worker failed (ValueError: odd)"
    assert found["job 4"].sentence == "its worker returned '../evil', outside its folder"
    assert (found["job 5"].seconds, found["job 5"].worker) == (1.5, "h")
    assert found["job 5"].files == {"x.txt": b"x"}


def test_bound_jobs_go_to_their_worker_and_resources_to_those_that_have_them() -> None:
    fakes = Fakes(answer)
    found = outcomes(fakes, job(0, worker="two"), job(1, resources={"orin": 1}))
    assert {each.status for each in found.values()} == {"done"}
    assert [worker for _, _, worker in fakes.submitted] == [TWO, None]
    assert found["job 0"].worker == "two"


@pytest.mark.parametrize(
    ("needs", "sentence"),
    [
        (
            {"worker": "three"},
            "its worker three is not connected to tcp://fake; start it again (connected: one, two)",
        ),
        (
            {"resources": {"thor": 2}},
            "no worker at tcp://fake has thor=2; start one with: dask worker tcp://fake "
            '--resources "thor=2"',
        ),
        ({"worker": "two", "resources": {"orin": 1}}, "no worker at tcp://fake has orin=1"),
    ],
)
def test_jobs_that_no_worker_may_run_are_lost_and_the_others_are_done(
    needs: dict[str, object], sentence: str
) -> None:
    found = outcomes(Fakes(answer), job(0, **needs), job(1))
    assert (found["job 0"].status, found["job 1"].status) == ("lost", "done")
    assert found["job 0"].sentence.startswith(sentence)


def test_without_any_worker_all_jobs_are_lost() -> None:
    fakes = Fakes(answer)
    fakes.seen = []
    found = outcomes(fakes, job(0))
    assert found["job 0"].sentence.startswith("no worker is connected to tcp://fake; start one")


def test_a_job_whose_own_worker_leaves_and_comes_back_runs_again() -> None:
    fakes = Fakes(lambda job: None, TWO)
    run = running.Run(fakes, 60)
    run.add(job(0, worker="two"))
    assert not list(run.step())
    fakes.seen = []
    assert not list(run.step())
    back = WorkerInfo("tcp://3", "two", "host", 1)
    fakes.seen, fakes.answer = [back], answer
    (found,) = run.step()
    assert found.status == "done"
    assert [worker for _, _, worker in fakes.submitted] == [TWO, back]


def test_a_bound_job_that_ends_its_worker_each_time_is_given_up() -> None:
    fakes = Fakes(lambda job: None, TWO)
    run = running.Run(fakes, 60)
    run.add(job(0, worker="two"))
    found: list[Outcome] = []
    for i in range(9):
        found += run.step()
        fakes.seen = [WorkerInfo(f"tcp://{i}", "two", "host", 1)]
    assert [each.sentence.split(",")[0] for each in found] == ["this job ended its worker 4 times"]
    assert len(fakes.submitted) == running.DEATHS


def test_a_scheduler_that_stays_away_ends_the_run_with_a_sentence() -> None:
    fakes = Fakes(lambda job: None)
    steps = Cluster(fakes).run([job(0)], patience=0.05)
    fakes.lost = True
    with pytest.raises(LzuError, match=r"tcp://fake does not answer any more; start it again and"):
        next(steps)
    with pytest.raises(LzuError, match="does not answer any more"):
        Cluster(fakes).workers()


def test_an_interrupted_run_stops_its_commands() -> None:
    fakes = Fakes(lambda each: answer(each) if each.name == "job 0" else None)
    steps = Cluster(fakes).run([job(0), job(1)])
    assert next(steps).name == "job 0"
    steps.close()  # type: ignore[attr-defined]
    assert fakes.stopped == [job(1).key]


def test_large_files_are_forgotten_after_the_last_job_that_needs_them() -> None:
    content = b"x" * LARGE
    jobs = [job(i, files={"big": content, "small": b"x"}) for i in range(3)]
    forgotten: list[set[str]] = []
    fakes = Fakes(answer, TWO)
    for _ in Cluster(fakes).run(jobs):
        forgotten.append(set(fakes.forgotten))
    assert forgotten == [set(), set(), set(jobs[0].digests.values())]
    assert list(jobs[0].digests) == ["big"]
