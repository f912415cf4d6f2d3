"""The appendix: formulas against what the warps are known to do."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="exporting needs torch")

from lzu_benchmarks.bench.ablation import (
    Scored,
    Scorer,
    _point,
    _uniform,
    ablate,
    amplified,
    forward_error,
    grid_point,
    inverse_errors,
    magnifications,
    resized_inverse,
    true_forward_axis,
)
from lzu_benchmarks.bench.contender import Store, open_bundles
from lzu_benchmarks.report.schema import Gain
from lzu_export.errors import LzuError
from lzu_export.evaluation.evaluate import evaluate
from lzu_export.manifest.resampled import Resampled
from lzu_export.recipes import load_recipe
from lzu_export.support.progress import Reporter
from lzu_export.tasks.pytorch import torch_predictor
from lzu_export.tasks.warps import make_warp
from lzu_export.warp.box_saliency import box_saliency
from lzu_export.warp.forward import pixel_centres
from lzu_export.warp.geometry import Level
from lzu_export.warp.inverse import invert_axis
from lzu_export.warp.knots import axis_knots, separable_knots
from samples import tiny_recipe


def test_the_published_warp_s_inverse_can_be_resized_with_corners_aligned_only(
    golden: Path,
) -> None:
    """SPEC 1.6: mean 0.000-0.007 and at most 0.029 cells; edge on edge 0.17-0.31 and 0.52."""
    saliency = np.load(golden / "nuscenes_saliency_27x48.npy").astype(np.float64)
    knots = separable_knots(saliency, 10)
    seen = []
    for scale in (0.25, 0.5, 0.75, 1.0):
        recipe = load_recipe("nuscenes", {"scale": scale})
        seen += inverse_errors(*knots, recipe.levels)
    assert len(seen) == 4 * 4
    assert max(each.mean for each in seen) < 0.01
    assert max(each.maximum for each in seen) < 0.045  # of both axes together
    assert min(each.mean_half_pixel for each in seen) > 0.1
    assert 0.4 < max(each.maximum_half_pixel for each in seen) < 0.8


def test_the_published_warp_s_knots_joined_by_lines(golden: Path) -> None:
    """SPEC 1.6: x at most 0.07, y at most 1.18 and 0.32 on average, in pixels of 1600x900."""
    saliency = np.load(golden / "nuscenes_saliency_27x48.npy").astype(np.float64)
    recipe = load_recipe("nuscenes", {"scale": 1.0, "source_multiple": 1})
    found = forward_error(saliency, 10, recipe)
    assert found.x_maximum == pytest.approx(0.07, abs=0.01)
    assert found.y_maximum == pytest.approx(1.18, abs=0.02)
    assert found.y_mean == pytest.approx(0.32, abs=0.02)


def test_the_true_warp_goes_through_the_knots() -> None:
    marginal = np.random.default_rng(0).uniform(0.1, 1, 13)
    knots = axis_knots(marginal, 4, pad=8)
    true = true_forward_axis(marginal, 4, 4 * 12 + 1, 8)
    np.testing.assert_allclose(true[::4], knots, atol=1e-6)
    assert np.abs(true[2::4] - (knots[:-1] + knots[1:]) / 2).max() > 1e-4


def test_a_level_of_the_finest_s_own_size_has_no_error() -> None:
    knots = axis_knots(np.random.default_rng(1).uniform(0.1, 1, 9), 3)
    exact = invert_axis(knots, pixel_centres(20))
    np.testing.assert_allclose(resized_inverse(knots, 20, 20), exact, atol=1e-12)
    np.testing.assert_allclose(resized_inverse(knots, 20, 20, half_pixel=True), exact, atol=1e-12)
    levels = [Level(8, (20, 30)), Level(16, (10, 15)), Level(32, (1, 8))]
    first, second = inverse_errors(knots, knots, levels)
    assert 0 < first.mean < first.maximum < first.maximum_half_pixel
    assert second.size == (1, 8)


def test_an_amplified_map_is_the_map_of_that_amplitude(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path)
    boxes = np.array([[10.0, 10, 40, 30], [90, 50, 130, 80], [60, 20, 80, 90]])
    size, lattice = (96, 160), (7, 11)
    one = box_saliency(boxes, size, lattice, amplitude=1)
    four = box_saliency(boxes, size, lattice, amplitude=4)
    found = amplified(one, 4, recipe)
    np.testing.assert_allclose(found / found.sum(), four / four.sum(), rtol=1e-4)
    np.testing.assert_allclose(amplified(one, 1, recipe), one)


def test_a_stronger_or_nprobe_pointer_warp_magnifies_more(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path)
    saliency = box_saliency(np.array([[70.0, 40, 90, 60]]), (96, 160), (7, 11), bandwidth=16)
    weak, own, strong = (
        grid_point(saliency, amplitude, 4, recipe, key="", score=None) for amplitude in (0.25, 1, 4)
    )
    assert 1 < weak.box_magnification < own.box_magnification < strong.box_magnification
    assert own.trained
    assert not strong.trained
    assert own.magnification[0] > 1 > own.shrinkage[0]
    flat = np.ones((7, 11)) / 77
    even = grid_point(flat, 1, 4, recipe, key="", score=None)
    assert even.magnification == pytest.approx((1, 1))


def test_magnification_is_the_slope_of_the_inverse() -> None:
    even = np.linspace(-1, 1, 5)
    np.testing.assert_allclose(magnifications(even, np.linspace(-0.9, 0.9, 7)), 1)
    knots = np.array([-1, -0.25, 0.25, 1])  # the middle gets a third of the canvas
    assert magnifications(knots, np.zeros(1))[0] == pytest.approx((2 / 3) / 0.5)


def test_a_bundle_s_appendix_is_kept_point_by_point(tiny_bundle: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    bundles = open_bundles([tiny_bundle])

    def run() -> object:
        return ablate(
            bundles, store, frames=4, report=Reporter(quiet=True), amplitudes=(1, 2), widths=(3,)
        )

    found = ablate(
        bundles, store, frames=4, report=Reporter(quiet=True), amplitudes=(1, 2), widths=(3,)
    )
    assert list(found.inverse) == ["0.25x", "0.5x", "0.75x", "1x"]
    assert len(found.forward) == 4
    assert {(p.amplitude, p.fwhm) for p in found.grid} == {(1, 3), (1, 4), (2, 3), (2, 4)}
    assert [p.trained for p in found.grid].count(True) == 1
    assert all(p.score is None for p in found.grid)  # no shipped recipe has its weights
    assert any("Nothing was trained again" in note for note in found.notes)
    files = sorted(store.folder.iterdir())
    assert len(files) == 4
    times = [file.stat().st_mtime_ns for file in files]
    assert run() == found
    assert [file.stat().st_mtime_ns for file in files] == times


def test_the_shipped_weights_behind_their_own_warp_score_as_they_do() -> None:
    """And behind a much stronger one otherwise."""
    recipe = load_recipe("det-demo", {"variant": "fixed"})
    scorer = Scorer(recipe, frames=3)
    (own,) = evaluate({"": torch_predictor(recipe, make_warp(recipe))}, scorer.dataset).values()
    assert scorer(recipe, 1.0, recipe.warp.fwhm).score == pytest.approx(own["AP"], abs=1e-9)
    assert scorer(recipe, 16.0, 14.0).score != pytest.approx(own["AP"], abs=0.5)


def test_points_of_the_grid_are_compared_with_uniform_on_the_same_frames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an interval from the same draws; uniform is scored once a scale."""
    drawn = [float(i % 7) for i in range(400)]
    asked = []

    class Fake:
        def __call__(self, sized: Any, amplitude: float, fwhm: float) -> Scored:
            values = tuple(38.0 + each for each in drawn)
            return Scored(41.0, Resampled(unit="images", groups=9, values=values))

        def uniform(self, recipe: Any) -> Scored:
            asked.append(recipe.scale)
            return Scored(40.0, Resampled(unit="images", groups=9, values=tuple(drawn)))

    bundle: Any = SimpleNamespace(manifest=SimpleNamespace(name="det-demo"))
    store, scorer = Store(tmp_path), Fake()
    bases = _uniform(bundle, store, [0.5], scorer, 64)  # type: ignore[arg-type]
    assert _uniform(bundle, store, [0.5], scorer, 64) == bases  # type: ignore[arg-type]
    assert asked == [0.5]
    recipe = tiny_recipe(tmp_path)
    saliency = box_saliency(np.array([[70.0, 40, 90, 60]]), (96, 160), (7, 11), bandwidth=16)
    point = _point(saliency, 2, 4, recipe, "k", scorer, bases[0.5])  # type: ignore[arg-type]
    assert point.score == 41.0
    assert point.gain == Gain(difference=1.0, low=38.0, high=38.0)
    assert _point(saliency, 2, 4, recipe, "k", scorer, None).gain is None  # type: ignore[arg-type]
    assert _uniform(bundle, store, [0.5], None, 64) == {}


def test_a_warp_that_is_not_separable_is_refused(tiny_bundle: Path, tmp_path: Path) -> None:
    (bundle,) = open_bundles([tiny_bundle])
    recipe = bundle.manifest.recipe
    plane = recipe.model_copy(update={"warp": recipe.warp.model_copy(update={"separable": False})})
    bundle.manifest = bundle.manifest.model_copy(update={"recipe": plane})
    with pytest.raises(LzuError, match="needs separable warps"):
        ablate([bundle], Store(tmp_path), frames=0, report=Reporter(quiet=True))


def test_without_a_fixed_warp_there_is_none(tiny_bundle: Path, tmp_path: Path) -> None:
    (bundle,) = open_bundles([tiny_bundle])
    bundle.manifest = bundle.manifest.model_copy(update={"variant": "uniform"})
    with pytest.raises(LzuError, match="the ablation needs the fixed warp"):
        ablate([bundle], Store(tmp_path), frames=0, report=Reporter(quiet=True))
