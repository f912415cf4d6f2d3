"""The comparison with rivals, on detectors that stand in for the exported networks."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lzu_benchmarks.bench import command, rival_scores
from lzu_benchmarks.bench import rivals as compare
from lzu_benchmarks.bench.contender import Store
from lzu_benchmarks.bench.options import parse
from lzu_benchmarks.bench.rival_scores import BoxScores, FoundBoxes, FrameBoxes, LabelScores
from lzu_benchmarks.demo.dataset import open_demo
from lzu_benchmarks.report.page import contents_of, context_of, render
from lzu_benchmarks.report.rivals import (
    best,
    milliseconds,
    rival_notes,
    rivals_figure,
    rivals_table,
    spread_text,
)
from lzu_benchmarks.report.schema import OURS, RivalRow, Rivals, Spread
from lzu_benchmarks.rivals.networks import DET, SEG, Budget, RivalTask, Weights, write_band
from lzu_benchmarks.rivals.rivals import RIVALS, finder, merged
from lzu_benchmarks.scenes import LABELS
from lzu_export.errors import LzuError
from lzu_export.recipes import load_recipe
from lzu_export.recipes.sections import Window
from lzu_export.runtime.detector import Detections
from lzu_export.runtime.segmenter import Segmentation
from lzu_export.support.console import Terminal
from lzu_export.support.interleave import Plan
from lzu_export.support.progress import Reporter
from lzu_export.support.ratio import Ratio
from report_samples import sample_report

BAND = Window(x=0, y=100, width=640, height=170)
CLASSES = load_recipe("det").classes
RECIPE = load_recipe("det", {"variant": "uniform"})


def detections(*boxes: tuple[float, ...]) -> Detections:
    """Return boxes of the first class, with falling scores."""
    scores = 0.9 - 0.1 * np.arange(len(boxes), dtype=np.float32)
    found = np.array(boxes, np.float32).reshape(-1, 4)
    return Detections(found, scores, np.zeros(len(boxes), np.int32), CLASSES)


class Stub:
    """A predictor that finds what it is given, and counts."""

    def __init__(self, find: Callable[[NDArray[np.uint8]], Any]) -> None:
        self.find, self.recipe, self.resets, self.calls = find, RECIPE, 0, 0

    def reset(self) -> None:
        self.resets += 1

    def __call__(self, frame: NDArray[np.uint8]) -> Any:
        self.calls += 1
        return self.find(frame)


def test_boxes_of_the_crop_stand_beside_those_of_the_frame() -> None:
    """The one that both find is kept once, the one that the crop's inner edge cuts is dropped."""
    whole: Any = Stub(lambda _: detections((10, 150, 50, 190), (300, 200, 400, 330)))
    crop: Any = Stub(
        lambda _: detections((10, 150, 50, 191), (300, 200, 400, 270), (5, 120, 9, 124))
    )
    (rival,) = (each for each in RIVALS["det"] if each.name == "crop + full")
    find = finder(rival, {"uniform": whole, "crop": crop}, BAND)
    found = find(np.zeros((360, 640, 3), np.uint8))
    assert sorted(found.boxes[:, 0].tolist()) == [5, 10, 300]
    assert found.boxes[found.boxes[:, 0] == 300].tolist() == [[300, 200, 400, 330]]
    alone = merged([whole(None)], [None], whole)
    np.testing.assert_array_equal(alone.boxes, whole(None).boxes)


def test_passes_are_counted() -> None:
    passes = {each.name: sum(each.passes.values()) for each in RIVALS["det"]}
    assert passes[OURS] == passes["uniform 1x"] == 1
    assert passes["crop + LZU"] == 2
    assert passes["tiles + full (SAHI)"] == 5


