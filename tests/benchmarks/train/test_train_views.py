"""Training on a larger input, a window or tiles: views, targets and the command."""

import json
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lzu_benchmarks.demo.dataset import open_demo  # noqa: E402
from lzu_benchmarks.scenes import Sequence, render  # noqa: E402
from lzu_benchmarks.train import det, figures  # noqa: E402
from lzu_benchmarks.train.cache import Cache, frame_targets, mirror  # noqa: E402
from lzu_benchmarks.train.det import Found, in_frame  # noqa: E402
from lzu_benchmarks.train.figures import compare, seed_lines  # noqa: E402
from lzu_benchmarks.train.setup import Setup, zoom  # noqa: E402
from lzu_benchmarks.train.views import views_of  # noqa: E402
from lzu_benchmarks.train.windows import (  # noqa: E402
    best_band,
    parse_tiles,
    parse_window,
    seen_in,
    tiles,
)
from lzu_export.errors import LzuError  # noqa: E402
from lzu_export.evaluation.metrics.coco import bootstrap_ap_differences  # noqa: E402
from lzu_export.models.checkpoint import load_checkpoint  # noqa: E402
from lzu_export.recipes import load_recipe  # noqa: E402
from lzu_export.recipes.sections import Window  # noqa: E402
from lzu_export.tasks.training import training_record  # noqa: E402
from lzu_export.tasks.warps import make_warp  # noqa: E402

SOURCE = (360, 640)


def test_tiles_fill_the_frame_with_sahi_s_overlap() -> None:
    two = tiles(SOURCE, (2, 2))
    assert {(w.height, w.width) for w in two} == {(200, 356)}
    assert [(w.x, w.y) for w in two] == [(0, 0), (284, 0), (0, 160), (284, 160)]
    covered = np.zeros(SOURCE, bool)
    for w in tiles(SOURCE, (3, 4)):
        assert w.x + w.width <= 640
        assert w.y + w.height <= 360
        covered[w.y : w.y + w.height, w.x : w.x + w.width] = True
    assert covered.all()


def test_tiles_are_those_of_the_sahi_package() -> None:
    slicing = pytest.importorskip("sahi.slicing", reason="needs the package of the extra sahi")
    for counts in ((2, 2), (1, 3), (3, 2)):
        mine = tiles(SOURCE, counts)
        theirs = slicing.get_slice_bboxes(
            *SOURCE,
            slice_height=mine[0].height,
            slice_width=mine[0].width,
            auto_slice_resolution=False,
        )
        assert [[w.x, w.y, w.x + w.width, w.y + w.height] for w in mine] == theirs


def test_views_cost_no_more_than_the_whole_frame() -> None:
    whole = Setup()
    tiled = views_of(whole, counts="2x2")
    assert tiled.setup.canvas == (180, 320)
    assert tiled.setup.network_input == whole.network_input
    assert tiled.windows is not None
    assert len(tiled.windows) == 4
    larger = views_of(replace(whole, scale=0.75))
    assert larger.setup.network_input == (288, 480)
    assert larger.windows is None
    window, _ = best_band(np.array([[0.0, 100, 10, 110]]), SOURCE, 0.5)
    band = views_of(replace(whole, scale=0.75), [0, window.y, 640, window.height]).setup
    assert np.prod(band.network_input) == np.prod(whole.network_input)


def test_the_band_holds_most_boxes_whole() -> None:
    random = np.random.default_rng(0)
    tops = random.normal(170, 20, 500).clip(0, 300)
    boxes = np.stack([0 * tops, tops, 0 * tops + 20, tops + random.uniform(5, 60, 500)], axis=1)
    window, share = best_band(boxes, SOURCE, 0.5)
    assert (window.x, window.width, window.height) == (0, 640, 170)

    def held(first: int) -> float:
        return float(np.mean((boxes[:, 1] >= first) & (boxes[:, 3] <= first + 170)))

    assert share == held(window.y) == max(map(held, range(191)))
    with pytest.raises(LzuError, match="of 360 rows; give another scale"):
        best_band(boxes, SOURCE, 0.5, zoom=0.5)


