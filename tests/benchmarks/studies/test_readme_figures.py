"""The command that measures the pages' figures again."""

import json
from pathlib import Path

import pytest

from lzu_benchmarks.documents.sources import SOURCES, Source
from lzu_benchmarks.studies import readme
from lzu_export.cli import exits


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of one page, with a quick source and a long one."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text("It takes 2.0 ms, and 41.06 AP.\n")
    (tmp_path / "docs/a.md").write_text(
        "2.0 ms and 3 s\n<!-- figures of quick: 2.0 = /ms; 3 = /s -->\n"
        "41.06 AP\n<!-- figures of slow: 41.06 = /ap -->\n"
    )
    sources = {
        "quick": Source("python quick.py", 10.0, read=lambda root: {"ms": 2.04, "s": 4}),
        "slow": Source("python -m slow_source", 900.0),
    }
    monkeypatch.setattr(readme, "CHECKOUT", tmp_path)
    monkeypatch.setattr(readme, "SOURCES", sources)
    return tmp_path


def test_what_no_longer_holds_is_said(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        readme.main(["--check"])
    assert done.value.code == exits.REGRESSION
    assert capsys.readouterr().out.splitlines() == [
        "docs/a.md: 3 does not hold: 4 at /s of quick",
        "1 of 2 figures hold",
        "not measured, since they take long: slow; name them to check them",
    ]
    with pytest.raises(SystemExit):
        readme.main(["quick"])
    assert "docs/a.md: 2.0 holds: 2.04 at /ms of quick" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        readme.main(["quick", "--json"])
    rows = json.loads(capsys.readouterr().out)
    assert [row["holds"] for row in rows] == [True, False]


def test_a_long_source_is_measured_by_its_name(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(project))
    (project / "slow_source.py").write_text("print('{\"ap\": 41.0601}')")
    readme.main(["slow", "--check"])
    assert capsys.readouterr().out == "1 of 1 figures hold\n"


def test_the_sources_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    readme.main([])
    told = capsys.readouterr().out
    for name, source in SOURCES.items():
        assert f"{name}: {source.command}" in told
    readme.main(["--json"])
    assert {row["name"] for row in json.loads(capsys.readouterr().out)} == set(SOURCES)
    with pytest.raises(SystemExit) as done:
        readme.main(["nothing", "--check"])
    assert done.value.code == exits.UNFIT
    assert "there is no source nothing; give one of records, " in capsys.readouterr().err