@pytest.fixture
def stubs(monkeypatch: pytest.MonkeyPatch) -> dict[str, Stub]:
    """Put detectors in place of the networks: LZU finds every object, uniform every other one."""
    dataset = open_demo("val", 16, whole=True)
    truth = {each.image.tobytes(): each.annotations for each in dataset}

    def finds(every: int) -> Stub:
        def find(frame: NDArray[np.uint8]) -> Detections:
            objects = [a for a in truth.get(frame.tobytes(), []) if not a["iscrowd"]][::every]
            boxes = np.array([a["bbox"] for a in objects], np.float32).reshape(-1, 4)
            boxes[:, 2:] += boxes[:, :2]
            labels = np.array([a["category_id"] - 1 for a in objects], np.int32)
            return Detections(boxes, np.full(len(boxes), 0.5, np.float32), labels, CLASSES)

        return Stub(find)

    made = {"uniform": finds(2), "fixed": finds(1), "fovea": finds(3)}
    stand_in(monkeypatch, made)
    return made


def stand_in(monkeypatch: pytest.MonkeyPatch, made: dict[str, Stub]) -> None:
    """Put predictors by name in place of exported networks."""

    def exported(_task: Any, weights: Any, *_: Any) -> Any:
        manifest = SimpleNamespace(files={"engine": weights.name})
        return SimpleNamespace(name=weights.network, manifest=manifest)

    monkeypatch.setattr(compare, "exported", exported)
    monkeypatch.setattr(
        compare, "opened", lambda bundles, *_: {each: made[each] for each in bundles}
    )
    monkeypatch.setattr(compare, "flops_of", lambda bundle: SimpleNamespace(total=1_240_000_000))
    monkeypatch.setattr(compare, "find_spec", lambda _: None)
    monkeypatch.setattr(rival_scores, "RESAMPLES", 20)


def compared(folder: Path, task: RivalTask = DET, **changes: Any) -> Rivals:
    options: dict[str, Any] = {
        "frames": 16, "plan": Plan(queries=1, block=1, warmup_queries=1, warmup_seconds=0),
        "threads": 1, "report": Reporter(quiet=True), **changes,
    }  # fmt: skip
    return compare.compare_rivals(task, folder, Store(folder / "results"), **options)


def test_rows_without_weights_are_named_and_not_shown(
    stubs: dict[str, Stub], tmp_path: Path
) -> None:
    write_band(tmp_path, BAND, 0.95, 1.5)
    found = compared(tmp_path)
    assert [row.name for row in found.rows] == ["uniform", "FOVEA", OURS]
    assert found.missing["static crop"] == "not trained: crop"
    assert found.missing["tiles + full (SAHI)"] == "needs the extra sahi"
    assert set(found.missing) == {each.name for each in RIVALS["det"]} - {
        row.name for row in found.rows
    }
    uniform, _, ours = found.rows
    assert ours.metrics["AP"].value == pytest.approx(100)
    assert uniform.over["AP"].value == pytest.approx(uniform.metrics["AP"].value - 100)
    assert uniform.over["AP"].high < 0
    assert ours.over == {}
    assert uniform.metrics["AP"].low <= uniform.metrics["AP"].value <= uniform.metrics["AP"].high
    assert uniform.seeds == (0,)
    assert uniform.gflop == 1.24
    assert uniform.ratio is not None
    assert uniform.ratio.value == 1
    assert "the rows that hold most training boxes" in (found.rule or "")
    # 16 frames are two whole sequences: boxes are fed back within a sequence only.
    assert stubs["fovea"].resets == 2


def test_what_was_found_is_not_searched_again(stubs: dict[str, Stub], tmp_path: Path) -> None:
    first = compared(tmp_path)
    calls, resets = stubs["fixed"].calls, stubs["fixed"].resets
    second = compared(tmp_path)
    assert stubs["fixed"].resets == resets
    assert stubs["fixed"].calls < 2 * calls
    assert [row.metrics for row in second.rows] == [row.metrics for row in first.rows]
    assert (tmp_path / "results" / "rival-uniform-0.json").is_file()


