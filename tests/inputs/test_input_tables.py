"""Tables are read row by row, wherever the text is cut."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lzu_export.errors import LzuError
from lzu_export.inputs import tables
from lzu_export.inputs.tables import kept_rows

ROWS = st.lists(
    st.dictionaries(
        st.text(max_size=4),
        st.one_of(st.text(max_size=6), st.integers(), st.lists(st.floats(-9, 9), max_size=2)),
        max_size=3,
    ),
    max_size=5,
)


@given(ROWS, st.integers(1, 40), st.sampled_from([None, 0, 2]))
def test_rows_come_whole_however_the_text_is_cut(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[dict[str, object]],
    chunk: int,
    indent: int | None,
) -> None:
    path = tmp_path_factory.mktemp("table") / "scene.json"
    path.write_text(json.dumps(rows, indent=indent), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "CHUNK", chunk)
        assert list(kept_rows(path, lambda row: row)) == rows


def test_only_what_is_kept_comes(tmp_path: Path) -> None:
    path = tmp_path / "scene.json"
    path.write_text(json.dumps([{"n": i} for i in range(5)]))
    assert list(kept_rows(path, lambda row: row["n"] if row["n"] % 2 else None)) == [1, 3]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is damaged .it is no list of rows"),
        ("{}", "is damaged .it is no list of rows"),
        ('[{"n": 1}, {"n"', "is damaged"),
        ('[{"n": 1}', "is damaged"),
        ("[[1]]", r"is damaged .\[1\] is no row"),
        ('[{"m": 1}]', "has a row without the field n; unpack"),
    ],
)
def test_a_damaged_table_is_named(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "scene.json"
    path.write_text(text)
    with pytest.raises(LzuError, match=rf"scene\.json {words}"):
        list(kept_rows(path, lambda row: row["n"]))