def test_a_window_clips_its_objects_and_ignores_those_it_hardly_shows() -> None:
    window = Window(x=100, y=50, width=200, height=100)
    boxes = np.array(
        [[120.0, 60, 160, 90], [90, 60, 130, 90], [60, 60, 110, 90], [400, 60, 420, 90]]
    )
    seen = seen_in(boxes, window)
    np.testing.assert_array_equal(seen.objects, [0, 1, 2])
    np.testing.assert_array_equal(seen.boxes[1], [0, 10, 30, 40])
    np.testing.assert_array_equal(seen.ignored, [False, False, True])


def test_targets_of_a_window_lie_on_its_canvas() -> None:
    setup = views_of(Setup(scale=0.75), [40, 100, 320, 160]).setup
    frame = render(Sequence(10_000), 0)
    assert setup.window is not None
    plain, mirrored = frame_targets(setup, setup.anchors(), frame, setup.window)
    seen = seen_in(frame.boxes, setup.window)
    wanted = seen.boxes[~(frame.ignore[seen.objects] | seen.ignored)] / setup.label_scale
    assert len(wanted) > 0
    for found, boxes in ((plain, wanted), (mirrored, mirror(wanted, 320 / setup.label_scale[0]))):
        distance = np.abs(found.boxes[:, None] - boxes.astype(np.float32)).max(axis=2)
        assert distance.min(axis=1).max() < 1e-3


def test_a_window_s_canvas_is_the_runtime_s_of_a_crop() -> None:
    views = views_of(Setup(scale=0.75), [0, 98, 640, 170])
    image = render(Sequence(3), 0).image
    recipe = load_recipe(
        "det", {"variant": "uniform", "scale": 0.75, "crop": views.setup.window.model_dump()}
    )
    from lzu_export.runtime.preprocess import sampler

    part = image[98:268]
    theirs = np.rint(sampler(make_warp(recipe).zoom, recipe.picture)(part))
    mine = zoom(image, views.setup.zoom_matrices(None), views.setup.window)
    assert mine.shape == theirs.shape
    assert np.abs(mine - theirs).max() <= 1


def test_a_view_is_recorded_with_its_weights() -> None:
    window = {"x": 0, "y": 98, "width": 640, "height": 170}
    crop = views_of(Setup(scale=0.75), list(window.values())).setup
    tiled = views_of(Setup(), counts="2x2").setup
    for setup, changes in (
        (crop, {"scale": 0.75, "crop": window}),
        (tiled, {"scale": 0.9, "source": [200, 356]}),
    ):
        recipe = load_recipe("det", {"variant": "uniform", **changes})
        assert recipe.canvas == setup.canvas
        record = training_record(recipe, make_warp(recipe).saliency)
        assert setup.record("uniform") == record


def test_boxes_of_windows_are_moved_and_those_cut_by_an_inner_edge_dropped() -> None:
    left, right = (Window(x=x, y=0, width=60, height=50) for x in (0, 40))
    first = Found(np.array([[5.0, 5, 15, 15], [45, 10, 60, 30]]), np.ones(2), np.zeros(2, int))
    second = Found(np.array([[5.0, 10, 30, 30]]), np.array([0.9]), np.zeros(1, int))
    found = in_frame([first, second], [left, right], (50, 100))
    np.testing.assert_array_equal(found.boxes, [[5, 5, 15, 15], [45, 10, 70, 30]])
    alone = in_frame([second], [right], (50, 100))
    np.testing.assert_array_equal(alone.boxes, [[45, 10, 70, 30]])


@pytest.mark.parametrize(
    ("text", "message"), [("2", "such as 2x2"), ("0x2", "1 to 8"), ("2x9", "1 to 8")]
)
def test_other_tiles_are_refused(text: str, message: str) -> None:
    with pytest.raises(LzuError, match=message):
        parse_tiles(text)


