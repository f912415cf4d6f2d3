"""Progress as someone who watches sees it."""

import io
import re
from threading import Thread

from lzu_export.support.console import Terminal
from lzu_export.support.progress import Reporter


def test_a_spinner_ends_as_a_check_mark_with_its_seconds() -> None:
    """Where someone watches; elsewhere a stage is a line as it begins."""
    for terminal in (True, False):
        stream = io.StringIO()
        report = Reporter()
        report.console = Terminal(file=stream, force_terminal=terminal, width=80)
        with report.working("tracing the model"):
            pass
        with report.steps("accuracy on demo", 2) as advance:
            advance(2)
        shown = [line for line in stream.getvalue().splitlines() if "\N{CHECK MARK}" in line]
        assert len(shown) == (2 if terminal else 0)
        if not terminal:
            assert stream.getvalue() == "  tracing the model ...\n  accuracy on demo ...\n"
        if terminal:
            assert re.search(r"tracing the model  .*\d\.\d s", shown[0])
            assert re.search(r"accuracy on demo  .*\d\.\d s", shown[1])


def test_a_stage_beside_another_has_its_check_mark_and_no_second_spinner() -> None:
    """Two spinners at once would end the command."""
    stream = io.StringIO()
    report = Reporter()
    report.console = Terminal(file=stream, force_terminal=True, width=80)
    with report.working("comparing"):
        beside = Thread(target=_work, args=(report, "building"))
        beside.start()
        beside.join()
    _work(report, "timing")
    shown = [line for line in stream.getvalue().splitlines() if "\N{CHECK MARK}" in line]
    assert [name for line in shown for name in line.split() if name.endswith("ing")] == [
        "building",
        "comparing",
        "timing",
    ]


def _work(report: Reporter, title: str) -> None:
    with report.working(title):
        pass
