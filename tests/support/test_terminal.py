"""The terminal shows text as it is."""

import io
import json
import logging

import pytest
from rich.logging import RichHandler
from rich.table import Table
from rich.text import Text

from lzu_export.cli.exits import complain
from lzu_export.support.console import Terminal
from lzu_export.support.progress import Reporter
from lzu_export.support.terminal import print_json, say

ODD = "m[bold]x[/x] [red]y :smile:\x1b[2J\u202e"
SHOWN = "m[bold]x[/x] [red]y :smile:\\x1b[2J\\u202e"


def _terminal(*, colours: bool = False) -> tuple[Terminal, io.StringIO]:
    stream = io.StringIO()
    return Terminal(file=stream, width=120, force_terminal=colours), stream


def test_markup_and_control_sequences_are_text() -> None:
    """Of strings and of styled text, in every place of a table."""
    terminal, stream = _terminal()
    table = Table(title=ODD, caption=ODD)
    table.add_column(ODD)
    table.add_row(ODD)
    table.add_row(Text(ODD, "bold"))
    terminal.print(ODD)
    terminal.print(Text.assemble((ODD, "red")))
    terminal.print(table)
    assert stream.getvalue().count(SHOWN) == 7
    assert "\x1b" not in stream.getvalue()


def test_our_own_colours_stay() -> None:
    """The console's own sequences are not text."""
    terminal, stream = _terminal(colours=True)
    terminal.print(Text.assemble(("error:", "red"), f" {ODD}"))
    assert "\x1b[31merror:\x1b[0m" in stream.getvalue()
    assert SHOWN in stream.getvalue()


def test_progress_shows_titles_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bars, spinners and notes; while they are shown they are drawn anew."""
    report = Reporter()
    terminal, stream = _terminal(colours=True)
    monkeypatch.setattr(report, "console", terminal)
    report.note(ODD)
    with report.steps(ODD, 3) as advance:
        advance()
    with report.working(ODD):
        pass
    with report.phases() as phases:
        phases.start(ODD, 2)
        phases.step(ODD, 1)
        phases.finish(ODD)
    assert stream.getvalue().count(SHOWN) >= 3
    assert "\x1b[2J" not in stream.getvalue()
    assert "\u202e" not in stream.getvalue()


def test_log_records_are_text() -> None:
    """As `-v` shows them."""
    terminal, stream = _terminal()
    handler = RichHandler(console=terminal, show_path=False, show_time=False)
    handler.emit(logging.LogRecord("x", logging.INFO, "", 0, "%s", (ODD,), None))
    assert SHOWN in stream.getvalue()


def test_sentences_and_results_have_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """A line end in a name begins no line of ours."""
    complain(f"{ODD}\nerror: another")
    say(f"{ODD}\nbundles: another", "next")
    captured = capsys.readouterr()
    assert captured.err == f"error: {SHOWN}\\nerror: another\n"
    assert captured.out == f"{SHOWN}\\nbundles: another\nnext\n"


def test_json_is_ascii_and_reads_back(capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever the names are."""
    value = {f"{ODD}\x7f\x9b\udcff": [ODD, "\n"]}
    print_json(value)
    out = capsys.readouterr().out
    assert all(character == "\n" or " " <= character <= "~" for character in out)
    assert json.loads(out) == value
