"""The report as page, Markdown and JSON: figures where they belong, nothing from elsewhere."""

import json
import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest

pytest.importorskip("jinja2", reason="the report needs the extra bench")
pytest.importorskip("matplotlib", reason="the report needs the extra bench")

from lzu_benchmarks.harness.candidates import STAGES
from lzu_benchmarks.report.charts import figures_of
from lzu_benchmarks.report.embedded import Embedder
from lzu_benchmarks.report.lowerings import lowerings_of, measured_on
from lzu_benchmarks.report.page import render, toggles_of, write_pages
from lzu_benchmarks.report.rows import (
    chain,
    deviation,
    metric_columns,
    number,
    ratio_text,
    rows_of,
)
from lzu_benchmarks.report.schema import Report, write_report
from lzu_benchmarks.report.verdict import cards, sentences
from lzu_export.manifest.schema import Lowering
from lzu_export.support.look.page import script
from lzu_export.support.ratio import Ratio
from report_samples import parity, sample_report

VOID = {"meta", "link", "img", "br", "hr", "input"}


class Reader(HTMLParser):
    """Balances tags, and collects what a browser would fetch and what identities there are."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.fetched: list[str] = []
        self.links: list[str] = []
        self.cells: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id":
                self.ids.append(str(value))
            if name == "href" and tag == "a":
                self.links.append(str(value))
            elif name in ("src", "href", "xlink:href") and not str(value).startswith("#"):
                self.fetched.append(str(value))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("td", "th"):
            self.cells.append(data.strip())


@pytest.mark.parametrize("task", ["det", "seg", "det3d"])
def test_the_page_is_whole_and_needs_nothing_else(task: str, tmp_path: Path) -> None:
    report = sample_report(task, tmp_path, ablation=task == "det")
    page, _ = render(report, tmp_path)
    read = Reader(page)
    assert read.open == []
    assert len(read.ids) == len(set(read.ids))
    assert read.fetched  # pictures
    assert all(each.startswith("data:") for each in read.fetched)
    assert not re.search(r"@import|url\((?!#)", page)
    assert page.count("<script") == 1  # the one whose digest the page's policy names
    assert f"<script>{script()}</script>" in page
    assert {each for each in read.links if not each.startswith("#")} == {"report.md", "report.json"}
    assert {each[1:] for each in read.links if each.startswith("#")} <= set(read.ids)
    assert "&lt;&amp;&gt;" in page  # facts are text, not markup
    assert "nan" not in [cell.lower() for cell in read.cells]
    assert page.count("<svg") == (10 if task != "det" else 12)  # for a screen and for a phone


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Page and Markdown of the sample, drawn once."""
    folder = tmp_path_factory.mktemp("det")
    return render(sample_report("det", folder), folder)


@pytest.fixture
def page(rendered: tuple[str, str]) -> str:
    return rendered[0]


def test_figures_have_the_page_s_colours_and_names(page: str) -> None:
    drawn = re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL)
    for each in drawn:
        assert not re.search(r"#[0-9a-f]{6}\b", each.replace('href="#', 'href="'))
        assert "font-family" not in each
        assert 'role="img" aria-label="' in each
        used = set(re.findall(r"var\((--[\w-]+)\)", each))
        assert used <= set(re.findall(r"^\s*(--[\w-]+):|[;{ ](--[\w-]+):", page)[0]) | {
            name for pair in re.findall(r"(--[\w-]+):", page) for name in [pair]
        }


def test_numbers_stand_in_their_rows(rendered: tuple[str, str]) -> None:
    page, markdown = rendered
    cells = Reader(page).cells
    for value in ("41.11", "71.11", "30.5", "1.017", "33.00"):
        assert value in cells, value
    (row,) = (
        line
        for line in markdown.splitlines()
        if line.startswith("| onnxruntime/fp32 | 0.5x | fixed | 41.11")
    )
    assert row.endswith("| 1.27 | 30.5 | 0.5 | 1.017 [1.000, 1.100] |")
    assert "| +4.41 [+3." in row
    assert "| 0.997 [0.93, 1.05] |" in markdown
    assert "0.997 [0.93, 1.05]" in cells
    assert "p99" not in page + markdown, "64 queries cannot tell it from the maximum"
    assert "doubtful: other processes kept 0.5 processors busy" in markdown
    assert page.count("other processes kept 0.5 processors busy") == 1
    assert all(
        line.count("|") == row.count("|")
        for line in markdown.splitlines()
        if "fp32 | 0" in line and "AP" not in line and line.count("|") > 9 and "fixed | 41" in line
    )


def test_what_it_comes_to_is_said_in_sentences() -> None:
    found = sentences(rows_of(sample_report("det")))
    assert len(found) == 6  # three warps at two scales
    (fixed,) = (each for each in found if each.startswith("At 0.5x fixed"))
    assert fixed.startswith("At 0.5x fixed scores 41.11 AP, 4.41 more than uniform [+3.")
    assert fixed.endswith("], in 1.017 [1.000, 1.100] times its time.")


