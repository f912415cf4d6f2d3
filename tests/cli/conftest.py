"""Fixtures of tests of commands: exports and other commands that are refused."""

import sys
from pathlib import Path
from typing import Any

import pytest
from command_errors import Refused, sentence, write_recipe

from lzu_export.cli import app as cli
from lzu_export.manifest.schema import FILE


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Refused:
    """Run a command that must fail for the user's sake; returns its sentence."""

    def run(*arguments: Any) -> str:
        capfd.readouterr()
        monkeypatch.setattr(sys, "argv", ["lzu-export", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        captured = capfd.readouterr()
        assert end.value.code == 2, captured.err
        assert captured.out == ""
        return sentence(captured.err)

    return run


@pytest.fixture
def recipe_file(tiny_recipe: dict[str, Any], tmp_path: Path) -> Path:
    """The tiny recipe as a file."""
    return write_recipe(tmp_path / "tiny.yaml", tiny_recipe)


@pytest.fixture
def export(refused: Refused, recipe_file: Path, tmp_path: Path) -> Refused:
    """A refused export of the tiny recipe; nothing may have been published."""

    def run(*arguments: Any) -> str:
        out = tmp_path / "build"
        text = refused("export", recipe_file, "--variant", "fixed", "--out", out, *arguments)
        if out.is_dir():
            assert list(out.rglob(FILE)) == []
        return text

    return run
