"""The full-size inverse without a plugin stays far below 1 GB, and is exact."""

import io

import pytest
from rich.console import Console

from lzu_benchmarks.studies import invert_warp


def test_the_body_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invert_warp, "CANVASES", ((600, 960),))
    result = invert_warp.measure(rounds=1)
    (row,) = result["levels"]
    assert row["size"] == (76, 120)
    assert 0 < row["peak_bytes"] < 1e9
    assert row["error_cells"] < 1e-3
    console = Console(file=io.StringIO(), width=120)
    invert_warp.show(result, console)
    assert "76x120" in console.file.getvalue()  # type: ignore[attr-defined]
