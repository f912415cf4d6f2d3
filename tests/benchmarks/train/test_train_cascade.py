"""Comparison of the boxes that an adaptive detector is trained with: variants, command, table."""

import json
import pickle
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lzu_benchmarks.train import cascade  # noqa: E402
from lzu_benchmarks.train.cascade import JITTERED, VARIANTS, compare, table  # noqa: E402
from lzu_benchmarks.train.drawn_boxes import like_detections  # noqa: E402
from lzu_export.evaluation.metrics.coco import bootstrap_ap_differences  # noqa: E402
from lzu_export.models.checkpoint import load_state  # noqa: E402

BOXES = np.array([[100.0, 220, 130, 240], [400, 200, 480, 260], [10, 10, 20, 40]])


def test_jittered_boxes_are_the_true_ones_moved_a_little() -> None:
    found = [
        like_detections(BOXES, BOXES + 300, JITTERED, np.random.Generator(np.random.PCG64(seed)))
        for seed in range(200)
    ]
    shown = [each for each in found if len(each)]
    assert 10 < len(found) - len(shown) < 45  # one frame of eight has no boxes
    assert all(each.shape == BOXES.shape for each in shown)
    np.testing.assert_allclose(np.mean(shown, axis=0), BOXES, atol=3)
    assert np.std(shown, axis=0).min() > 0.5


def run_here(function: Callable[..., Any], jobs: Sequence[Any], processes: int) -> list[Any]:
    """Stand in for `run_jobs`: run the jobs in this process, where torch is already imported."""
    function, jobs = pickle.loads(pickle.dumps((function, jobs)))  # as on the way to a process
    return [function(*job) for job in jobs]


def test_the_command_trains_each_variant_from_the_uniform_weights_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    quick = partial(bootstrap_ap_differences, resamples=10)
    monkeypatch.setattr(cascade, "bootstrap_ap_differences", quick)
    monkeypatch.setattr(cascade, "run_jobs", run_here)
    out, work = tmp_path / "out", tmp_path / "work"
    given = ["cascade", "--out", str(out), "--work", str(work), "--json", "--sequences", "1"]
    given += ["--epochs", "4", "--frames", "16", "--seeds", "3", "--processes", "1", "--variants"]
    monkeypatch.setattr(sys, "argv", [*given, "jittered"])
    cascade.main()
    first = json.loads(capsys.readouterr().out)
    kept = (out / "jittered-3.pth").read_bytes()
    assert first["gain"] == {}
    monkeypatch.setattr(sys, "argv", [*given, "jittered", "jittered-cascaded"])
    cascade.main()
    record = json.loads(capsys.readouterr().out)
    assert (out / "jittered-3.pth").read_bytes() == kept
    assert [run["steps"] for run in record["runs"]] == [2, 2]
    assert "own detections" not in (work / "jittered-3.log").read_text()
    assert "own detections from step 1" in (work / "jittered-cascaded-3.log").read_text()
    start = load_state(cascade.DEMO / "uniform.pth")
    tuned = load_state(out / "jittered-3.pth")
    weights = [name for name in start if name.endswith("weight")]  # not running means
    moved = max(float((tuned[n].float() - start[n].float()).abs().max()) for n in weights)
    assert 0 < moved < 0.1
    assert list(record["accuracy"]) == ["jittered-3", "jittered-cascaded-3"]
    both = record["accuracy"]["jittered-cascaded-3"]["AP"] - record["accuracy"]["jittered-3"]["AP"]
    gain = record["gain"]["jittered-cascaded - jittered"]["AP"]
    assert gain["difference"] == pytest.approx(both, abs=1e-9)
    assert record["accuracy"]["jittered-3"]["AP"] > 0


def test_the_table_shows_means_over_seeds_and_mean_differences() -> None:
    rows = {"AP": 30.0, "AP50": 50.0, "AP75": 40.0, "AP_small": 1, "AP_medium": 2, "AP_large": 3}
    accuracy = {
        f"{variant}-{seed}": {**rows, "AP": 30.0 + i + 2 * seed}
        for i, variant in enumerate(VARIANTS)
        for seed in (0, 1)
    }
    interval = {"difference": 1.0, "low": 0.5, "high": 1.5}
    record = {"accuracy": accuracy, "gain": {"b - a": {"AP": interval}}}
    lines = table(record).splitlines()
    assert lines[2].startswith("| jittered | 31.00 +- 1.41 | 50.00 +- 0.00 |")
    assert lines[5].startswith("| disturbed-cascaded | 34.00 +- 1.41 |")
    one = {name: each for name, each in accuracy.items() if name.endswith("-0")}
    alone = table({"accuracy": one, "gain": {}}).splitlines()[2]
    assert alone.startswith("| jittered | 30.00 | 50.00 |")  # one training has no spread
    assert lines[6] == "| b - a | +1.00 [+0.50, +1.50] |  |  |  |  |  |"


def test_a_difference_is_the_mean_over_the_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    quick = partial(bootstrap_ap_differences, resamples=5)
    monkeypatch.setattr(cascade, "bootstrap_ap_differences", quick)
    truth = cascade.open_demo("val", 16, whole=True).coco_ground_truth()
    perfect = [
        {**{key: a[key] for key in ("image_id", "category_id", "bbox")}, "score": 0.9}
        for a in truth["annotations"]
    ]
    shares = {("jittered", 0): 2, ("disturbed", 0): 1, ("jittered", 1): 1, ("disturbed", 1): 1}
    runs = [
        {"variant": variant, "seed": seed, "detections": perfect[::step]}
        for (variant, seed), step in shares.items()
    ]
    found = compare(runs, 16)
    gain = found["accuracy"]["disturbed-0"]["AP"] - found["accuracy"]["jittered-0"]["AP"]
    assert gain > 20
    assert list(found["gain"]) == ["disturbed - jittered"]
    assert found["gain"]["disturbed - jittered"]["AP"]["difference"] == pytest.approx(gain / 2)
