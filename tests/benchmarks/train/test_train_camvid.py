"""Training on CamVid: splits, boxes, the learned warp, statistics, results that go on, the page."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lzu_benchmarks.train.camvid import command  # noqa: E402
from lzu_benchmarks.train.camvid.boxes import (  # noqa: E402
    OBJECTS,
    coco_truth,
    find_objects,
    of_class,
)
from lzu_benchmarks.train.camvid.command import main, run_one  # noqa: E402
from lzu_benchmarks.train.camvid.detection import drawn_ap, make_saliency  # noqa: E402
from lzu_benchmarks.train.camvid.figures import Scored, gains, pixel_values, score  # noqa: E402
from lzu_benchmarks.train.camvid.frames import (  # noqa: E402
    CLASSES,
    SOURCE,
    describe,
    read_splits,
    stretches,
)
from lzu_benchmarks.train.camvid.learned import LearnedSegmenter  # noqa: E402
from lzu_benchmarks.train.camvid.network import STRIDE, StreetNet, parameters  # noqa: E402
from lzu_benchmarks.train.camvid.page import write_page  # noqa: E402
from lzu_benchmarks.train.camvid.results import Job, Results  # noqa: E402
from lzu_benchmarks.train.camvid.segmentation import LOGITS, Pixels, recipe_of  # noqa: E402
from lzu_benchmarks.train.camvid.tasks import PRECISIONS, Detection, Segmentation  # noqa: E402
from lzu_benchmarks.train.seg import class_weights  # noqa: E402
from lzu_export.errors import LzuError  # noqa: E402
from lzu_export.models.checkpoint import save_checkpoint  # noqa: E402
from lzu_export.support.checkout import CHECKOUT  # noqa: E402
from lzu_export.tasks.warps import make_warp  # noqa: E402
from lzu_export.warp.tables import table_matrix  # noqa: E402

JOB = Job("segmentation", "45x60", "uniform", 0)
CAR = CLASSES.index("car")


def draw(folder: Path, video: str, count: int, first: int = 0) -> None:
    """Frames of a car that moves along a road below the sky, with their label maps."""
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        labels = np.full(SOURCE, CLASSES.index("road"), np.uint8)
        labels[:150] = CLASSES.index("sky")
        x = 40 + 20 * (number % 20)
        labels[160:190, x : x + 40] = CAR
        labels[350:] = 11  # void
        image = np.stack([labels * 20, 255 - labels * 20, labels * 7], axis=-1)
        name = f"{video}_{number:06}.png"
        cv2.imwrite(str(folder / "images" / name), image)
        cv2.imwrite(str(folder / "labels" / name), labels)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder laid out like CamVid's, with two training videos."""
    folder = tmp_path_factory.mktemp("camvid")
    draw(folder / "train", "0001TP", 8)
    draw(folder / "train", "0016E5", 9)
    draw(folder / "val", "0016E5", 20, first=9)
    return folder


def test_the_last_eighth_of_each_video_is_held_back(data: Path) -> None:
    splits = read_splits(data)
    names = {name: [each.image.stem for each in split.pairs] for name, split in parts(splits)}
    assert names["check"] == ["0001TP_000007", "0016E5_000008"]
    assert len(names["train"]) == 15
    assert not set(names["train"]) & set(names["check"])
    assert [each[:6] for each in names["val"]] == ["0016E5"] * 20
    choosing = read_splits(data, choosing=True)
    assert [each.image.stem for each in choosing.scored["choice"].pairs] == [
        "0001TP_000006",
        "0016E5_000007",
    ]
    assert len(choosing.train) == 13
    assert list(choosing.scored) == ["choice"]
    assert describe(splits)["frames"] == {"train": 15, "val": 20, "check": 2}
    assert describe(splits)["sha256"] != describe(choosing)["sha256"]


def parts(splits: Any) -> Iterator[tuple[str, Any]]:
    yield "train", splits.train
    yield from splits.scored.items()


