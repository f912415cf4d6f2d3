"""The studies of jobs on a cluster, small; and the sizes that the documents report, slow."""

import json
from typing import Any

import pytest

pytest.importorskip("distributed", reason="jobs on a cluster need the extra cluster")

from lzu_benchmarks.studies import cluster_growth, cluster_kills


def test_a_result_that_is_missing_doubled_or_wrong_is_seen() -> None:
    names = ("jobs", "results", "different_results", "right_results", "kept_results")
    whole: dict[str, Any] = {**dict.fromkeys(names, 5), "executed_jobs": 5, "executions": 7}
    assert cluster_kills.is_whole(whole)
    for name in (*names[1:], "executed_jobs"):
        assert not cluster_kills.is_whole({**whole, name: 4})
        assert not cluster_kills.is_whole({**whole, name: 6})


@pytest.mark.parametrize(
    ("study", "words", "complaint"),
    [
        (cluster_kills, ["--jobs", "0"], "--jobs, --workers and --seconds are positive"),
        (cluster_kills, ["--kills", "-1"], "0 or more"),
        (cluster_growth, ["--jobs", "5", "5"], "--jobs takes different positive numbers"),
        (cluster_growth, ["--workers", "0"], "--workers takes different positive numbers"),
    ],
)
def test_odd_numbers_are_a_sentence(
    study: Any, words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        study.main(words)
    assert ended.value.code == 2
    assert complaint in capsys.readouterr().err


def test_costs_get_exponents() -> None:
    from lzu_export.support.progress import Reporter

    def one(count: int) -> dict[str, float]:
        return {"jobs": count, "scheduler_seconds": count**2 / 10, "megabytes": 3.0}

    rows = cluster_growth.run_series("sizes", [100, 10], one, Reporter(quiet=True))
    assert [row["size"] for row in rows] == [10, 100]
    assert rows[1]["scheduler_seconds_exponent"] == pytest.approx(2)
    assert rows[1]["megabytes_exponent"] == pytest.approx(0)


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [60, 1000])
def test_no_job_is_lost_or_doubled_when_processes_are_killed(
    jobs: int, capfd: pytest.CaptureFixture[str]
) -> None:
    """Slow: workers and schedulers start anew, in processes, after each of 60 kills."""
    small = [] if jobs == 1000 else ["--workers", "3", "--kills", "5", "--restarts", "1"]
    cluster_kills.main(["--json", "--jobs", str(jobs), *small])
    printed = capfd.readouterr()
    found = json.loads(printed.out)
    assert "distributed" not in printed.err
    for name in ("workers killed", "scheduler, too"):
        assert cluster_kills.is_whole(found[name])
        assert found[name]["executions"] >= jobs
        assert found[name]["killed_workers"] > 0
    assert found["scheduler, too"]["killed_schedulers"] > 0


@pytest.mark.slow
def test_the_costs_of_jobs_and_bytes_are_measured(capfd: pytest.CaptureFixture[str]) -> None:
    """Slow: it starts three clusters in processes."""
    words = "--json --jobs 5 50 --workers 1 --megabytes 2 --series jobs megabytes"
    cluster_growth.main(words.split())
    found = json.loads(capfd.readouterr().out)
    assert [row["jobs"] for row in found["jobs"]] == [5, 50]
    assert all(row["scheduler_megabytes"] > 10 for row in found["jobs"])
    assert found["megabytes"][0]["megabytes"] > 4 * 2  # to the worker and back, by the scheduler