def test_bundles_of_all_networks_lie_in_one_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """So they share the lowerings that were measured, and differ by what they see alone."""

    def run(command: list[str], **_: Any) -> Any:
        out = Path(command[command.index("--out") + 1])
        (name,) = (each.removeprefix("name=") for each in command if each.startswith("name="))
        (out / f"seg/{name}-uniform-0.25x").mkdir(parents=True)
        (out / f"seg/{name}-uniform-0.25x/manifest.json").touch()
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(compare.subprocess, "run", run)
    monkeypatch.setattr(compare, "Contender", lambda folder: folder)
    budget = Budget(3.0, 140)
    found = [
        compare.exported(SEG, Weights(name, 0, tmp_path, budget), tmp_path, BAND, Reporter())
        for name in ("uniform-0.375x", "uniform")
    ]
    assert [each.name for each in found] == [
        "uniform-0.375x-0-uniform-0.25x",
        "uniform-0-uniform-0.25x",
    ]
    assert {each.parent for each in found} == {tmp_path / "bundles/seg"}


def test_what_is_missing_is_trained_as_long_as_what_is_there(tmp_path: Path) -> None:
    command = compare._training(SEG, tmp_path, Budget(3.0, 140))
    assert command.endswith(f"--task seg --out {tmp_path} --epochs 3 --sequences 140")


def test_found_boxes_survive_their_file() -> None:
    boxes = FrameBoxes.of(detections((0.1, 2, 3.3, 4)), 7)
    found = FoundBoxes(key="k", boxes=(boxes,))
    again = FoundBoxes.model_validate_json(found.model_dump_json())
    assert again == found
    (each,) = again.to_coco()
    assert (each["image_id"], each["category_id"]) == (7, 1)
    assert each["bbox"][2] == pytest.approx(3.2, rel=1e-6)


def maps(labels: NDArray[np.uint8]) -> Segmentation:
    return Segmentation(labels, LABELS)


def test_labels_of_the_crop_hold_inside_of_its_window() -> None:
    whole, crop = (Stub(lambda _, c=c: maps(np.full((360, 640), c, np.uint8))) for c in (2, 5))
    predictors: Any = {"fixed": whole, "crop": crop}
    (rival,) = (each for each in RIVALS["seg"] if each.name == "crop + LZU")
    found = finder(rival, predictors, BAND)(np.zeros((360, 640, 3), np.uint8))
    expected = np.full((360, 640), 2)
    expected[100:270] = 5
    np.testing.assert_array_equal(found.labels, expected)
    assert rival.passes == {"fixed": 1, "crop": 1}