def test_rows_are_in_order_and_the_front_is_of_one_engine() -> None:
    rows = rows_of(sample_report("det"))
    assert [row.key for row in rows] == ["onnxruntime/fp32"] * 8 + ["onnxruntime/int8"] * 8
    assert [row.bundle.variant for row in rows[:4]] == ["uniform", "fixed", "adaptive", "fovea"]
    best = {row.label for row in rows[:8] if row.best}
    # Slower than fixed and no better, the small adaptive one and both of FOVEA are beaten.
    assert best == {
        "uniform 0.25x", "fixed 0.25x", "uniform 0.5x", "fixed 0.5x", "adaptive 0.5x",
    }  # fmt: skip


def test_classes_have_a_table_of_their_own(tmp_path: Path) -> None:
    rows = rows_of(sample_report("seg"))
    assert metric_columns(rows) == ["mIoU", "boundary"]
    page, _ = render(sample_report("seg"), tmp_path)
    assert "IoU &lt;pole&gt;" in page
    assert "mATE ↓" in render(sample_report("det3d"), tmp_path)[0]


def test_a_report_without_accuracy_or_latency_is_still_one(tmp_path: Path) -> None:
    whole = sample_report("det")
    unscored = [
        bundle.model_copy(
            update={
                "engines": {
                    name: each.model_copy(update={"score": None})
                    for name, each in bundle.engines.items()
                },
                "dataset": None, "frames": None, "metric": None, "pytorch": None,
            }
        )
        for bundle in whole.bundles
    ]  # fmt: skip
    for update in ({"bundles": tuple(unscored)}, {"latency": ()}):
        page, markdown = render(whole.model_copy(update=update), tmp_path)
        assert Reader(page).open == []
        assert whole.title in markdown


def test_json_has_a_schema_and_comes_back(tmp_path: Path) -> None:
    report = sample_report("det", ablation=True)
    write_report(report, tmp_path)
    text = (tmp_path / "report.json").read_text()
    assert "NaN" not in text
    again = Report.model_validate_json(text)
    assert again.model_dump_json() == report.model_dump_json()
    schema = json.loads((tmp_path / "report.schema.json").read_text())
    assert schema["title"] == "Report"
    assert set(json.loads(text)) == set(schema["properties"])
    write_pages(report, tmp_path, tmp_path)
    assert (tmp_path / "report.html").stat().st_size > 50_000
    assert (tmp_path / "report.md").is_file()


def test_of_both_modes_of_an_engine_the_page_shows_the_cuda_graph() -> None:
    """Which is what a bundle runs with by default; the other stays in report.json."""
    report = sample_report("det")
    name, timed = next(iter(report.latency[0].run.engines.items()))
    modes = {
        f"{name} {graph}": timed.model_copy(update={"cuda_graph": graph}) for graph in (False, True)
    }
    bundle = next(each for each in report.bundles if each.name == timed.bundle)
    for wanted in ([False, True], [False]):
        engines = {key: value for key, value in modes.items() if value.cuda_graph in wanted}
        run = report.latency[0].run.model_copy(update={"engines": engines})
        group = report.latency[0].model_copy(update={"run": run})
        found = report.model_copy(update={"latency": (group,)}).latency_of(
            bundle, f"{timed.target}/{timed.precision}"
        )
        assert found is not None
        assert found.cuda_graph is wanted[-1]


def test_numbers_as_tables_show_them() -> None:
    assert number(1.234) == "1.23"
    assert number(-1.0, 1) == "\N{MINUS SIGN}1.0"
    assert number(float("nan")) == number(None) == "\N{EN DASH}"
    few = Ratio(value=1.5, low=1.5, high=1.5, rounds=1)
    assert ratio_text(few) == "1.500"


def test_probe_points_come_before_outputs() -> None:
    assert chain(parity("fp32", "fixed"))[-3:] == ["cls_0", "boxes", "labels"]
    assert "unzoomed_0" not in chain(parity("int8", "uniform"))


def test_every_stage_has_a_bar_and_every_bar_its_number(tmp_path: Path) -> None:
    report = sample_report("det", tmp_path)
    drawn = figures_of(report, rows_of(report))["stages-wide"]
    assert [stage for stage in STAGES if f">{stage}<" not in drawn] == []
    assert 'data-tip="uniform 0.25x fp32\nengine: 12.75 ms"' in drawn


def test_the_figures_of_deviation_say_which_engines_they_draw(page: str) -> None:
    """Of ONNX Runtime, at the first scale only."""
    scale = sample_report().bundles[0].scale
    assert f"Drawn: ONNX Runtime's engines at {scale:g}x; the table has all." in unescape(page)


def test_notes_stand_on_the_page_and_in_markdown(tmp_path: Path) -> None:
    report = sample_report().model_copy(update={"notes": ("It was not run in PyTorch.",)})
    assert all("It was not run in PyTorch." in text for text in render(report, tmp_path))


