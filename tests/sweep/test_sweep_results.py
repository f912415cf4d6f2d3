"""The ranking of a sweep's rows, and the files of its results."""

import json
from pathlib import Path

import pytest

from lzu_export.sweep.results import Row, flat_rows, ranked, write_results
from lzu_export.sweep.schema import Rank
from sweep_samples import sample_result


def test_the_front_comes_first_and_failures_last() -> None:
    result = sample_result(failed=2)
    rows = result.rows
    fronts = [row.front for row in rows]
    assert fronts == sorted(fronts, reverse=True)
    front = [row for row in rows if row.front]
    assert len(front) > 1
    gains = [row.metric or 0 for row in front]
    assert gains == sorted(gains, reverse=True)
    for row in rows[len(front) : -2]:
        assert row.ratio is not None
        assert any(
            (each.metric or 0) >= (row.metric or 0) and each.ratio.value <= row.ratio.value
            for each in front
            if each.ratio
        )
    assert [row.rank for row in rows[-2:]] == [None, None]
    assert result.best is rows[0]


def test_nothing_is_ranked_without_a_rank() -> None:
    rows = [Row(name="a", settings={}, status="done"), Row(name="b", settings={}, status="failed")]
    assert ranked(rows, None) == tuple(rows)
    assert [row.rank for row in ranked(rows, Rank(by="accuracy"))] == [None, None]


def test_json_holds_the_whole_result(tmp_path: Path) -> None:
    result = sample_result()
    (path,) = write_results(result, tmp_path)
    assert type(result).model_validate(json.loads(path.read_text())) == result


def test_parquet_has_a_column_for_each_key_and_figure(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="parquet needs the extra parquet")
    result = sample_result()
    _, path = write_results(result, tmp_path, ["parquet"])
    table = parquet.read_table(path)
    assert table.num_rows == len(result.rows)
    wanted = {"warp.fwhm", "variant", "AP", "gain_low", "ratio_high", "status", "sentence"}
    assert wanted <= set(table.column_names)
    assert str(table.schema.field("warp.fwhm").type) == "double"
    assert str(table.schema.field("variant").type) == "string"
    assert table.column("AP").to_pylist() == [row.metrics.get("AP") for row in result.rows]


def test_flat_rows_have_the_same_keys() -> None:
    rows = flat_rows(sample_result())
    assert len({tuple(row) for row in rows}) == 1
