"""Single figures of the pages."""

from pathlib import Path

import pytest

from lzu_benchmarks.studies import facts, start
from lzu_export.cli import exits


def test_figures_of_few_images(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(facts, "cache_megabytes", lambda: 45.0)
    found = facts.measure(images=20)
    assert found["rows_percent"].keys() == {"det", "seg", "det3d"}
    for upper, middle, lower in found["rows_percent"].values():
        assert upper + middle + lower == pytest.approx(100)
        assert middle > 40
    assert 0 < found["scorer_megabytes"] < 500
    facts.table(found)


def test_the_start_of_a_bundle_is_timed(
    tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = start.import_and_load(tiny_bundle, 1)
    assert found["both"] == pytest.approx(found["import"] + found["load"])
    assert not found["torch_imported"]
    with pytest.raises(SystemExit) as done:
        start.main([str(tmp_path)])
    assert done.value.code == exits.UNFIT
    assert str(tmp_path) in capsys.readouterr().err
