"""A sweep shows its jobs as they end: lines in a log, a table in a terminal."""

import io

import pytest

from lzu_export.support.console import Terminal
from lzu_export.support.progress import Reporter
from lzu_export.sweep.watch import MANY, SHOWN, Watch


def shown(*, terminal: bool, jobs: int = 3) -> str:
    report = Reporter()
    stream = io.StringIO()
    report.console = Terminal(file=stream, force_terminal=terminal, width=80)
    with Watch(report).phase("export", jobs) as phase:
        for i in range(jobs):
            phase.end(f"fwhm {i}", 1.4, "AP 30.00", "it is [bold]full" if i == 1 else "")
    return stream.getvalue()


def test_a_log_has_a_line_a_job() -> None:
    assert shown(terminal=False).splitlines() == [
        "  export: 3 jobs ...",
        "  1/3 fwhm 0: AP 30.00 in 1 s",
        "  2/3 fwhm 1: failed: it is [bold]full",
        "  3/3 fwhm 2: AP 30.00 in 1 s",
    ]


@pytest.mark.parametrize("jobs", [3, 30])
def test_a_terminal_has_the_latest_jobs_and_then_a_line(jobs: int) -> None:
    text = shown(terminal=True, jobs=jobs)
    assert f"export: {jobs - 1} done, 1 failed" in text
    assert f"fwhm {jobs - 1}" in text
    assert text.count("fwhm 0 ") <= (2 if jobs > SHOWN else 99)


@pytest.mark.parametrize(("points", "line"), [(MANY, "  hashing the points' files ...\n"), (9, "")])
def test_the_preparation_of_many_points_is_shown(points: int, line: str) -> None:
    report = Reporter()
    stream = io.StringIO()
    report.console = Terminal(file=stream, force_terminal=False, width=80)
    with Watch(report).preparation(points) as step:
        for _ in range(points):
            step()
    assert stream.getvalue() == line
