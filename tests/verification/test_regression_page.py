"""The page of a comparison with a stored state."""

import json
from pathlib import Path

import pytest

from lzu_export.manifest.comparison import Parity
from lzu_export.verification.checks import Check
from lzu_export.verification.regression_page import Comparison, verdict, write_regression
from page_samples import sample_comparison

FP32, INT8 = "onnxruntime/fp32", "emulated/int8"


def parity(status: str = "passed") -> Parity:
    return Parity(
        target="onnxruntime",
        precision="fp32",
        status=status,
        probes={"zoomed": 1.0 if status == "failed" else 1e-7},
        limit=1e-4,
    )


def test_the_verdict_comes_first_and_names_what_is_lost() -> None:
    lost = sample_comparison()
    assert verdict([parity()], lost) == [
        "Regressed: 4 of 9 checks failed. 2 could not be made here.",
        "onnxruntime fp32, AP: 39.20 where the reference has 41.10; 0.1 may be lost.",
        "emulated int8, AP: 38.80 where the reference has 40.70; 1 may be lost.",
        "onnxruntime fp32, latency over uniform 0.5x: 1.260 where the reference has 1.050: 1.200 "
        "times that (1.183 to 1.217); 1.05 times is allowed.",
        "The table has 1 more.",
    ]
    held = sample_comparison(lost=False)
    passed = "Nothing regressed: all 9 checks passed. 2 could not be made here."
    assert verdict([parity()], held) == [passed]
    off = "onnxruntime fp32 deviates from PyTorch, so nothing was compared."
    assert verdict([parity("failed")], None) == [off]


def test_changes_have_intervals_where_there_is_luck() -> None:
    changes = {(each.engine, each.name): each.change for each in sample_comparison().checks}
    accuracy = changes[FP32, "AP"]
    assert accuracy is not None
    assert accuracy.span is not None
    assert accuracy.value == pytest.approx(-1.9)
    assert accuracy.span[0] < -1.9 < accuracy.span[1] < 0
    latency = changes[FP32, "latency on one machine"]
    assert latency is not None
    assert latency.texts() == ("1.200 times", "[1.183, 1.217]")
    other = changes[INT8, "AP"]
    assert other is not None
    assert other.texts() == ("-1.90", "")
    probe = changes[INT8, "signal-to-noise ratio of zoomed, kept"]
    assert probe is not None
    assert (probe.now, probe.then, probe.value, probe.relative) == (20.0, 20.0, 0.0, False)


def test_the_page_says_what_differs_and_links_to_its_figures(tmp_path: Path) -> None:
    reference = tmp_path / "stored" / "det.json"
    page = tmp_path / "b.regression.html"
    write_regression(page, "b<i>", reference, [parity()], sample_comparison())
    made = page.read_text()
    assert "b&lt;i&gt;" in made
    assert '<tr class="lost"><th scope="row">AP</th><td class="n">-1.90</td>' in made
    for title, then, now in (
        ("numpy", "2.2.0", "2.3.0"),
        ("onnxruntime fp32, zoom", "banded", "gather"),
    ):
        cells = f'<td class="text">{then}</td><td class="text">{now}</td>'
        assert f'<th scope="row">{title}</th>{cells}' in made
    assert "1.23.2" not in made  # the same in both
    assert 'href="stored/det.json"' in made
    assert 'href="b.regression.json"' in made
    data = json.loads((tmp_path / "b.regression.json").read_text())
    assert set(data) == {"bundle", "reference", "parity", "checks", "now"}
    (accuracy,) = [
        each for each in data["checks"] if (each["engine"], each["name"]) == (FP32, "AP")
    ]
    assert accuracy["change"]["difference"] == pytest.approx(-1.9)
    assert accuracy["change"]["low"] < accuracy["change"]["high"] < 0


def test_a_deviation_from_pytorch_has_a_page_too(tmp_path: Path) -> None:
    page = tmp_path / "b.html"
    write_regression(page, "b", tmp_path / "det.json", [parity("failed")], None)
    assert "deviates from PyTorch, so nothing was compared" in page.read_text()
    assert json.loads((tmp_path / "b.json").read_text())["now"] is None


def test_states_that_agree_in_everything_say_so(tmp_path: Path) -> None:
    same = sample_comparison(lost=False)
    checks = [Check(FP32, "AP", "passed", "41 where the reference has 41")]
    page = tmp_path / "b.html"
    compared = Comparison(same.now, same.now, checks)
    write_regression(page, "b", tmp_path / "det.json", [parity()], compared)
    assert "Nothing: the same code, versions and machine." in page.read_text()
