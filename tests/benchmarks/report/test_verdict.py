"""What a comparison comes to: no gain is told that its interval does not show, no time twice."""

import io
from html import unescape
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("jinja2", reason="the report needs the extra bench")
pytest.importorskip("matplotlib", reason="the report needs the extra bench")

from lzu_benchmarks.bench.command import summary_table
from lzu_benchmarks.report.page import render
from lzu_benchmarks.report.rows import rows_of
from lzu_benchmarks.report.schema import Report, Score
from lzu_benchmarks.report.verdict import captions, cards, doubts_of, sentences
from lzu_export.support.console import Terminal
from report_samples import percentiles, resampled, sample_report


def scored(report: Report, variant: str, score: float, resampled: Any) -> Report:
    """The report with another score of a variant at 0.5x in FP32."""
    bundles = []
    for each in report.bundles:
        if (each.variant, each.scale) == (variant, 0.5):
            engine = each.engines["onnxruntime/fp32"]
            other = Score(metrics={"AP": score}, how="", resampled=resampled)
            engines = {"onnxruntime/fp32": engine.model_copy(update={"score": other})}
            bundles.append(each.model_copy(update={"engines": {**each.engines, **engines}}))
        else:
            bundles.append(each)
    return report.model_copy(update={"bundles": tuple(bundles)})


def test_a_difference_whose_interval_holds_0_is_no_headline(tmp_path: Path) -> None:
    report = scored(sample_report(), "adaptive", 37.0, resampled(37.0))
    rows = rows_of(report)
    (told,) = (each for each in sentences(rows) if each.startswith("At 0.5x adaptive"))
    assert "37.00 AP, no certain difference from uniform (+0.30 [\N{MINUS SIGN}" in told
    assert "more" not in told
    (card,) = (each for each in cards(rows) if each.title == "adaptive 0.5x")
    assert card.gain == "not certain"
    assert card.gain_note.startswith("+0.30 [")
    unknown = rows_of(scored(report, "adaptive", 37.0, None))
    (told,) = (each for each in sentences(unknown) if each.startswith("At 0.5x adaptive"))
    assert "0.30 more than uniform (no interval is known)" in told
    two = sample_report(variants=("uniform", "fixed"))
    without = scored(two, "fixed", 37.0, None)
    few = without.model_copy(update={"bundles": without.bundles[2:]})
    assert any(
        "No difference of accuracy has an interval" in c for c in captions(few, rows_of(few))
    )


def test_one_model_alone_has_no_captions_on_differences() -> None:
    alone = sample_report(variants=("uniform",))
    told = " ".join(captions(alone, rows_of(alone)))
    assert "ms: a frame" in told
    assert "difference" not in told
    assert "Ratio:" not in told


def test_one_time_is_told_in_one_way(tmp_path: Path) -> None:
    """Medians of unpaired times may contradict the ratio of the rounds, which is told alone."""
    report = sample_report()
    groups = []
    for group in report.latency:
        engines = {
            name: each.model_copy(update={"end_to_end": percentiles(29.0)})
            if each.bundle == "fixed-0.5x"
            else each
            for name, each in group.run.engines.items()
        }
        run = group.run.model_copy(update={"engines": engines})
        groups.append(group.model_copy(update={"run": run}))
    rows = rows_of(report.model_copy(update={"latency": tuple(groups)}))
    (fixed,) = (row for row in rows if row.label == "fixed 0.5x" and row.key.endswith("fp32"))
    assert fixed.latency is not None
    assert fixed.latency.end_to_end.p50 == 29.0
    assert fixed.base is not None
    assert fixed.base.milliseconds == 30.0
    assert fixed.milliseconds == pytest.approx(30.5)
    assert fixed.extra == pytest.approx(0.5)
    assert fixed.cost_span == pytest.approx((30.0, 33.0))
    assert fixed.gain_span is not None
    assert fixed.gain is not None
    assert fixed.gain_span[0] == pytest.approx(36.7 + fixed.gain.low)


def test_the_terminal_and_the_markdown_have_the_page_s_captions(tmp_path: Path) -> None:
    report = sample_report("det", tmp_path)
    report = report.model_copy(update={"notes": ("It was not run in PyTorch.",)})
    page, markdown = render(report, tmp_path)
    console = Terminal(file=io.StringIO(), width=80)
    console.print(summary_table(report))
    printed = " ".join(console.file.getvalue().split())
    lines = [*captions(report, rows_of(report)), *report.notes, *doubts_of(report)]
    assert len(lines) > 6
    for line in lines:
        assert line in unescape(page), line
        assert line in unescape(markdown).replace("\\", ""), line
        assert line in printed, line
    assert "| +4.41 [+3." not in printed
    assert "+4.41 [+3." in printed
    assert "scores kept by fixed 0.5x onnxruntime/int8: 0.997 [0.93, 1.05]" in printed
    assert max(map(len, console.file.getvalue().splitlines())) <= 80


def test_the_grid_says_what_it_measures(tmp_path: Path) -> None:
    page, markdown = render(sample_report("det", tmp_path, ablation=True), tmp_path)
    assert "in PyTorch on 64 frames, weights as they are (uniform: 31.00)" in unescape(page)
    assert "| 32.00 | +1.00 [+0.00, +2.00] |" in markdown
    assert "| 0.5x | uniform | | | | 31.00 | |" in markdown


def test_an_empty_table_is_left_out(tmp_path: Path) -> None:
    """A network of one level resizes no inverse."""
    report = sample_report("seg", tmp_path, ablation=True)
    assert report.ablation is not None
    none = report.ablation.model_copy(update={"inverse": {"0.5x": ()}})
    for text in render(report.model_copy(update={"ablation": none}), tmp_path):
        assert "Resized inverse" not in text
    assert all("Resized inverse" in text for text in render(report, tmp_path))