def test_stretches_are_consecutive_frames_of_one_video() -> None:
    videos = ["a"] * 10 + ["b"] * 3
    assert stretches(videos, 5).tolist() == [0] * 5 + [1] * 5 + [2] * 3
    assert stretches(["a"] * 101, 10).max() == 9
    assert stretches([], 5).shape == (0,)


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        ("missing", "val holds no frames of CamVid"),
        ("labels", "has no 0001TP_000003.png for 0001TP_000003.png; add it"),
        ("short", "video 0001TP has 3 frames"),
        ("size", "has 180x240 pixels; give CamVid's frames of 360x480"),
        ("damaged", "0001TP_000000.png"),
        ("class", "holds the label 77"),
        ("few", "val has 2 frames of one stretch"),
    ],
)
def test_unfit_folders_are_refused_in_one_sentence(
    tmp_path: Path, edit: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    draw(tmp_path / "train", "0001TP", 3 if edit == "short" else 8)
    draw(tmp_path / "train", "0016E5", 8)
    if edit != "missing":
        draw(tmp_path / "val", "0016E5", 2 if edit == "few" else 20)
    images, labels = (tmp_path / "train" / kind for kind in ("images", "labels"))
    if edit == "labels":
        (labels / "0001TP_000003.png").unlink()
    if edit == "size":
        cv2.imwrite(str(images / "0001TP_000002.png"), np.zeros((180, 240, 3), np.uint8))
    if edit == "damaged":
        (images / "0001TP_000000.png").write_bytes(b"no image")
    if edit == "class":
        cv2.imwrite(str(labels / "0001TP_000001.png"), np.full(SOURCE, 77, np.uint8))
    results = tmp_path / "results.json"
    words = ["--data", str(tmp_path), "--work", str(tmp_path / "work"), "--page", "no-page.md"]
    with pytest.raises(SystemExit) as ended:
        main([*words, "--results", str(results)])
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()[-1:]
    assert sentence in line
    assert not results.exists()


def test_without_frames_or_results_the_remedy_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, remedy in (([], "give --data DIR"), (["--report"], "train first, with --data")):
        with pytest.raises(SystemExit) as ended:
            main([*words, "--results", str(tmp_path / "none.json")])
        assert ended.value.code == 2
        assert remedy in capsys.readouterr().err


def test_a_size_that_is_none_is_refused(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--data", str(data), "--work", str(tmp_path), "--sizes", "90x12"]
    with pytest.raises(SystemExit):
        main([*words, "--results", str(tmp_path / "results.json"), "--page", "no-page.md"])
    assert "--sizes 90x12 is none of 90x120, 45x60, 180x240" in capsys.readouterr().err


def test_objects_are_the_components_of_a_label_map() -> None:
    labels = np.full((40, 60), CLASSES.index("road"), np.uint8)
    labels[5:15, 10:30] = CAR
    labels[15, 30] = CAR  # touches a corner
    labels[20:28, 40:48] = CLASSES.index("bicyclist")
    labels[20:27, 0:20] = CLASSES.index("sign")  # 7 rows
    labels[30:40, 50:60] = CLASSES.index("tree")  # no object
    found = find_objects(labels)
    assert found.boxes.tolist() == [[10, 5, 31, 16], [0, 20, 20, 27], [40, 20, 48, 28]]
    assert [OBJECTS[each] for each in found.classes] == ["car", "sign", "bicyclist"]
    assert found.ignore.tolist() == [False, True, False]
    truth = coco_truth([find_objects(labels[:, :35]), found], np.array([0, 1]))
    assert [each["sequence_id"] for each in truth["images"]] == [0, 1]
    assert [each["iscrowd"] for each in truth["annotations"]] == [0, 1, 0, 1, 0]
    assert truth["annotations"][0]["bbox"] == [10, 5, 21, 11]
    assert [each["image_id"] for each in of_class(truth, 1)["annotations"]] == [0, 1]
    empty = find_objects(labels[30:])
    assert empty.boxes.shape == (0, 4)
    assert empty.ignore.shape == (0,)


def test_average_precision_is_also_stored_of_drawn_stretches(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lzu_benchmarks.train.camvid.detection.RESAMPLES", 20)
    split = read_splits(data).scored["check"]  # one car in each of two frames
    right = {"image_id": 0, "category_id": 1, "bbox": [180, 160, 40, 30], "score": 0.9}
    found = drawn_ap(split, [right])
    assert found["stretches"] == 2
    assert len(found["values"]) == 21
    car, pedestrian = (found["columns"].index(name) for name in ("car", "pedestrian"))
    half = 100 * 51 / 101  # recall 0.5 at precision 1
    assert found["values"][0][car] == pytest.approx(half, abs=1e-3)
    assert {round(row[car], 1) for row in found["values"]} == {0, round(half, 1), 100}
    assert {row[pedestrian] for row in found["values"]} == {None}


def test_the_detectors_saliency_is_high_where_the_boxes_are(data: Path) -> None:
    saliency = make_saliency(read_splits(data).train)
    np.testing.assert_allclose(saliency, saliency[:, ::-1], rtol=1e-5)
    assert 12 <= saliency.sum(axis=1).argmax() <= 16  # rows 160 to 190 of 360


def test_a_learned_warp_is_the_fixed_warp_of_its_logits(tmp_path: Path) -> None:
    recipe = recipe_of("uniform", 0.125, tmp_path / "none.npy")
    network = LearnedSegmenter(recipe, StreetNet(11))
    for spread in (0.0, 0.5):
        random = torch.Generator().manual_seed(0)
        network.logits.data = spread * torch.randn(network.logits.shape, generator=random)
        save_checkpoint(tmp_path / "learned.pth", {LOGITS: network.stored_logits()})
        stored = recipe_of("learned", 0.125, tmp_path / "none.npy", tmp_path / "learned.pth")
        warp = make_warp(recipe if spread == 0 else stored)
        (level,) = recipe.levels
        ((unzoom,),) = warp.unzoom
        for mine, pair, size in zip(
            network.matrices(), (warp.zoom, unzoom), (SOURCE, level.size), strict=True
        ):
            for matrix, table, n_in in zip(mine, pair, size, strict=True):
                np.testing.assert_allclose(
                    matrix.detach().numpy(), table_matrix(table, n_in), atol=2e-4
                )


def test_the_loss_trains_the_logits(tmp_path: Path) -> None:
    recipe = recipe_of("uniform", 0.125, tmp_path / "none.npy")
    network = LearnedSegmenter(recipe, StreetNet(11))
    frames = torch.randint(0, 255, (2, *SOURCE, 3), dtype=torch.uint8)
    network(frames).square().mean().backward()
    assert network.logits.grad.abs().max() > 0
    left, right = network.logits.grad.reshape(31, 41)[:, [3, -4]].T
    np.testing.assert_allclose(left, right, rtol=1e-3, atol=1e-12)


def test_the_network_has_one_map_of_its_stride() -> None:
    network = StreetNet(11).eval()
    assert parameters(network) == 640_019
    (level,) = network.extract(torch.zeros(1, 3, 64, 96))
    assert level.shape == (1, 24, 64 // STRIDE, 96 // STRIDE)
    ((logits,),) = network.head([level])
    assert logits.shape == (1, 11, 32, 48)


def test_ignored_pixels_weigh_nothing() -> None:
    labels = np.array([[0, 0, 0, 1], [255, 255, 255, 255]], np.uint8)
    weights = class_weights(labels, 2)
    assert weights[1] / weights[0] == pytest.approx(3**0.5)
    assert weights @ [0.75, 0.25] == pytest.approx(1)


def test_pixels_are_counted_by_stretch_region_and_class(data: Path) -> None:
    split = read_splits(data).scored["check"]
    pixels = Pixels(split)
    for place, labels in enumerate(split.labels):
        pixels.add(place, np.where(labels == 255, 0, labels))
    counts = np.array(pixels.counts())
    assert counts.shape == (2, 4, 3, 11)
    np.testing.assert_array_equal(counts[:, :, 0], counts[:, :, 1])  # all are found
    assert counts[0, 1:, 1, CAR].tolist() == [0, 40 * 30, 0]
    values = pixel_values(counts)
    assert values["mIoU"][0] == 100
    assert np.isnan(values["fence"]).all()


def test_points_are_those_of_the_summed_pixels() -> None:
    counts = np.zeros((2, 4, 3, 11), np.int64)
    counts[0, 1, :, 0] = 60, 100, 80  # upper third: found, there, predicted
    counts[1, 1, :, 0] = 20, 20, 20
    counts[:, 2, :, 1] = 0, 10, 10
    values = pixel_values(counts)
    assert values["sky"][0] == pytest.approx(100 * 80 / 140)
    assert values["building"][0] == 0
    assert values["mIoU"][0] == pytest.approx(100 * 80 / 140 / 2)
    assert values["upper"][0] == pytest.approx(100 * 80 / 140)
    assert np.isnan(values["boundary"]).all()
    drawn = {round(float(each), 4) for each in values["sky"][1:]}
    assert drawn == {50.0, round(100 * 80 / 140, 4), 100.0}


def test_gains_are_paired_by_seed() -> None:
    flat = np.ones(201)
    uniform = Scored({0: {"mIoU": 50 * flat}, 1: {"mIoU": 60 * flat}, 7: {"mIoU": flat}}, 10)
    fixed = Scored({0: {"mIoU": 51 * flat}, 1: {"mIoU": 63 * flat}}, 10)
    gain = gains(uniform, fixed)["mIoU"]
    assert (gain.difference, gain.low, gain.high) == (2, 1, 3)
    assert gains(uniform, Scored({}, 0)) == {}
    one = gains(uniform, Scored({1: {"mIoU": 63 * flat}}, 10))["mIoU"]
    assert (one.low, one.high) == (3, 3)


def figures(variant: str, seed: int, gain: float) -> dict[str, Any]:
    """Results of a run that finds `gain` points more than half of two classes' pixels."""
    counts = np.zeros((4, 4, 3, 11), int)
    found = round(500 + 10 * gain)
    counts[:, :, :, :2] = np.array([found, 1000, found])[:, None]
    plain = counts.tolist()
    found_by = {"pytorch": {"val": plain, "check": plain}}
    if seed == 0:
        found_by |= {each: {"val": plain} for each in PRECISIONS}
    spent: dict[str, Any] = {"rows": [0.25, 0.5, 0.25]} if variant == "fixed" else {}
    spent |= {"machine": "a machine", "steps": 8, "cpu_seconds": 60.0, "seconds": 70.0, "loss": 1.0}
    return {**spent, "found": found_by}


def stored(path: Path, runs: int, gain: float, *, noise: float = 0.0) -> Results:
    """Results of so many seeds."""
    results = Results(path, {"data": {"frames": {"train": 15, "val": 4, "check": 2}}})
    for seed in range(runs):
        for variant in ("uniform", "fixed"):
            more = gain + noise * (-1) ** seed if variant == "fixed" else 0
            job = Job("segmentation", "90x120", variant, seed)
            results.put(job, figures(variant, seed, more))
    return results


def test_the_page_judges_from_three_seeds_on(tmp_path: Path) -> None:
    two = write_page(stored(tmp_path / "two.json", 2, 1.0))
    assert "Seeds: uniform 2, fixed 2, learned 0 of 5 planned" in two
    assert "no verdict from 2 seeds" in two
    assert "beyond the interval" not in two
    five = write_page(stored(tmp_path / "five.json", 5, 1.0))
    assert "| mIoU | 50.00 +- 0.00 | 51.00 +- 0.00 | +1.00 [+1.00, +1.00] |" in five
    assert "fixed, better than uniform beyond the interval: mIoU" in five
    assert "fixed - uniform (5 seeds)" in five
    assert (
        "- The fixed warp gives the upper, middle and lower third of the frame 25, 50 and 25 %"
        in five
    )
    assert "| fixed | 51.00 | 51.00 | 51.00 | 51.00 | +0.00 [+0.00, +0.00] |" in five
    assert f"| middle |{' +1.00 [+1.00, +1.00] |' * 4}" in five
    assert "Detection has no finished run yet" in five
    assert "CC BY-NC 4.0" in five


def test_a_gain_within_its_interval_is_called_so_and_why(tmp_path: Path) -> None:
    page = " ".join(write_page(stored(tmp_path / "results.json", 5, 0.2, noise=2.0)).split())
    assert "The mIoU of fixed is not beyond its interval: the difference is +0.60" in page
    assert "deviate by 0.00 (uniform) and 2.19 (fixed)" in page
    assert "What varies most is" in page


def test_the_report_needs_no_frames(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "results.json"
    stored(path, 3, 1.0)
    words = ["--report", "--results", str(path), "--page", str(tmp_path / "page.md"), "--json"]
    main(words)
    assert (tmp_path / "page.md").read_text().startswith("# CamVid: real frames")
    found = json.loads(capsys.readouterr().out)
    assert found["values"]["segmentation 90x120 fixed"]["mIoU"] == pytest.approx([51] * 3)


class Counting(Segmentation):
    """Task that trains nothing and notes what it is asked for."""

    asked: ClassVar[list[str]] = []
    cut: ClassVar[set[int]] = set()

    def train(self, job: Job) -> list[float]:
        if job.seed in self.cut:
            raise KeyboardInterrupt
        self.asked.append(f"train {job.seed}")
        self.weights(job).touch()
        return [1.0]

    def score(self, _job: Job) -> dict[str, Any]:
        return {"val": []}

    def rows(self, _job: Job) -> list[float]:
        return [0.25, 0.5, 0.25]

    def engines(self, job: Job) -> dict[str, Any]:
        self.asked.append(f"export {job.seed}")
        if "refused" in job.variant:
            raise LzuError("an engine deviates")
        return {each: {"val": []} for each in PRECISIONS}


@pytest.fixture
def counting(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Counting:
    monkeypatch.setattr(Counting, "asked", [])
    monkeypatch.setattr(Counting, "cut", set())
    return Counting(read_splits(data), tmp_path, 1.0)


def test_a_cut_series_goes_on_where_it_was(
    counting: Counting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "results.json"
    monkeypatch.setattr(Counting, "cut", {1})
    jobs = [JOB._replace(seed=seed) for seed in range(3)]

    def series() -> None:
        results = Results(path, {"epochs": 1})
        for job in jobs:
            run_one(counting, job, results, export=job.seed == 0)

    with pytest.raises(KeyboardInterrupt):
        series()
    assert counting.asked == ["train 0", "export 0"]
    assert [each["seed"] for each in Results(path).runs("segmentation")] == [0]
    Counting.cut.clear()
    series()
    assert counting.asked == ["train 0", "export 0", "train 1", "train 2"]
    series()
    assert len(counting.asked) == 4


def test_weights_that_are_gone_are_trained_again_for_an_export_only(
    counting: Counting, tmp_path: Path
) -> None:
    results = Results(tmp_path / "results.json", {})
    run_one(counting, JOB, results, export=False)
    counting.weights(JOB).unlink()
    run_one(counting, JOB, results, export=False)
    assert counting.asked == ["train 0"]
    run_one(counting, JOB, results, export=True)
    assert counting.asked == ["train 0", "train 0", "export 0"]


def test_a_refused_export_does_not_stop_the_series(
    counting: Counting, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = Results(tmp_path / "results.json", {})
    run_one(counting, JOB._replace(variant="refused"), results, export=True)
    assert "was not exported: an engine deviates" in capsys.readouterr().err
    run_one(counting, JOB, results, export=True)
    found = {each["variant"]: set(each["found"]) for each in results.runs("segmentation")}
    assert found == {"refused": {"pytorch"}, "uniform": {"pytorch", *PRECISIONS}}


def test_results_of_other_settings_are_not_mixed(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    Results(path, {"segmentation": {"epochs": 22.0, "size": (1, 2)}}).put(JOB, {"loss": 1.0})
    again = Results(path, {"segmentation": {"epochs": 22.0, "size": (1, 2)}})
    assert again.get(JOB) == {**JOB._asdict(), "loss": 1.0}
    with pytest.raises(LzuError, match=r"results of segmentation\.epochs 22\.0, but .* 1\.0; give"):
        Results(path, {"segmentation": {"epochs": 1.0, "size": (1, 2)}})
    assert Results(path).get(JOB) is not None


@pytest.mark.parametrize("content", ["{", "[]", '{"settings": {}, "runs": 3}'])
def test_files_that_are_no_results_are_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "results.json"
    path.write_text(content)
    with pytest.raises(LzuError, match=r"results\.json .*give another --results"):
        Results(path, {})


def test_the_jobs_make_comparisons_complete_early(data: Path, tmp_path: Path) -> None:
    splits = read_splits(data)
    names = [each.name for each in Segmentation(splits, tmp_path, 1.0).jobs(2)]
    assert names[:3] == [
        "segmentation-90x120-uniform-0",
        "segmentation-90x120-fixed-0",
        "segmentation-45x60-uniform-0",
    ]
    assert len(set(names)) == 12
    assert names.index("segmentation-90x120-learned-0") == 8
    assert len(list(Detection(splits, tmp_path, 1.0).jobs(5))) == 6
    assert not list(tmp_path.iterdir())


@pytest.mark.slow  # trains and exports five networks: minutes
def test_the_whole_command_trains_exports_and_reports(data: Path, tmp_path: Path) -> None:
    paths = {name: tmp_path / name for name in ("results.json", "page.md", "work")}
    words = ["--data", str(data), "--seeds", "1", "--epochs", "1", "--detection-epochs", "1"]
    words += ["--sizes", "45x60", "180x240", "--work", str(paths["work"])]
    words += ["--results", str(paths["results.json"]), "--page", str(paths["page.md"])]
    main(words)
    results = Results(paths["results.json"])
    runs = [*results.runs("segmentation"), *results.runs("detection")]
    assert [(each["variant"], each["steps"]) for each in runs] == [
        ("fixed", 2),
        ("learned", 2),
        ("uniform", 2),
        ("fixed", 2),
        ("uniform", 2),
    ]
    assert [sum(each["rows"]) for each in runs] == pytest.approx([1] * 5)
    for each in runs:
        assert set(each["found"]) == {"pytorch", *PRECISIONS}
        assert set(each["found"]["pytorch"]) == {"val", "check"}
    for variant in ("uniform", "fixed", "learned"):
        pytorch, fp32 = (
            score(runs[:3], "45x60", variant, engine=engine).whole("mIoU")
            for engine in ("pytorch", "fp32")
        )
        assert pytorch == pytest.approx(fp32, abs=0.3)  # zoomed images are rounded in training
    page = paths["page.md"].read_text()
    assert page.count("no verdict from 1 seed") == 3
    before = paths["results.json"].read_bytes()
    main(words)  # there is nothing left to do
    assert paths["results.json"].read_bytes() == before
    with pytest.raises(SystemExit):
        main([*words, "--epochs", "2"])


@pytest.mark.slow  # reads all label maps
def test_the_splits_and_boxes_of_the_real_set(shared: Path) -> None:
    folder = shared / "camvid"
    if not folder.is_dir():
        pytest.skip(f"no camvid under {shared}")
    splits = read_splits(folder)
    assert describe(splits)["frames"] == {"train": 323, "val": 101, "check": 44}
    assert {name: each.stretches.max() + 1 for name, each in splits.scored.items()} == {
        "val": 10,
        "check": 8,
    }
    counts = dict.fromkeys(OBJECTS, 0)
    for split in (splits.train, splits.scored["check"]):
        for labels in split.labels:
            found = find_objects(labels)
            for kind in found.classes[~found.ignore]:
                counts[OBJECTS[kind]] += 1
    assert counts == {"car": 1187, "pedestrian": 756, "sign": 1329, "bicyclist": 158}


def test_results_and_page_of_the_repository_belong_together() -> None:
    page = (CHECKOUT / "docs/camvid.md").read_text(encoding="utf-8")
    assert write_page(Results(CHECKOUT / "docs/camvid.json")) == page


def test_the_command_goes_on_from_the_results_of_the_repository(data: Path, tmp_path: Path) -> None:
    options = command.make_parser().parse_args(["--work", str(tmp_path)])
    settings = {each.name: each.settings for each in command.tasks_of(options, read_splits(data))}
    path = CHECKOUT / "docs/camvid.json"
    Results(path, {"data": Results(path).settings["data"], **settings})
