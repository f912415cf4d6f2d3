"""Comparison of warps on scenes of a moving camera: warps, film, command, table."""

import json
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lzu_benchmarks.demo.dataset import SPLITS  # noqa: E402
from lzu_benchmarks.scenes import Sequence, render  # noqa: E402
from lzu_benchmarks.train import moving  # noqa: E402
from lzu_benchmarks.train.adaptive_detectors import AdaptiveDetector, Zoomer, load  # noqa: E402
from lzu_benchmarks.train.det import Detector  # noqa: E402
from lzu_benchmarks.train.film import KEPT, Film  # noqa: E402
from lzu_benchmarks.train.moving_figures import PAIRS, SHIPPED, TUNED, compare, table  # noqa: E402
from lzu_benchmarks.train.setup import Setup  # noqa: E402
from lzu_export.warp.box_saliency import box_saliency  # noqa: E402
from lzu_export.warp.knots import separable_knots  # noqa: E402
from lzu_export.warp.saliency import mix  # noqa: E402
from lzu_export.warp.saliency_file import load_saliency  # noqa: E402

SETUP = Setup()
BOXES = [np.array([[100.0, 220, 130, 240], [400, 200, 480, 260]]), np.zeros((0, 4))]


@pytest.fixture(scope="module")
def saliency() -> np.ndarray:
    return load_saliency(moving.DEMO / "saliency.npy", SETUP.lattice)


def test_without_a_share_of_the_boxes_the_warp_is_the_fixed_one(saliency: np.ndarray) -> None:
    knots_x, knots_y = Zoomer(SETUP, saliency, 0.0).knots(BOXES)
    expected_x, expected_y = SETUP.knots(saliency)
    for mine_x, mine_y in zip(knots_x, knots_y, strict=True):  # with and without boxes
        np.testing.assert_allclose(mine_x, expected_x, atol=1e-5)
        np.testing.assert_allclose(mine_y, expected_y, atol=1e-5)
    uniform = moving.WARPS["uniform"].detector(SETUP, saliency).zoomer.knots(BOXES)
    np.testing.assert_allclose(uniform[0][0], np.linspace(-1, 1, 51), atol=1e-5)


def test_the_mixed_warp_is_that_of_the_mixed_saliency(saliency: np.ndarray) -> None:
    zoomer = moving.WARPS["mixed"].detector(SETUP, saliency).zoomer
    boxes = box_saliency(
        BOXES[0],
        SETUP.source,
        SETUP.lattice,
        amplitude=SETUP.amplitude,
        bandwidth=SETUP.bandwidth,
    )
    both = mix(saliency / saliency.sum(), boxes / boxes.sum(), 0.5)
    for mine, expected in zip(
        zoomer.knots(BOXES[:1]), separable_knots(both, SETUP.fwhm), strict=True
    ):
        np.testing.assert_allclose(mine[0], expected, atol=1e-5)


def test_the_fixed_detector_unzooms_as_the_shipped_one(saliency: np.ndarray) -> None:
    torch.manual_seed(1)
    mine = moving.WARPS["fixed"].detector(SETUP, saliency)
    shipped = Detector(SETUP, saliency)
    load(moving.DEMO / "fixed.pth", mine)
    load(moving.DEMO / "fixed.pth", shipped)
    zoomed = mine.zoomer([render(Sequence(0), 0).image], BOXES[:1])
    with torch.inference_mode():
        found, expected = mine(*zoomed), shipped(zoomed.canvases)
    for one, other in zip(found[0] + found[1], expected[0] + expected[1], strict=True):
        np.testing.assert_allclose(one, other, atol=2e-3)


def test_the_film_shows_the_split(tmp_path: Path) -> None:
    film = Film(tmp_path, SETUP, sequences=1, split="moving-train", processes=1)
    frame = render(Sequence(SPLITS["moving-train"][0]), KEPT[2])
    np.testing.assert_array_equal(film.frames[2], frame.image)
    np.testing.assert_array_equal(film.boxes(2), frame.boxes[~frame.ignore])


def test_the_command_trains_compares_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, work = tmp_path / "out", tmp_path / "work"
    monkeypatch.setattr(moving, "compare", partial(compare, resamples=10))
    given = ["moving", "--out", str(out), "--work", str(work), "--json", "--sequences", "1"]
    given += ["--epochs", "4", "--frames", "16", "--warps"]
    monkeypatch.setattr(sys, "argv", [*given, "adaptive"])
    moving.main()
    weights = (out / "adaptive.pth").read_bytes()
    capsys.readouterr()
    monkeypatch.setattr(sys, "argv", [*given, "fixed", "adaptive"])
    moving.main()
    record = json.loads(capsys.readouterr().out)
    assert (out / "adaptive.pth").read_bytes() == weights
    monkeypatch.setattr(sys, "argv", [*given, "fixed", "--seed", "1"])
    with pytest.raises(SystemExit, match="2"):
        moving.main()
    assert "'seed': 0" in capsys.readouterr().err
    assert [run["steps"] for run in record["runs"]] == [2, 2]
    assert "own detections from step 1" in (work / "adaptive.log").read_text()
    assert "own detections" not in (work / "fixed.log").read_text()
    tuned, start = AdaptiveDetector(SETUP), AdaptiveDetector(SETUP)
    load(out / "adaptive.pth", tuned)
    load(moving.DEMO / "adaptive.pth", start)
    one, other = (torch.cat([p.flatten() for p in d.parameters()]) for d in (tuned, start))
    assert 0 < float((one - other).detach().abs().max()) < 0.1
    for kind in ("steady", "moving"):
        figures = record["figures"][kind]
        assert set(figures["accuracy"]) == {
            *(f"{SHIPPED} {warp}" for warp in ("uniform", "fixed", "adaptive")),
            *(f"{TUNED} {warp}" for warp in ("fixed", "adaptive")),
        }
        assert len(figures["differences"]) == 3 + 1
        assert (figures["frames"], figures["sequences"]) == (16, 2)
    assert record["figures"]["steady"]["accuracy"]["shipped fixed"]["AP"] > 20
    assert not np.array_equal(
        load_saliency(out / "saliency.npy"), load_saliency(moving.DEMO / "saliency.npy")
    )


def test_the_table_has_a_column_for_each_stage_and_kind() -> None:
    names = [f"{stage} {warp}" for stage in (SHIPPED, TUNED) for warp in moving.WARPS]
    names.remove(f"{SHIPPED} mixed")
    interval = {"difference": 1.0, "low": 0.5, "high": 1.5, "resamples": 1000, "groups": 64}
    figures = {
        kind: {
            "accuracy": {name: {"AP": start + i} for i, name in enumerate(names)},
            "differences": [
                {"over": f"{TUNED} {a}", "of": f"{TUNED} {b}", "AP": interval} for a, b in PAIRS
            ],
        }
        for kind, start in (("steady", 30.0), ("moving", 20.0))
    }
    lines = table(figures).splitlines()
    assert lines[0].count("|") == 6
    assert "| fixed | 31.00 | 21.00 | 34.00 | 24.00 |" in lines
    assert "| mixed | - | - | 36.00 | 26.00 |" in lines
    assert "| mixed - fixed | - | - | +1.00 [+0.50, +1.50] | +1.00 [+0.50, +1.50] |" in lines
    assert len(lines) == 2 + len(moving.WARPS) + len(PAIRS)
