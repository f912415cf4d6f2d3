"""Marked figures of pages: what a mark says, and what is refused."""

from pathlib import Path

import pytest

from lzu_benchmarks.documents.marks import all_figures, figures_in
from lzu_benchmarks.documents.sources import SOURCES, Source, tables
from lzu_export.errors import LzuError

ROOT = Path(__file__).resolve().parents[3]
PAGE = """# Title

Before: 7 ms.

## Section

It takes about 2.0 ms and 14 MB, and gains +4.34.

<!-- figures of study: 2.0 = /rows/1/ms +- 50 %; 14 = /rows/1/bytes times 1e-6 +- 2;
  +4.34 = /rows/1/ap minus /rows/0/ap -->
"""
RESULT = {"rows": [{"ap": 36.72}, {"ms": 2.9, "bytes": 15.9e6, "ap": 41.063, "of/b": 3}]}


def test_a_mark_names_figures_their_places_and_what_is_allowed() -> None:
    ms, size, gain = figures_in(PAGE, "docs/a.md")
    assert [each.number for each in (ms, size, gain)] == [2.0, 14.0, 4.34]
    assert {each.source for each in (ms, size, gain)} == {"study"}
    assert ms.value(RESULT) == 2.9
    assert ms.holds(3.0)
    assert not ms.holds(3.01)
    assert size.value(RESULT) == pytest.approx(15.9)
    assert size.holds(15.9)
    assert not size.holds(16.1)
    assert gain.value(RESULT) == pytest.approx(4.343)
    assert gain.holds(4.343), "equal at the page's digits"
    assert not gain.holds(4.35)
    (name,) = figures_in("1 it\n<!-- figures of a: 1 = /rows/1/of~1b +- 2 -->", "a.md")
    assert name.holds(name.value(RESULT)), "a slash in a name is spelt ~1"


@pytest.mark.parametrize(
    ("mark", "said"),
    [
        ("7 = /a", "does not hold 7; correct"),  # it stands in another section
        ("4 = /a", "does not hold 4; correct"),  # it is part of another number
        ("2 = /a", "does not hold 2; correct"),
        ("2.0 /a", "is not FIGURE = /PLACE"),
        ("MB = /a", "is not FIGURE = /PLACE"),
        ("2.0 = a", "is not FIGURE = /PLACE"),
    ],
)
def test_a_mark_that_does_not_fit_its_page_is_refused(mark: str, said: str) -> None:
    page = PAGE.partition("<!--")[0] + f"<!-- figures of study: {mark} -->"
    with pytest.raises(LzuError, match=f"a.md: .*{said}"):
        list(figures_in(page, "a.md"))


def test_a_value_that_a_source_lacks_is_an_error() -> None:
    ms, *_ = figures_in(PAGE, "a.md")
    for result in ({}, {"rows": []}, {"rows": [1, 2]}):
        with pytest.raises(LzuError, match="study has nothing at /rows/1/ms for 2"):
            ms.value(result)
    with pytest.raises(LzuError, match="no number at /rows/1/ms"):
        ms.value({"rows": [0, {"ms": "2.0"}]})


TABLE = """## Section

| task | AP | small |
|---|--:|--:|
| uniform | 36.72 | 19.01 +- 0.10 |
| fixed warp | 41.06 | 24.29 |
| other | 1 | 2 |

<!-- table of records: /det; fixed warp = fixed; small = AP_small -->
"""


def test_a_table_is_compared_by_the_labels_of_the_source() -> None:
    source = tables(
        "| | AP | AP_small |\n|---|---|---|\n| uniform | 36.72 | 19.01 +- 0.10 |\n"
        "| fixed | 41.06 | 24.28 |\n\nText.\n\n| uniform | seconds |\n|---|---|\n| uniform | 9 |\n"
    )
    assert source["uniform"] == {"AP": [36.72], "AP_small": [19.01, 0.1]}
    found = [each for each in figures_in(TABLE, "a.md") if each.is_in({"det": source})]
    assert [each.text for each in found] == ["36.72", "19.01", "0.10", "41.06", "24.29"]
    held = [each.holds(each.value({"det": source})) for each in found]
    assert held == [True, True, True, True, False]
    with pytest.raises(LzuError, match="no row or column is called fixed; mend the mark"):
        list(figures_in(TABLE.replace("fixed warp = fixed", "fixed = fixed warp"), "a.md"))
    with pytest.raises(LzuError, match="names no /PLACE first"):
        list(figures_in(TABLE.replace("/det; ", ""), "a.md"))
    with pytest.raises(LzuError, match="there is no table before"):
        list(figures_in("<!-- table of records: /det -->", "a.md"))


def test_the_marks_of_the_pages_can_be_read() -> None:
    """Each names a source, and each source measures something."""
    figures = all_figures(ROOT)
    assert len(figures) > 100
    assert {each.source for each in figures} == set(SOURCES)


def test_the_tables_of_trainings_are_those_of_the_records() -> None:
    result = SOURCES["records"].measure(ROOT)
    mine = [each for each in all_figures(ROOT) if each.source == "records"]
    known = [each for each in mine if not each.optional or each.is_in(result)]
    assert len(known) > 100
    assert [each for each in known if not each.holds(each.value(result))] == []


def test_a_source_is_a_command_that_prints_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")  # the program changes within a second
    program, source = tmp_path / "a_program.py", Source("python -m a_program", 1.0)
    program.write_text("import sys; print('[1]' if sys.argv[1:] == ['--json'] else 'text')")
    assert source.measure(tmp_path) == [1]
    program.write_text("print('text')")
    with pytest.raises(LzuError, match="printed no JSON"):
        source.measure(tmp_path)
    program.write_text("raise SystemExit(2)")
    with pytest.raises(LzuError, match="failed, as said above"):
        source.measure(tmp_path)
