"""The page and the table of a sweep: whole, safe, small, and within 80 columns."""

import re
from pathlib import Path

import pytest
import yaml
from rich.console import Group

from lzu_export.cli.tables.sweep import sweep_table
from lzu_export.recipes.load import validate
from lzu_export.support.console import Terminal
from lzu_export.sweep.charts import short
from lzu_export.sweep.page import recipe_text
from lzu_export.sweep.points import Points
from lzu_export.sweep.results import Row
from lzu_export.sweep.schema import read_sweep
from sweep_samples import sample_result, sweep_page_of, write_sweep

pytest.importorskip("matplotlib", reason="figures need the extra bench")

EVIL = "<script>alert(1)</script>\x1b[31m"


def text(table: Group) -> str:
    console = Terminal(width=80, record=True, quiet=False, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(table, soft_wrap=True)
    return console.export_text()


def test_the_page_has_all_parts_and_loads_nothing(tmp_path: Path) -> None:
    page = sweep_page_of(sample_result(), tmp_path)
    for part in ("Best recipe", "Accuracy over time", "Each key", "All points", "Failed"):
        assert f"<h2>{part}</h2>" in page
    assert "lzu-export export det --set warp.fwhm=7" in page
    assert "results.parquet" in page
    assert "it is full" in page
    assert not re.search(r'(?:src|href)="(?!#|data:|results\.)', page)
    assert page.count('data-tip="') > 40  # both figures, wide and narrow
    assert "var(--good)" in page  # colours of the page, light or dark


def test_names_from_outside_are_text(tmp_path: Path) -> None:
    page = sweep_page_of(sample_result(name=EVIL), tmp_path)
    assert "<script>alert" not in page
    assert "\x1b" not in page


def test_a_page_of_thousands_of_points_is_small(tmp_path: Path) -> None:
    page = sweep_page_of(sample_result(4000, failed=0), tmp_path)
    assert len(page.encode()) < 5e6
    assert "The first 3000 of 4000 points" in page


def test_a_sweep_that_measured_nothing_has_a_page(tmp_path: Path) -> None:
    row = Row(name="a", settings={"scale": 1}, status="done")
    update = {"rows": (row,), "rank": None, "metric": None, "baseline": None}
    result = sample_result().model_copy(update=update)
    page = sweep_page_of(result, tmp_path)
    assert "<h2>All points</h2>" in page
    assert "<h2>Best recipe</h2>" not in page
    shown = text(sweep_table(result.model_copy(update={"notes": ()}))).splitlines()
    assert "" not in [each.strip() for each in shown]


def test_the_recipe_to_copy_is_the_point_s(tmp_path: Path) -> None:
    path = write_sweep(tmp_path)
    for point in Points(read_sweep(path), path).grid():
        copied = validate(yaml.safe_load(recipe_text(point)), "the page's")
        assert copied == point.recipe


@pytest.mark.parametrize("count", [3, 12, 60])
def test_the_table_fits_80_columns(count: int) -> None:
    shown = text(sweep_table(sample_result(count)))
    assert max(map(len, shown.splitlines())) <= 80
    assert "fwhm" in shown
    assert "baseline" in shown
    assert "failed: warp.fwhm 4, variant fixed: it is full" in " ".join(shown.split())
    if count > 40:
        assert f"the first 40 of {count} points" in shown


def test_a_reason_of_many_points_is_written_once() -> None:
    shown = " ".join(text(sweep_table(sample_result(30, failed=20))).split())
    assert "failed: warp.fwhm 4, variant fixed and 19 more: it is full" in shown
    assert shown.count("it is full") == 1
    assert "20 of 30 points failed" in shown
    result = sample_result(30, failed=20)
    rows = [row.model_copy(update={"sentence": f"{row.name} is bad"}) for row in result.rows]
    each = text(sweep_table(result.model_copy(update={"rows": tuple(rows)})))
    assert each.count(" is bad") == 10
    assert "failed: 10 more; all are in results.json" in each


def test_keys_are_short_where_that_is_clear() -> None:
    assert short("warp.fwhm", ["warp.fwhm", "scale"]) == "fwhm"
    assert short("calibration.frames", ["calibration.frames", "evaluation.frames"]) == (
        "calibration.frames"
    )
