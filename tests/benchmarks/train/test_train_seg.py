"""Training of the demonstration models of segmentation: targets, steps, figures, what ships."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lzu_benchmarks.scenes import LABELS, Sequence, render  # noqa: E402
from lzu_benchmarks.train.label_cache import LabelCache, mean_saliency  # noqa: E402
from lzu_benchmarks.train.schedule import Picks  # noqa: E402
from lzu_benchmarks.train.seg import (  # noqa: E402
    SERIES,
    Segmenter,
    class_weights,
    evaluate,
    make_batch,
    upsampling,
)
from lzu_benchmarks.train.seg_figures import (  # noqa: E402
    COLUMNS,
    bootstrap_difference,
    compare,
    readme,
    third_values,
    values,
    whole,
)
from lzu_benchmarks.train.series import recipes_in, train  # noqa: E402
from lzu_export.evaluation.metrics.segmentation import SegmentationEvaluation, class_iou, summarise  # noqa: E402
from lzu_export.models.checkpoint import load_into, load_state  # noqa: E402
from lzu_export.recipes import load_recipe  # noqa: E402
from lzu_export.recipes.schema import SegRecipe  # noqa: E402
from lzu_export.tasks.seg.parts import Decode  # noqa: E402
from lzu_export.tasks.warps import make_warp, trained_note  # noqa: E402

KEYS = [(10_000, 0), (10_000, 20), (10_001, 0), (10_001, 20)]


@pytest.fixture(scope="module")
def recipes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, SegRecipe]:
    out = tmp_path_factory.mktemp("seg")
    settings = recipes_in(out, SERIES.recipe)["uniform"].warp
    np.save(out / "saliency.npy", mean_saliency(settings, KEYS, processes=1).astype(np.float32))
    return recipes_in(out, SERIES.recipe)


@pytest.fixture(scope="module")
def cache(recipes: dict[str, SegRecipe], tmp_path_factory: pytest.TempPathFactory) -> LabelCache:
    return LabelCache(tmp_path_factory.mktemp("frames"), recipes, KEYS, processes=1)


def test_recipe_fits_the_renderer(recipes: dict[str, SegRecipe]) -> None:
    recipe = recipes["fixed"]
    assert recipe.classes == LABELS
    assert recipe.canvas == (90, 160)
    assert recipe.network_input == (96, 160)


def test_saliency_is_symmetric_and_zooms_the_horizon(recipes: dict[str, SegRecipe]) -> None:
    warp = make_warp(recipes["fixed"])
    assert np.abs(warp.saliency - warp.saliency[:, ::-1]).max() < 1e-9
    closest = np.diff(warp.knots_y).argmin() / (len(warp.knots_y) - 2)
    assert 0.35 < closest < 0.65


def test_both_heads_work_at_one_resolution(
    recipes: dict[str, SegRecipe], cache: LabelCache
) -> None:
    for variant, recipe in recipes.items():
        logits = Segmenter(recipe).eval()(torch.from_numpy(np.array(cache.images(variant)[:1])))
        assert tuple(logits.shape) == (1, 13, 48, 80)


def test_mirrored_batch_is_the_mirror_image(cache: LabelCache) -> None:
    images, labels = cache.images("fixed"), cache.labels()
    every = (slice(None), slice(None))
    picks = Picks(np.array([1, 1]), np.array([False, True]))
    canvases, targets = make_batch(images, labels, picks, every)
    assert torch.equal(canvases[0].flip(1), canvases[1])
    assert torch.equal(targets[0].flip(1), targets[1])
    assert tuple(targets.shape) == (2, 360, 640)
    np.testing.assert_array_equal(targets[0], render(Sequence(10_000), 20).labels)
    coarse = make_batch(images, labels, picks, (slice(3, None, 4),) * 2)
    assert torch.equal(coarse[1], targets[:, 3::4, 3::4])


def test_loss_upsamples_as_the_deployed_class_map(recipes: dict[str, SegRecipe]) -> None:
    logits = torch.randn(1, 13, 48, 80, generator=torch.Generator().manual_seed(0))
    rows, columns = upsampling(recipes["fixed"])
    deployed, _ = Decode(recipes["fixed"])([[logits]])
    torch.testing.assert_close(rows @ (logits @ columns.T), deployed, atol=1e-5, rtol=0)


def test_upsampled_cells_stand_on_their_pixels(recipes: dict[str, SegRecipe]) -> None:
    """Logits cell i is at canvas pixel 2 i, which is at source pixel 2 i * 359 / 89."""
    rows, _ = upsampling(recipes["uniform"])
    centre = (rows * torch.arange(48)).sum(dim=1)
    wanted = np.minimum(np.arange(360) * 89 / 359 / 2, 47)
    np.testing.assert_allclose(centre, wanted, atol=1e-4)


def test_rare_classes_weigh_more() -> None:
    labels = np.repeat(np.array([0, 1], np.uint8), [90, 10])
    weights = class_weights(labels, 2)
    assert weights[1] / weights[0] == pytest.approx(3, rel=1e-5)
    assert np.average(weights, weights=[90, 10]) == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize("variant", ["uniform", "fixed"])
def test_loss_decreases_in_twelve_steps(
    recipes: dict[str, SegRecipe], cache: LabelCache, variant: str
) -> None:
    schedule = replace(SERIES.schedule, epochs=12, batch=4)
    segmenter, losses = train(SERIES, recipes[variant], cache, schedule)
    assert isinstance(segmenter, Segmenter)
    assert len(losses) == 12
    assert np.mean(losses[-3:]) < 0.9 * np.mean(losses[:3])
    counts = evaluate(segmenter, recipes[variant], cache)
    assert counts.shape == (2, 4, 13, 14)
    assert counts[:, 1:].sum() == len(KEYS) * 360 * 640


def random_counts(seed: int, right: float) -> np.ndarray:
    """Counts of 5 sequences, of which a share was predicted right."""
    random = np.random.default_rng(seed)
    counts = []
    for _ in range(5):
        evaluation = SegmentationEvaluation(LABELS)
        truth = random.integers(0, 13, (24, 24))
        guess = random.integers(0, 13, (24, 24))
        found = np.where(random.random((24, 24)) < right, truth, guess)
        evaluation.add(truth, found, name="frame")
        counts.append(evaluation.counts)
    return np.stack(counts)


def test_values_are_those_of_the_evaluation() -> None:
    counts = random_counts(0, 0.7)
    found = values(counts.sum(axis=0))
    for name, value in summarise(counts.sum(axis=0)).items():
        assert found[name] == pytest.approx(value)
    assert set(found) == {*COLUMNS, *LABELS}


def test_thirds_are_compared_class_by_class_where_there_is_enough_of_a_class() -> None:
    counts = random_counts(0, 0.7)
    lower = 100 * class_iou(counts.sum(axis=0)[-1])[LABELS.index("car")]
    assert third_values(counts.sum(axis=0))["car, lower"] == pytest.approx(lower)
    counts *= 10
    counts[:, -1, LABELS.index("pole")] = 0
    counts[0, -1, LABELS.index("pole"), 0] = 1
    found = compare({"uniform": [counts], "fixed": [counts]})
    assert found["rare"] == {"upper": [], "middle": [], "lower": ["pole"]}
    assert "car, lower" in found["third_gain"]
    assert "pole, lower" not in found["third_gain"]


def test_bootstrap_pairs_runs_and_holds_the_difference() -> None:
    baseline = [random_counts(0, 0.5), random_counts(1, 0.6)]
    candidate = [random_counts(0, 0.7), random_counts(1, 0.8)]
    gain = bootstrap_difference(baseline, candidate, resamples=200)["mIoU"]
    wanted = np.mean(
        [whole(b)["mIoU"] - whole(a)["mIoU"] for a, b in zip(baseline, candidate, strict=True)]
    )
    assert gain.difference == pytest.approx(wanted)
    assert 0 < gain.low < gain.difference < gain.high
    same = bootstrap_difference(baseline, baseline, resamples=20)["mIoU"]
    assert (same.difference, same.low, same.high) == (0, 0, 0)


def test_readme_names_what_is_not_shown_and_what_it_costs() -> None:
    counts = {v: [random_counts(s, 0.5) for s in (0, 1)] for v in ("uniform", "fixed")}
    runs = [
        {"variant": v, "seed": s, "steps": 9, "cpu_seconds": 60.0, "summary": whole(counts[v][s])}
        for s in (0, 1)
        for v in ("uniform", "fixed")
    ]
    record = {
        "command": "train", "machine": "a machine", "frames": 5, "runs": runs,
        "rows": [0.3, 0.5, 0.2], "seconds": 120.0, "cpu_seconds": 240.0, **compare(counts),
    }  # fmt: skip
    text = readme(record)
    assert "| uniform, seed 1 |" in text
    assert "not shown either way, is the difference in: mIoU, mIoU_boundary" in text
    record["gain"]["mIoU_lower"] = {
        "difference": -1.5, "low": -2.0, "high": -1.0, "resamples": 9, "groups": 5,
    }  # fmt: skip
    record["third_gain"] = {"sidewalk, lower": record["gain"]["mIoU_lower"]}
    text = readme(record)
    assert "fixed is worse in: mIoU_lower." in text
    assert "third of the frame 30, 50 and 20 % of the canvas's rows" in text
    assert "worse in: sidewalk, lower -1.50 [-2.00, -1.00]" in text


@pytest.mark.parametrize(("variant", "least"), [("uniform", 40), ("fixed", 40)])
def test_shipped_weights_know_the_streets(variant: str, least: float, tmp_path: Path) -> None:
    recipe = load_recipe(SERIES.recipe, {"variant": variant})
    assert isinstance(recipe, SegRecipe)
    path = recipe.checkpoint[recipe.variant]
    if not path.exists():
        pytest.skip("no weights yet: make train-seg")
    segmenter = Segmenter(recipe)
    load_into(segmenter.network, load_state(path), name=str(path))
    keys = [(seed, index) for seed in range(6) for index in (0, 20)]
    cache = LabelCache(tmp_path, {variant: recipe}, keys, processes=1)
    assert whole(evaluate(segmenter.eval(), recipe, cache))["mIoU"] > least
    assert trained_note(recipe, make_warp(recipe).saliency)["variant"] == variant