def test_the_cards_say_what_each_warp_gains_and_costs() -> None:
    found = cards(rows_of(sample_report()))
    assert len(found) == 6
    (fixed,) = (each for each in found if each.title == "fixed 0.5x")
    assert fixed.gain == "+4.41"
    assert fixed.gain_note.startswith("[+3.")
    assert fixed.gain_note.endswith("], 41.11 against 36.70")
    assert (fixed.ratio, fixed.ratio_note) == ("1.017", "[1.000, 1.100]")


def test_equal_values_are_called_equal() -> None:
    assert deviation(0.0) == "equal"
    assert deviation(2e-6) == "2.0e\N{MINUS SIGN}06"
    assert deviation(None) == deviation(float("nan")) == "\N{EN DASH}"


def test_text_of_a_report_never_becomes_a_script_or_an_attribute(tmp_path: Path) -> None:
    """Whatever names contain; the figures' texts at the pointer, too."""
    evil = '"><img src=x onerror=alert(1)><script>alert(2)</script>'
    whole = sample_report("det", variants=("uniform", "fixed"))
    bundles = tuple(
        each.model_copy(update={"name": each.name + evil, "metric": "AP"}) for each in whole.bundles
    )
    report = whole.model_copy(update={"title": evil, "bundles": bundles, "notes": (evil,)})
    page, _ = render(report, tmp_path)
    read = Reader(page)
    assert read.open == []
    assert page.count("<script") == 1
    assert "<img src=x" not in page
    assert evil not in page


def test_lowerings_are_told_once_with_the_bundles_that_share_them(tmp_path: Path) -> None:
    report = sample_report("det")
    choices = (
        Lowering(place="unzoomed_0", kind="matmul", reason="two products", measured_on="a machine"),
        Lowering(place="zoom", kind="gridsample", reason="a gather <reads> once"),
    )
    engines = {
        name: each.model_copy(update={"lowerings": choices})
        for name, each in report.bundles[0].engines.items()
    }
    bundles = [each.model_copy(update={"engines": engines}) for each in report.bundles[:2]]
    few = report.model_copy(update={"bundles": tuple(bundles)})
    found = lowerings_of(few)
    assert [each.place for each in found] == ["zoom", "unzoomed_0"]
    assert found[0].bundles == [each.name for each in bundles]
    assert measured_on(few) == ["a machine"]
    page, _ = render(few, tmp_path)
    assert "a gather &lt;reads&gt; once" in page
    assert ">unzoomed 0<" in page


def test_the_viewer_has_all_pictures_of_a_frame_and_the_rule_of_the_examples(
    tmp_path: Path,
) -> None:
    page, _ = render(sample_report("det", tmp_path), tmp_path)
    frames = re.findall(r'data-frame="([^"]*)"(.*?)</div>', page, re.DOTALL)
    assert [unescape(name) for name, _ in frames] == ["<3>.png", "<7>.png"]
    assert frames[0][1].count("<figure") == 9  # the truth and eight bundles
    assert 'data-of="ground truth"' in frames[0][1]
    assert "Small: below 16x16." in page
    assert "uniform finds, fixed misses: 0 of 9 small objects" in page
    assert "car, 9x9 pixels, frame &lt;3&gt;" in page
    assert page.count("magnification 0.50 to 2.50") == 6
    assert "linear-gradient" in page


def test_pictures_beyond_the_budget_are_left_out_and_counted(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"x" * 60)
    embed = Embedder(tmp_path, 100)
    assert embed("a.jpg") is not None
    assert embed("a.jpg") is None
    assert embed("missing.jpg") is None
    assert embed.left_out == 1


def test_scale_precision_and_target_are_toggles_where_they_vary(page: str) -> None:
    rows = rows_of(sample_report("det"))
    assert toggles_of(rows) == {"precision": ["fp32", "int8"], "scale": ["0.25", "0.5"]}
    assert toggles_of([row for row in rows if row.key == rows[0].key]) == {"scale": ["0.25", "0.5"]}
    emulated = [row._replace(key="emulated/int8") if i % 2 else row for i, row in enumerate(rows)]
    assert toggles_of(emulated)["target"] == ["onnxruntime", "emulated"]
    assert '<input type="checkbox" name="precision" value="int8" checked>' in page
    assert 'data-target="onnxruntime" data-precision="int8" data-scale="0.5"' in page


def test_a_gain_without_any_interval_has_no_column(rendered: tuple[str, str]) -> None:
    for text in rendered:
        assert "over uniform" in text
    report = sample_report("det")
    bundles = []
    for each in report.bundles:
        engines = {
            name: engine.model_copy(
                update={
                    "score": engine.score and engine.score.model_copy(update={"resampled": None})
                }
            )
            for name, engine in each.engines.items()
        }
        bundles.append(each.model_copy(update={"engines": engines}))
    page, markdown = render(report.model_copy(update={"bundles": tuple(bundles)}), Path("none"))
    assert "over uniform</th>" not in page
    assert "over uniform [95 %]" not in markdown
    assert "No difference of accuracy has an interval" in unescape(page)
    table = markdown[markdown.index("| engine | scale") :].split("\n\n")[0].splitlines()
    assert len({line.count("|") for line in table}) == 1