def test_label_maps_are_compared_by_the_metric_s_bands(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """LZU is right everywhere, uniform wrong in the upper third only."""
    scored = open_demo("val", 16, whole=True)
    truth = {frame.image.tobytes(): frame.labels for _, _, frame in scored.rendered()}

    def sees(wrong: int) -> Stub:
        def find(frame: NDArray[np.uint8]) -> Segmentation:
            labels = truth.get(frame.tobytes(), np.zeros((360, 640), np.uint8)).copy()
            labels[:wrong] = (labels[:wrong] + 1) % len(LABELS)
            return maps(labels)

        return Stub(find)

    stand_in(monkeypatch, {"uniform": sees(120), "fixed": sees(0)})
    found = compared(tmp_path, SEG)
    assert found.metrics == LabelScores.metrics
    assert [row.name for row in found.rows] == ["uniform", OURS]
    assert found.missing["crop + LZU"] == "not trained: crop"
    uniform, ours = found.rows
    assert {each.value for each in ours.metrics.values()} == {100}
    assert uniform.metrics["mIoU_upper"].value == 0
    assert uniform.metrics["mIoU_middle"].value == uniform.metrics["mIoU_lower"].value == 100
    assert 0 < uniform.metrics["mIoU"].low <= uniform.metrics["mIoU"].high < 100
    assert uniform.over["mIoU"].value == pytest.approx(uniform.metrics["mIoU"].value - 100)
    assert found.command.endswith(f"--task seg --out {tmp_path}")
    assert compared(tmp_path, SEG).rows[0].metrics == uniform.metrics
    terminal = Terminal(file=io.StringIO(), width=80)
    terminal.print(rivals_table(found))
    assert isinstance(terminal.file, io.StringIO)
    text = terminal.file.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    assert "boundary" in text


def row(name: str, ap: float, gflop: float) -> RivalRow:
    spread = Spread(value=ap, low=ap - 1, high=ap + 1)
    names = ("AP", "AP_small", "AP_medium", "AP_large")
    return RivalRow(
        name=name,
        variant="uniform",
        passes=2,
        seeds=(0, 1, 2),
        metrics=dict.fromkeys(names, spread),
        over={"AP": Spread(value=-2.5, low=-3, high=-2)},
        gflop=gflop,
        milliseconds=50.0,
        ratio=Ratio(value=2.0, low=1.9, high=2.1, rounds=8),
    )


SAMPLE = Rivals(
    metrics=BoxScores.metrics,
    frames=512,
    budget="9 epochs of 1000 sequences",
    rule="the best band",
    merging="boxes are merged",
    command="train them",
    rows=(row("uniform", 36, 1.24), row("a crop", 39, 1.2), row("<tiles>", 38, 6)),
    missing={"uniform 1x": "not trained: uniform-1x"},
)


def test_the_table_fits_and_marks_the_front() -> None:
    assert best(SAMPLE) == [False, True, False]
    terminal = Terminal(file=io.StringIO(), width=80)
    terminal.print(rivals_table(SAMPLE))
    assert isinstance(terminal.file, io.StringIO)
    text = terminal.file.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    assert "39.00" in text
    assert "uniform 1x is not measured: not trained: uniform-1x." in " ".join(text.split())
    assert "boxes are merged." in rival_notes(SAMPLE)
    assert rival_notes(SAMPLE)[-1] == "`train them` trains what is missing."
    assert spread_text(SAMPLE.rows[0].over["AP"], sign=True) == "-2.50 [-3.00, -2.00]"


def test_times_agree_with_the_ratios() -> None:
    """Medians of times that were taken apart may differ from the median of paired ratios."""
    base = row("uniform", 36, 1.2).model_copy(
        update={"milliseconds": 20.0, "ratio": Ratio(value=1.0, low=1.0, high=1.0, rounds=8)}
    )
    other = row("a crop", 39, 1.2)
    rivals = SAMPLE.model_copy(update={"rows": (base, other)})
    assert [milliseconds(rivals, each) for each in rivals.rows] == [20.0, 40.0]
    assert "40.00 ms" in rivals_figure(rivals)["rivals-time-wide"]
    alone = SAMPLE.model_copy(update={"rows": (other,)})
    assert milliseconds(alone, other) == 50.0


def test_the_page_and_markdown_show_the_rows(tmp_path: Path) -> None:
    plain = sample_report()
    report = plain.model_copy(update={"rivals": SAMPLE})
    context = context_of(report, tmp_path)
    assert ("rivals", "Instead of a warp") in contents_of(context)
    assert {"rivals-flops-wide", "rivals-time-narrow"} <= set(context["figures"])
    assert "line-uniform" not in context["figures"]["rivals-flops-wide"]
    page, markdown = render(report, tmp_path)
    assert "39.00 [38.00, 40.00]" in page
    assert "&lt;tiles&gt;" in page
    assert "<tiles>" not in page
    assert "| a crop | 39.00 [38.00, 40.00] |" in markdown
    assert "not trained: uniform-1x" in markdown
    without, _ = render(plain, tmp_path)
    assert 'id="rivals"' not in without
    assert json.loads(report.model_dump_json())["rivals"]["rows"][1]["passes"] == 2


@pytest.mark.parametrize("words", [["det3d", "--rivals"], ["det", "--rivals", "--bundles", "a"]])
def test_rivals_of_other_models_are_refused(words: list[str]) -> None:
    with pytest.raises(LzuError, match="give the recipe det or seg, without --bundles"):
        command.bench(parse(words))
