"""Training of the demonstration detectors: targets, losses and a few steps."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lzu_benchmarks.scenes import Sequence, render  # noqa: E402
from lzu_benchmarks.train.assign import assign, overlap  # noqa: E402
from lzu_benchmarks.train.cache import Cache, fixed_saliency  # noqa: E402
from lzu_benchmarks.train.det import Detector, detect, make_batch, train  # noqa: E402
from lzu_benchmarks.train.loss import focal_loss, giou_loss  # noqa: E402
from lzu_benchmarks.train.record import add_record  # noqa: E402
from lzu_benchmarks.train.schedule import Picks, Schedule  # noqa: E402
from lzu_benchmarks.train.setup import Setup, zoom  # noqa: E402
from lzu_export.models.checkpoint import save_checkpoint  # noqa: E402
from lzu_export.recipes import load_recipe  # noqa: E402
from lzu_export.tasks.training import training_record  # noqa: E402
from lzu_export.tasks.warps import make_warp  # noqa: E402


@pytest.fixture(scope="module")
def setup() -> Setup:
    return Setup()


@pytest.fixture(scope="module")
def saliency(setup: Setup) -> np.ndarray:
    frames = [render(Sequence(seed), 0) for seed in range(10_000, 10_006)]
    return fixed_saliency(setup, np.concatenate([f.boxes[~f.ignore] for f in frames]))


@pytest.fixture(scope="module")
def cache(setup: Setup, saliency: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return Cache(tmp_path_factory.mktemp("frames"), setup, saliency, sequences=2, processes=1)


def test_canvas_needs_padding(setup: Setup) -> None:
    assert setup.canvas == (180, 320)
    assert setup.network_input == (192, 320)


def test_saliency_is_symmetric_and_zooms_the_horizon(setup: Setup, saliency: np.ndarray) -> None:
    np.testing.assert_allclose(saliency, saliency[:, ::-1], rtol=1e-12)
    knots_x, knots_y = setup.knots(saliency)
    np.testing.assert_allclose(knots_x, -knots_x[::-1], atol=1e-12)
    closest = np.diff(knots_y).argmin() / (len(knots_y) - 2)
    assert 0.35 < closest < 0.65
    assert np.diff(knots_y).min() < 0.7 * 2 / (len(knots_y) - 1)


def test_uniform_zoom_is_the_identity_warp_by_the_same_sampler(setup: Setup) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*setup.source, 3), dtype=np.uint8)
    rows, columns = setup.zoom_matrices(None)
    canvas = zoom(image, (rows, columns))
    np.testing.assert_array_equal(canvas[[0, 0, -1, -1], [0, -1, 0, -1]],
                                  image[[0, 0, -1, -1], [0, -1, 0, -1]])  # fmt: skip
    np.testing.assert_allclose(rows.sum(axis=1), 1, atol=1e-6)
    assert setup.unzoom_matrices(None) is None


def test_mirroring_commutes_with_the_fixed_zoom(setup: Setup, saliency: np.ndarray) -> None:
    image = render(Sequence(1), 0).image
    matrices = setup.zoom_matrices(saliency)
    mirrored = zoom(np.ascontiguousarray(image[:, ::-1]), matrices)
    change = mirrored.astype(int) - zoom(image, matrices)[:, ::-1]
    assert np.abs(change).max() <= 1


def test_every_object_gets_an_anchor_near_it(setup: Setup) -> None:
    frame = render(Sequence(2), 0)
    boxes = frame.boxes / setup.label_scale
    anchors = setup.anchors()
    found = assign(boxes, frame.ignore, anchors, setup.config.per_cell)
    learnt = set(np.flatnonzero(~frame.ignore).tolist())
    # Two objects in one place may compete for the same anchor, so nearly all.
    assert len(learnt & set(found.object.tolist())) >= 0.9 * len(learnt)
    assert not set(found.object.tolist()) - learnt
    assert not set(found.positive.tolist()) & set(found.ignored.tolist())
    every = np.concatenate(anchors)
    assert (overlap(every[found.positive], boxes[found.object]) > 0).all()


def test_losses_are_zero_for_right_answers() -> None:
    boxes = torch.tensor([[0.0, 0, 4, 6], [2, 2, 5, 9]])
    assert float(giou_loss(boxes, boxes)) == pytest.approx(0, abs=1e-6)
    assert float(giou_loss(boxes[:1], boxes[:1] + 100)) > 1
    target = torch.tensor([[[1.0, 0.0]]])
    keep = torch.ones(1, 1, 1)
    assert float(focal_loss((target - 0.5) * 60, target, keep)) < 1e-6
    # A probability of one half: alpha * 0.5^gamma * log 2 for the object, 1 - alpha for the rest.
    expected = (0.25 + 0.75) * 0.25 * np.log(2)
    assert float(focal_loss(target * 0, target, keep)) == pytest.approx(expected, rel=1e-6)
    assert float(focal_loss(target * 0, target, keep * 0)) == 0


def test_mirrored_targets_are_mirrored_boxes(setup: Setup, cache: Cache) -> None:
    plain, mirrored = cache.targets(0, False), cache.targets(0, True)
    width = setup.source[1] / setup.label_scale[0]
    turned = mirrored.boxes.astype(float)[:, [2, 1, 0, 3]] * [-1, 1, -1, 1] + [width, 0, width, 0]
    there = {tuple(b) for b in np.round(plain.boxes.astype(float), 1).tolist()}
    back = {tuple(b) for b in np.round(turned, 1).tolist()}
    assert len(there & back) >= 0.8 * len(there)


@pytest.mark.parametrize("variant", ["uniform", "fixed"])
def test_loss_decreases_in_twenty_steps(
    setup: Setup, saliency: np.ndarray, cache: Cache, variant: str, tmp_path: Path
) -> None:
    chosen = saliency if variant == "fixed" else None
    detector, losses = train(setup, chosen, cache, Schedule(epochs=10, batch=4, rate=2e-3))
    assert len(losses) == 20
    assert np.isfinite(losses).all()
    assert np.mean(losses[-4:]) < 0.9 * np.mean(losses[:4])
    found = detect(detector, setup, np.array(cache.images(variant)[:1]), [17])
    assert all(d["image_id"] == 17 and d["score"] > 0.05 for d in found)


def test_fixed_detector_unzooms_every_level(
    setup: Setup, saliency: np.ndarray, cache: Cache
) -> None:
    picks = Picks(np.array([0, 1]), np.array([False, True]))
    canvases, targets = make_batch(cache, cache.images("fixed"), picks)
    assert len(targets["labels"]) == len(targets["boxes"]) == len(targets["positive"][0])
    detector = Detector(setup, saliency).eval()
    logits, deltas = detector(canvases)
    sizes = [tuple(x.shape[2:]) for x in logits]
    assert sizes == [level.size for level in setup.levels]
    assert sizes == [tuple(x.shape[2:]) for x in deltas]


def test_a_record_is_added_without_a_change_of_the_weights(tmp_path: Path) -> None:
    """Of a checkpoint that remembered less; its own texts stay."""
    recipe = load_recipe("seg", {"variant": "uniform"})
    path = tmp_path / "old.pth"
    state = {"a.weight": torch.rand(3, 2), "a.bias": torch.rand(3), "n": torch.tensor(4)}
    save_checkpoint(path, state, meta={"variant": "uniform", "author": "me"})
    before = torch.load(path, weights_only=True)
    add_record(path, recipe)
    after = torch.load(path, weights_only=True)
    for name, value in before["state_dict"].items():
        assert after["state_dict"][name].dtype == value.dtype
        assert torch.equal(after["state_dict"][name], value)
    assert after["meta"]["author"] == "me"
    assert training_record(recipe, make_warp(recipe).saliency).items() <= after["meta"].items()
    once = path.read_bytes()
    add_record(path, recipe)
    assert path.read_bytes() == once


def test_trainings_write_the_record_of_their_recipe() -> None:
    """The detectors are trained from a setup of their own, which must say the same."""
    for variant in ("uniform", "adaptive", "fovea", "fixed"):
        recipe = load_recipe("det", {"variant": variant})
        saliency = make_warp(recipe).saliency
        chosen = saliency if variant == "fixed" else None
        assert Setup().record(variant, chosen) == training_record(recipe, saliency)
    assert Setup(scale=0.25).record("uniform")["scale"] == "0.25"
