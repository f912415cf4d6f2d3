"""The table and the page of a fleet."""

from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from fleet_samples import ABSENT, BUNDLES, ENGINE, sample_fleet, sample_row, sample_work
from lzu_export.cli.tables.fleet import fleet_tables
from lzu_export.fleet.page import fleet_page, verdict
from lzu_export.fleet.rows import Fleet, figures_of


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return sample_fleet(tmp_path)


def test_figures_are_those_with_cuda_graph(fleet: Fleet) -> None:
    first, second = figures_of(fleet.rows[0], fleet.request)
    assert (first.bundle, first.precision, first.whole, first.alone) == (BUNDLES[0], "fp16", 10, 8)
    assert (first.ratio, first.ratio_texts) == (None, ("-", ""))
    assert second.whole == pytest.approx(12)
    assert second.ratio == (1.2, 1.19, 1.21)
    assert (second.verified, second.watts) == ("ran", 21.0)
    assert second.engine is not None
    assert second.engine.file == ENGINE
    built, missing = figures_of(fleet.rows[2], fleet.request)
    assert (built.engine is None, built.whole, built.verified) == (False, None, "")
    assert (missing.engine, missing.whole) == (None, None)
    assert list(figures_of(fleet.rows[3], fleet.request)) == []


@pytest.mark.parametrize("latency", [{}, {"engines": []}, {"engines": {"x": {"end_to_end": 3}}}])
def test_figures_of_another_release_are_left_out(latency: Any, fleet: Fleet) -> None:
    """What this release does not understand is not shown, and nothing breaks."""
    strange = sample_row(
        "x", work=sample_work(latency=latency, parity={BUNDLES[0]: [{"status": 3}]})
    )
    for each in figures_of(strange, fleet.request):
        assert (each.whole, each.ratio, each.verified) == (None, None, "")


def test_an_engine_that_deviates_is_failed_whatever_its_graph_is(fleet: Fleet) -> None:
    rows = [{"precision": "fp16", "on_device": True, "status": "passed"}]
    rows += [{"precision": "fp16", "status": "failed"}]
    off = sample_row("x", work=sample_work(parity={BUNDLES[0]: rows}))
    assert [each.verified for each in figures_of(off, fleet.request)] == ["failed", ""]


def test_the_table_fits_and_has_every_reason(fleet: Fleet) -> None:
    console = Console(width=200, record=True)
    console.print(fleet_tables(fleet), soft_wrap=True)
    text = console.export_text()
    assert all(len(line) <= 80 for line in text.splitlines())
    for part in (
        "orin-agx 10.0.0.2 done",
        "JetPack 6.2",
        "tensorrt 10.3.0, 812 s, stored before",
        "thor              absent no worker has the tag thor <b> after 60 s;",
        "orin-agx 10.0.0.3 is doubtful: gpu (0) reached 95 C",
        "ratio: over uniform-0.5x on the same board.",
    ):
        assert part in text, part
    (line,) = {
        line for line in text.splitlines() if line.startswith("  fixed-0.5x") and "12.00" in line
    }
    assert line.split()[2:] == ["42", "0.0", "12.00", "9.60", "1.200", "[1.190,", "1.210]", "ran"]


def test_the_page_has_the_verdict_first_and_escapes(fleet: Fleet) -> None:
    assert verdict(fleet) == [
        "2 of 4 boards are done.",
        "fixed-0.5x takes 1.20 times as long as uniform-0.5x in fp16, on 2 boards.",
        "orin-agx 10.0.0.4 failed: out of memory.",
        f"thor is absent: {ABSENT}.",
    ]
    page = fleet_page(fleet)
    assert "<b>" not in page
    assert "thor &lt;b&gt;" in page
    for part in (
        'class="kind">LZU fleet',
        "tensorrt in fp16, 2026-12-01 01:00:00 UTC",
        "[1.190, 1.210]",
        "306 to 1300",
        "41 C to 58 C",
        "gpu (0) reached 95 C",
        "build fixed-0.5x fp16: out of memory",
        f'href="orin-agx-10.0.0.2/engines/{BUNDLES[1]}/{ENGINE}"',
        'href="orin-agx-10.0.0.2/board.json"',
        'href="fleet.json"',
    ):
        assert part in page, part
    assert "orin-agx-10.0.0.4/engines/fixed-0.5x" not in page


def test_a_fleet_of_no_results_has_a_page(fleet: Fleet) -> None:
    empty = fleet.model_copy(update={"rows": fleet.rows[3:]})
    page = fleet_page(empty)
    assert "0 of 1 boards are done." in page
    assert "State of the boards" not in page
    console = Console(width=80, record=True)
    console.print(fleet_tables(empty))
    assert "build s" not in console.export_text()
