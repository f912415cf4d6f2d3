"""Training of the adaptive demonstration detector: drawn boxes, warps, a few steps, feedback."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lzu_benchmarks.scenes import Sequence, render  # noqa: E402
from lzu_benchmarks.train import adaptive_figures  # noqa: E402
from lzu_benchmarks.train.adaptive import (  # noqa: E402
    DETECTORS,
    BoxSource,
    Shown,
    feedback,
    nothing,
    run_sequences,
    train,
    truth,
)
from lzu_benchmarks.train.adaptive_detectors import (  # noqa: E402
    AdaptiveDetector,
    FoveaDetector,
    Zoomer,
    load,
    warp_boxes,
)
from lzu_benchmarks.train.cache import mirror  # noqa: E402
from lzu_benchmarks.train.det import Detector, Found  # noqa: E402
from lzu_benchmarks.train.drawn_boxes import (  # noqa: E402
    Noise,
    jitter,
    like_detections,
    padded,
)
from lzu_benchmarks.train.film import KEPT, TRAINED, Film  # noqa: E402
from lzu_benchmarks.train.schedule import Schedule  # noqa: E402
from lzu_benchmarks.train.setup import Setup, zoom  # noqa: E402
from lzu_export.evaluation.metrics.coco import AREAS  # noqa: E402
from lzu_export.models.checkpoint import save_checkpoint  # noqa: E402

NONE = np.zeros((0, 4))


@pytest.fixture(scope="module")
def setup() -> Setup:
    return Setup()


@pytest.fixture(scope="module")
def film(setup: Setup, tmp_path_factory: pytest.TempPathFactory) -> Film:
    return Film(tmp_path_factory.mktemp("film"), setup, sequences=2, processes=1)


@pytest.fixture(scope="module")
def detector(setup: Setup) -> AdaptiveDetector:
    torch.manual_seed(3)
    return AdaptiveDetector(setup).eval()


def test_the_film_knows_each_trained_frame_and_the_one_before(film: Film) -> None:
    assert film.count == 2 * len(TRAINED)
    sequence = Sequence(10_001)
    for number, index in ((5, TRAINED[1]), (4, TRAINED[0])):
        frame = render(sequence, index)
        place = film.place(number)
        np.testing.assert_array_equal(film.frames[place], frame.image)
        np.testing.assert_array_equal(film.boxes(place), frame.boxes[~frame.ignore])
        np.testing.assert_array_equal(film.objects(place).classes, frame.classes)
    assert film.before(5) == film.place(5) - 1
    assert film.before(4) == film.place(4) + 1  # within its own sequence
    assert len(film.frames) == 2 * len(KEPT)
    assert film.targets(5, False).labels.size > 0


def test_drawn_boxes_are_near_the_truth_and_as_many_as_detections(film: Film) -> None:
    random = np.random.default_rng(0)
    boxes, others = film.boxes(0), film.boxes(9)
    drawn = [like_detections(boxes, others, Noise(), random) for _ in range(300)]
    empty = sum(not len(each) for each in drawn) / len(drawn)
    assert 0.05 < empty < 0.2
    mean = np.mean([len(each) for each in drawn if len(each)])
    assert 2 * len(boxes) < mean < 5 * len(boxes)
    every = np.concatenate(drawn)
    assert (every[:, 2:] > every[:, :2]).all()
    exact = Noise(empty=0, shift=0, stretch=0, dropped=0, repeated=0, strange=0)
    np.testing.assert_allclose(like_detections(boxes, others, exact, random), boxes)
    assert not len(like_detections(NONE, others, Noise(empty=0), random))


def test_jitter_is_in_proportion_to_the_sides() -> None:
    boxes = np.tile([[100.0, 50, 140, 60]], (4000, 1))
    moved = jitter(boxes, 0.1, 0.2, np.random.default_rng(1))
    centres = (moved[:, :2] + moved[:, 2:]) / 2 - [120, 55]
    np.testing.assert_allclose(centres.std(axis=0), [4, 1], rtol=0.05)
    sides = np.log((moved[:, 2:] - moved[:, :2]) / [40, 10])
    np.testing.assert_allclose(sides.std(axis=0), [0.2, 0.2], rtol=0.05)


def test_batches_of_boxes_are_padded() -> None:
    boxes, valid = padded([NONE, np.ones((2, 4))])
    assert boxes.shape == (2, 2, 4)
    np.testing.assert_array_equal(valid, [[0, 0], [1, 1]])
    assert padded([NONE])[0].shape == (1, 1, 4)


def test_zoom_is_that_of_the_operator(setup: Setup, film: Film) -> None:
    images = [np.array(film.frames[place]) for place in (0, 9)]
    zoomed = Zoomer(setup)(images, [film.boxes(1), film.boxes(8)])
    pictures = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float()
    with torch.no_grad():  # in training positions are single numbers
        expected = torch.ops.lzu.separable_zoom(
            pictures, zoomed.knots_x, zoomed.knots_y, list(setup.canvas), [0, 0]
        )
    np.testing.assert_allclose(zoomed.canvases.permute(0, 3, 1, 2), expected, atol=2e-3)


def test_mirrored_boxes_zoom_the_mirrored_frame(setup: Setup, film: Film) -> None:
    image, boxes = np.array(film.frames[0]), film.boxes(1)
    turned = mirror(boxes, setup.source[1])
    canvases = Zoomer(setup)([image, image[:, ::-1]], [boxes, turned]).canvases.numpy()
    np.testing.assert_allclose(canvases[1][:, ::-1], canvases[0], atol=0.05)


def test_without_boxes_it_is_the_uniform_detector(
    setup: Setup, film: Film, detector: AdaptiveDetector
) -> None:
    image = np.array(film.frames[0])
    zoomed = Zoomer(setup)([image], [NONE])
    uniform = Detector(setup, None).eval()
    uniform.network.load_state_dict(detector.network.state_dict())
    plain = torch.from_numpy(zoom(image, setup.zoom_matrices(None))[None])
    assert float((zoomed.canvases - plain).abs().max()) < 0.51
    with torch.inference_mode():
        adaptive = detector(*zoomed)
        expected = uniform(zoomed.canvases)
    for mine, theirs in zip(adaptive[0] + adaptive[1], expected[0] + expected[1], strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-3)


def test_the_others_start_from_the_same_weights(setup: Setup) -> None:
    states = []
    for make in (
        lambda: Detector(setup, None),
        *(lambda m=m: m(setup) for m in DETECTORS.values()),
    ):
        torch.manual_seed(0)
        states.append(make().network.state_dict())
    for other in states[1:]:
        assert all(torch.equal(value, other[name]) for name, value in states[0].items())


def test_fovea_learns_and_finds_through_the_warp(setup: Setup, film: Film) -> None:
    objects = film.objects(film.place(1))
    zoomed = Zoomer(setup)([np.array(film.frames[film.place(1)])], [film.boxes(film.before(1))])
    knots = [each[0].numpy() for each in zoomed[1:]]
    shown = warp_boxes(objects.boxes, setup, *knots)
    fovea = FoveaDetector(setup).eval()
    to_source = fovea.to_source(*zoomed[1:])
    inside = (objects.boxes[:, :2] >= 0).all(axis=1) & (
        objects.boxes[:, 2:] <= np.array(setup.source[::-1]) - 1
    ).all(axis=1)
    assert inside.sum() > 10
    back = to_source(torch.from_numpy(shown[None]).float())[0].numpy()
    np.testing.assert_allclose(back[inside], objects.boxes[inside], atol=2e-3)
    growth = (shown[:, 2:] - shown[:, :2]) / ((objects.boxes[:, 2:] - objects.boxes[:, :2]) / 2)
    assert np.median(growth) > 1.2  # objects where the warp looks are larger than in the others'
    targets = fovea.targets(film, 1, False, zoomed.knots_x[0], zoomed.knots_y[0])
    distance = np.abs(targets.boxes[:, None] - shown[None]).max(axis=2)
    owner = distance.argmin(axis=1)
    assert distance.min(axis=1).max() < 1e-3
    np.testing.assert_array_equal(targets.labels, objects.classes[owner])
    assert not objects.ignore[owner].any()
    mirrored = fovea.targets(film, 1, True, zoomed.knots_x[0], zoomed.knots_y[0])
    assert not np.array_equal(mirrored.boxes, targets.boxes)


def test_fovea_without_boxes_learns_what_the_others_do(setup: Setup, film: Film) -> None:
    zoomed = Zoomer(setup)([np.array(film.frames[film.place(2)])], [NONE])
    knots = (zoomed.knots_x[0], zoomed.knots_y[0])
    for flipped in (False, True):
        mine = FoveaDetector(setup).targets(film, 2, flipped, *knots)
        theirs = film.targets(2, flipped)
        np.testing.assert_allclose(mine.boxes, theirs.boxes, atol=2e-3)
        np.testing.assert_array_equal(mine.labels, theirs.labels)


def test_the_cascade_replaces_the_truth(
    setup: Setup, film: Film, detector: AdaptiveDetector
) -> None:
    source = BoxSource(film, Noise(empty=0, shift=0, stretch=0), seed=0)
    count = source.cascade(detector)
    detector.eval()
    taken = [source.before(index) for index in range(film.count)]
    assert count == pytest.approx(np.mean([len(source.before(i)) for i in (0, 2, 3, 4, 6, 7)]))
    np.testing.assert_array_equal(taken[0], taken[1])  # one frame is before both


def test_loss_decreases_through_the_cascade(setup: Setup, film: Film, tmp_path: Path) -> None:
    log = tmp_path / "log"
    torch.manual_seed(0)
    trained = AdaptiveDetector(setup)
    losses = train(trained, film, Schedule(epochs=8, batch=4, log=log))
    assert len(losses) == 16
    assert np.isfinite(losses).all()
    assert np.mean(losses[-3:]) < 0.9 * np.mean(losses[:3])
    assert "own detections from step 11" in log.read_text()
    path = tmp_path / "adaptive.pth"
    save_checkpoint(path, trained.network.state_dict(), meta={})
    other = AdaptiveDetector(setup)
    load(path, other)
    for name, value in trained.network.named_parameters():
        np.testing.assert_allclose(
            other.network.get_parameter(name).detach(), value.detach(), rtol=1e-3, atol=1e-6
        )


def test_detections_of_the_frame_before_are_fed_back(
    setup: Setup, film: Film, detector: AdaptiveDetector
) -> None:
    # Sequences of unequal length, so that the longer one goes on alone.
    shown = [
        [Shown(10 * s + at, np.array(film.frames[7 * s + at]), film.boxes(7 * s + at)) for at in n]
        for s, n in ((0, range(1)), (1, range(3)))
    ]
    results = run_sequences(detector, shown, feedback)
    zoomer, boxes = Zoomer(setup), NONE
    for frame in shown[1]:
        (found,) = detector.detect(zoomer([frame.image], [boxes]))
        mine = [each for each in results if each["image_id"] == frame.frame_id]
        np.testing.assert_allclose([d["score"] for d in mine], found.scores, atol=1e-4)
        boxes = feedback(frame, found)
    assert {d["image_id"] for d in results} <= {0, 10, 11, 12}
    empty = Found(NONE, np.zeros(0), np.zeros(0, np.int64))
    np.testing.assert_array_equal(truth(shown[0][0], empty), film.boxes(0))
    assert not len(nothing(shown[0][0], empty))


def test_the_section_replaces_an_older_one() -> None:
    columns = ("AP", "AP50", "AP75", *(f"AP_{name}" for name in AREAS))
    accuracy = {name: dict.fromkeys(columns, 40.0 + i) for i, name in
                enumerate(adaptive_figures.ROWS)}  # fmt: skip
    interval = {"difference": 1.0, "low": 0.5, "high": 1.5, "resamples": 1000, "groups": 64}
    figures = {
        "accuracy": accuracy,
        "classes": {name: {"car": 50.0} for name in adaptive_figures.ROWS},
        "differences": [{"over": a, "of": b, "AP": interval} for a, b in adaptive_figures.PAIRS],
        "frames": 512,
        "sequences": 64,
        "objects": 9,
    }
    record = {
        "command": "make it",
        "machine": "a machine",
        "setup": {"fwhm": 10.0, "amplitude": 1.0, "bandwidth": 32.0},
        "runs": [
            {"variant": name, "steps": 4500, "seconds": 1500.0, "cpu_seconds": 1400.0}
            for name in DETECTORS
        ],
        "frames": 4000,
        "seed": 0,
    }
    section = adaptive_figures.section(figures, record)
    assert "| adaptive, feedback | 43.00 |" in section
    assert "| adaptive, feedback - fixed | +1.00 [+0.50, +1.50] |" in section
    assert "adaptive 1500 s, fovea 1500 s" in section
    text = adaptive_figures.with_section("# Title\n\nText.\n", "## Adaptive\n\nold\n")
    text = adaptive_figures.with_section(text, section)
    assert text == f"# Title\n\nText.\n\n{section}"
