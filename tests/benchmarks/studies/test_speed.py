"""Whole models against uniform ones: ratios of turns, with what they are worth."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="exporting needs torch")

from rich.console import Console

from lzu_benchmarks.studies import speed
from lzu_benchmarks.studies.speed import Rounds, compared, interleaved, tables

RESIZED, SAME = "uniform, OpenCV resize", "uniform, same sampler"


def times(spread: float) -> dict[str, list[float]]:
    """Seconds of 15 rounds on a machine that slows down; adaptive is two percent faster."""
    slower = np.linspace(1, 3, 15)
    noise = 1 + spread * np.random.default_rng(0).standard_normal((3, 15))
    factors = {RESIZED: 1.0, SAME: 1.1, "adaptive": 0.98}
    return {
        name: list(0.1 * factor * slower * own)
        for (name, factor), own in zip(factors.items(), noise, strict=True)
    }


def test_deviation_hits_both_and_leaves_the_ratio() -> None:
    found = compared(times(0))["adaptive"]
    for key, wanted in (("ratio", 0.98), ("ratio_same", 0.98 / 1.1)):
        assert found[key]["low"] <= found[key]["value"] <= found[key]["high"]
        assert found[key]["value"] == pytest.approx(wanted, abs=1e-6)
        assert found[key]["high"] - found[key]["low"] < 1e-6
        assert found[key]["rounds"] == 15


def test_a_margin_within_the_spread_is_seen_to_be_none() -> None:
    found = compared(times(0.1))["adaptive"]["ratio"]
    assert found["low"] < 1 < found["high"]


def test_the_table_prints_the_interval() -> None:
    whole = compared(times(0.1))
    result = {
        "title": "tiny", "whole_model": whole, "unzoom": {"gridsample": 1.0, "matmul": 0.5},
        "export": {"stages": {}, "seconds": 1.0, "peak_bytes": 1}, "adaptive": None,
        "precisions": {"rows": {}, "seconds": 1.0, "peak_bytes": 1},
        "import_and_load": {"import": 1.0, "load": 1.0},
    }  # fmt: skip
    console = Console(width=120, record=True, quiet=False, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(tables(result)[0])
    text = console.export_text()
    ratio = whole["adaptive"]["ratio"]
    assert f"{ratio['value']:.3f} [{ratio['low']:.3f}, {ratio['high']:.3f}]" in text
    assert "95 % interval" in text


@pytest.mark.parametrize(("spread", "rounds"), [(0.0, 5), (0.2, 20)])
def test_rounds_are_added_until_the_ratios_are_certain(
    monkeypatch: pytest.MonkeyPatch, spread: float, rounds: int
) -> None:
    """The clock is a stand-in: a run takes a second, give or take the spread."""
    noise, now = np.random.default_rng(0), [0.0]
    monkeypatch.setattr(speed.time, "perf_counter", lambda: now[0])

    def run() -> None:
        now[0] += 1 + spread * noise.standard_normal()

    found = interleaved(dict.fromkeys((RESIZED, SAME), run), Rounds(5, 24, 0.01))
    assert {len(each) for each in found.values()} == {rounds}


@pytest.mark.parametrize(
    ("arguments", "plan"),
    [([], Rounds(15, 90, 0.01)), (["--most-rounds", "7", "--width", "0.5"], Rounds(15, 7, 0.5))],
)
def test_command_plans_its_own_rounds_unless_others_are_given(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: list[str], plan: Rounds
) -> None:
    plans: list[Any] = []

    def measured(case: speed.Case, out: Path, given: Rounds) -> dict[str, Any]:
        plans.append(given)
        out.mkdir(parents=True)
        return {"machine": {}}

    monkeypatch.setattr(speed, "measure", measured)
    monkeypatch.setattr(speed, "print_result", lambda *shown: None)
    monkeypatch.setattr(speed, "tables", lambda result: [])
    speed.main(["--out", str(tmp_path), *arguments])
    assert plans == [plan]
