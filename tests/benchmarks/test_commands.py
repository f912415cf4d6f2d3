"""What all commands of the benchmarks share."""

import argparse
import json
import re
import runpy
import sys
from pathlib import Path

import pytest
from rich.table import Table

from lzu_benchmarks import __main__ as benchmarks
from lzu_benchmarks.commands import Renamed, add_json, print_result
from lzu_export.cli import exits
from lzu_export.errors import LzuError
from lzu_export.support.extras import BRINGS

ROOT = Path(__file__).resolve().parents[2] / "benchmarks" / "lzu_benchmarks"
WORKERS = {"frame_cache"}
"""Modules that are run by others, not by a user."""
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in ROOT.rglob("*.py")
    if "__main__" in path.read_text(encoding="utf-8") and path.stem not in WORKERS
)


@pytest.mark.parametrize("module", MODULES)
def test_every_command_takes_json(
    module: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [module, "-h"])
    monkeypatch.delitem(sys.modules, f"lzu_benchmarks.{module}", raising=False)
    with pytest.raises(SystemExit) as done:
        runpy.run_module(f"lzu_benchmarks.{module}", run_name="__main__")
    assert done.value.code == 0
    told = capsys.readouterr().out
    assert "--json" in told
    assert "--limit" not in told
    assert not re.search(r"--frames(?! FRAMES|\s+<int>)", told), "--frames is a number of frames"


def test_a_result_is_json_or_shown(capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    add_json(parser)
    table = Table("heading")
    print_result(parser.parse_args([]).json, {"a": 1}, "a line", table)
    assert capsys.readouterr().out.split() == [
        "a",
        "line",
        *["┏━━━━━━━━━┓", "┃", "heading", "┃"],
        "┡━━━━━━━━━┩",
        "└─────────┘",
    ]
    print_result(parser.parse_args(["--json"]).json, {"a": 1}, "a line", table)
    assert json.loads(capsys.readouterr().out) == {"a": 1}


def test_an_option_that_was_renamed_names_its_successor() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--limit", action=Renamed, const="--frames")
    with pytest.raises(LzuError, match="--limit is called --frames now; give --frames 8"):
        parser.parse_args(["--limit", "8"])


def test_every_study_is_in_the_list_and_runs_by_its_name(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The list imports none of them; each has a sentence and a `main` of its own."""
    there = {path.stem for path in (ROOT / "studies").glob("*.py")} - {"__init__"}
    benchmarks.main([])
    lines = capsys.readouterr().out.splitlines()
    assert {line.split()[0] for line in lines[::2]} == there
    assert all(line.endswith(".") for line in lines[::2])
    assert all(line.split()[0] == "needs" for line in lines[1::2])
    assert max(map(len, lines)) <= 80
    benchmarks.main(["--json"])
    listed = json.loads(capsys.readouterr().out)
    assert set(listed) == there
    assert listed["upsampling"]["minutes"] == 15
    assert listed["readme"]["needs"].startswith("a checkout; extras ")
    extras = re.compile(r"extras ([a-z, ]+)")
    named = {each for study in listed.values() for each in extras.findall(study["needs"])}
    assert {word for each in named for word in each.split(", ")} <= set(BRINGS)
    for name in there:
        with pytest.raises(SystemExit) as done:
            benchmarks.main([name, "--help"])
        assert done.value.code == 0
        assert f"usage: python -m lzu_benchmarks {name} " in capsys.readouterr().out
    with pytest.raises(SystemExit) as done:
        benchmarks.main(["no_such_study"])
    assert done.value.code == exits.UNFIT
    assert (
        "there is no study no_such_study; give one of adaptive_speed, " in capsys.readouterr().err
    )


def test_no_file_is_looked_for_above_the_installed_packages() -> None:
    """What only a checkout has is found by `lzu_export.support.checkout`, which knows of one."""
    above = re.compile(r"parents\[[2-9]\]")
    assert [path for path in ROOT.rglob("*.py") if above.search(path.read_text("utf-8"))] == []
