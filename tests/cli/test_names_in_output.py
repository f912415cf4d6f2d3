"""A bundle with hostile names (of its folder, recipe and classes) goes through every output."""

import json
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from lzu_export.manifest.schema import read_manifest, write_manifest
from lzu_export.support.escaping import visible
from samples import status_of

FOLDER = "a\x1b[31mb[bold]c[red]<i>&|`x`$\\frac$"
CLASSES = ("m[bold]x[/x]|`<script>alert(1)</script>`", "\u202e[red]gnp")
Run = Callable[..., tuple[int, str]]
TERMINAL_UNSAFE = "\x1b\x07\x9b\u202e\u2066"


@pytest.fixture(scope="module")
def hostile(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle; its name is that of a recipe, which may have all but what leads elsewhere."""
    folder = Path(shutil.copytree(tiny_bundle, tmp_path_factory.mktemp("hostile") / FOLDER))
    manifest = read_manifest(folder)
    recipe = manifest.recipe.model_copy(update={"classes": CLASSES, "name": "n[bold]<b>|`y`"})
    write_manifest(folder, manifest.model_copy(update={"recipe": recipe, "name": recipe.name}))
    return folder


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Run `lzu-export WORDS`; return its exit status and all that it wrote to the terminal."""
    monkeypatch.setenv("COLUMNS", "400")

    def call(*words: Any) -> tuple[int, str]:
        status = status_of(*words)
        captured = capfd.readouterr()
        shown = captured.out + captured.err
        assert not set(shown) & set(TERMINAL_UNSAFE), repr(shown)
        return status, shown

    return call


def test_the_terminal_shows_them_as_they_are(
    run: Run, hostile: Path, image: Path, tmp_path: Path
) -> None:
    """Tables, results, and errors that name the folder."""
    status, shown = run("inspect", hostile)
    assert status == 0
    assert f"{CLASSES[0]}, {visible(CLASSES[1])}" in shown
    assert "n[bold]<b>|`y`" in shown
    out = tmp_path / FOLDER
    status, shown = run("run", hostile, image, "--out", out)
    assert status == 0
    assert visible(str(out)) in shown
    status, shown = run("inspect", hostile / FOLDER)
    assert status == 2
    assert visible(str(hostile / FOLDER)) in shown


def test_junit_is_well_formed(run: Run, hostile: Path, tmp_path: Path) -> None:
    """And names the folder so that it can be read."""
    file = tmp_path / "out.xml"
    status, _ = run("verify", hostile, "--junit", file)
    assert status == 0
    root = ET.parse(file).getroot()
    assert root.attrib["name"] == visible(FOLDER)


def test_a_report_has_nothing_but_text_of_them(run: Run, hostile: Path, tmp_path: Path) -> None:
    """The page, its Markdown and its JSON."""
    words = ["bench", "--bundles", hostile, "--out", tmp_path, "--min-seconds", "0.05"]
    words += ["--min-queries", "4", "--warmup-seconds", "0.05", "--dataset", "none"]
    status, shown = run(*words)
    assert status == 0, shown
    folder = tmp_path / "bench" / "n[bold]<b>|`y`"
    assert visible(FOLDER) in shown
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "<i>" not in page
    assert "<b>|" not in page
    assert not set(page) & set(TERMINAL_UNSAFE)
    text = (folder / "report.md").read_text(encoding="utf-8")
    assert not set(text) & set(TERMINAL_UNSAFE)
    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(text)
    inline = [child.type for token in tokens for child in token.children or ()]
    assert set(inline) <= {"text", "text_special", "softbreak"}
    assert not any(token.type.startswith("html") for token in tokens)
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert report["bundles"][0]["name"] == FOLDER


def test_a_report_stays_in_its_folder(run: Run, bundle: Path, tmp_path: Path) -> None:
    """Whatever a manifest calls its recipe."""
    manifest = read_manifest(bundle)
    write_manifest(bundle, manifest.model_copy(update={"name": "../../x"}))
    out = tmp_path / "a" / "b"
    status, shown = run("bench", "--bundles", bundle, "--out", out)
    assert status == 2, shown
    assert not out.exists()
    assert not (tmp_path / "x").exists()