@pytest.mark.parametrize("window", [(0, 0, 641, 100), (-1, 0, 64, 64), (0, 0, 64, 16)])
def test_other_windows_are_refused(window: tuple[int, ...]) -> None:
    with pytest.raises(LzuError, match="within the frame of 640x360"):
        parse_window(window, SOURCE)


def test_tiles_are_images_of_their_own(tmp_path: Path) -> None:
    setup, windows = views_of(Setup(), counts="1x2")
    cache = Cache(tmp_path, setup, None, sequences=1, processes=1, windows=windows)
    assert cache.count == 2 * 4
    images = cache.images("uniform")
    assert images.shape == (8, *setup.canvas, 3)
    assert not (cache.folder / "fixed.npy").exists()
    frame = render(Sequence(10_000), 0)
    np.testing.assert_array_equal(
        images[1], zoom(frame.image, setup.zoom_matrices(None), windows[1])
    )
    plain, _ = frame_targets(setup, setup.anchors(), frame, windows[1])
    np.testing.assert_array_equal(cache.targets(1, False).boxes, plain.boxes)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--window", "0", "0", "64", "64", "--tiles", "2x2"], "give one of them"),
        (["--tiles", "2x2"], "--variants uniform"),
    ],
)
def test_contradictions_are_refused(
    more: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    work = ["--out", str(tmp_path / "out"), "--work", str(tmp_path / "work")]
    monkeypatch.setattr(sys, "argv", ["det", *work, *more])
    with pytest.raises(SystemExit) as ended:
        det.main()
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_figures_of_several_seeds_are_averaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = partial(bootstrap_ap_differences, resamples=10)
    monkeypatch.setattr(figures, "bootstrap_ap_differences", quick)
    dataset = open_demo("val", 4)
    truth = dataset.coco_ground_truth()
    boxes = [{**a, "score": 0.5} for a in truth["annotations"] if not a["iscrowd"]]
    every, few = boxes, boxes[::4]
    files = {"uniform": few, "fixed": every, "uniform-1": few, "fixed-1": few}
    for name, found in files.items():
        (tmp_path / f"{name}.detections.json").write_text(json.dumps(found))
    runs = [{"uniform": "uniform", "fixed": "fixed"}, {"uniform": "uniform-1", "fixed": "fixed-1"}]
    one, two = (compare(tmp_path, 4, runs[:n]) for n in (1, 2))
    assert one["accuracy"]["fixed"]["AP"] == pytest.approx(100)
    assert two["gain"]["AP"]["difference"] == pytest.approx(one["gain"]["AP"]["difference"] / 2)
    half = (100 + two["accuracy"]["uniform"]["AP"]) / 2
    assert two["accuracy"]["fixed"]["AP"] == pytest.approx(half)
    assert seed_lines(one["seeds"])[0].startswith("One seed")
    assert "fixed 100.00, " in seed_lines(two["seeds"])[0]


@pytest.mark.slow  # two trainings of two steps each, in processes of their own
def test_the_command_trains_every_seed_on_tiles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, work = tmp_path / "out", tmp_path / "work"
    words = ["--out", str(out), "--work", str(work), "--sequences", "1", "--epochs", "1", "--json"]
    words += ["--variants", "uniform", "--tiles", "2x2", "--seeds", "3", "4", "--frames", "2"]
    monkeypatch.setattr(sys, "argv", ["det", *words])
    det.main()
    record = json.loads(capsys.readouterr().out)
    assert [each["seed"] for each in record["results"]] == [3, 4]
    assert len(record["windows"]) == 4
    meta = load_checkpoint(out / "uniform.pth").meta
    assert meta["source"] == "200x356"
    assert (work / "uniform-4.pth").is_file()
    assert (work / "uniform-4.detections.json").is_file()
