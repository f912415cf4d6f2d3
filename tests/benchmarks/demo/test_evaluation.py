"""Evaluation sets as the compiler finds them: by name, or as COCO annotations."""

import json
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from lzu_benchmarks.demo.evaluation import DemoSet, coco, demo, folder, pixel_centred
from lzu_export.errors import LzuError
from lzu_export.evaluation import datasets
from lzu_export.evaluation.datasets import Sample, open_dataset
from lzu_export.evaluation.layouts.boxes import CocoSet
from lzu_export.runtime import Detections, Detections3d, Segmentation

BOXES = {11: (4, 4, 20, 10), 25: (10, 6, 8, 8), 30: (0, 0, 30, 20)}
"""x, y, width, height of the one object in each image, by image id."""
CATEGORY = {11: 7, 25: 3, 30: 90}


def content() -> dict[str, Any]:
    """Three images in no order; category ids with gaps, ids from 0."""
    return {
        "images": [
            {"id": i, "file_name": f"{i}.png", "height": 24, "width": 32} for i in (30, 11, 25)
        ],
        "categories": [
            {"id": 90, "name": "bus"},
            {"id": 3, "name": "car"},
            {"id": 7, "name": "truck"},
        ],
        "annotations": [
            {
                "id": n,
                "image_id": i,
                "category_id": CATEGORY[i],
                "bbox": list(BOXES[i]),
                "area": BOXES[i][2] * BOXES[i][3],
                "iscrowd": 0,
            }
            for n, i in enumerate(BOXES)
        ],
    }


def write(folder: Path, data: Any, images: str = "images") -> Path:
    (folder / images).mkdir(exist_ok=True)
    for i in BOXES:
        cv2.imwrite(str(folder / images / f"{i}.png"), np.full((24, 32, 3), i, np.uint8))
    path = folder / "annotations.json"
    path.write_text(json.dumps(data))
    return path


def found_in(image: int, label: int) -> Detections:
    """A perfect detection, its label counted from 0."""
    x, y, width, height = BOXES[image]
    box = np.array([[x, y, x + width, y + height]], np.float32)
    return Detections(box, np.array([0.9], np.float32), np.array([label - 1], np.int32), ())


def scored(found: CocoSet, ids: Any, label: dict[int, int]) -> dict[str, float]:
    """The metrics of perfect detections in the given images, and of none in the others."""
    scorer = found.scorer()
    nothing = Detections(
        np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32), ()
    )
    for sample in found.samples():
        there = sample.number in ids
        scorer.add(sample, found_in(sample.number, label[sample.number]) if there else nothing)
    return scorer.summary()


IN_ORDER = {11: 2, 25: 1, 30: 3}
"""The same categories counted from 1 in the order of their ids: car, truck, bus."""


@pytest.mark.parametrize("images", ["images", "."])
def test_frames_come_by_ascending_id(tmp_path: Path, images: str) -> None:
    """From beside the annotations or from their folder images."""
    found = CocoSet(write(tmp_path, content(), images), None)
    assert len(found) == 3
    assert found.name == "annotations.json"
    samples = list(found.samples())
    assert [each.number for each in samples] == [11, 25, 30]
    for number, camera_frame, *_ in samples:
        assert (camera_frame.frame == number).all()
        assert camera_frame.frame.shape == (24, 32, 3)


def test_classes_are_numbered_from_one_without_gaps(tmp_path: Path) -> None:
    """In the order of COCO's ids: perfect detections under these numbers are worth 100."""
    found = CocoSet(write(tmp_path, content()), None)
    assert found.classes == ("car", "truck", "bus")
    assert scored(found, BOXES, IN_ORDER)["AP"] == pytest.approx(100)
    wrong = {11: 1, 25: 2, 30: 3}
    assert scored(found, BOXES, wrong)["AP"] == pytest.approx(100 / 3)
    assert scored(found, (), IN_ORDER)["AP"] == 0


def test_sparse_annotations_are_enough(tmp_path: Path) -> None:
    """Those that only hold image, category and box."""
    data = content()
    data["annotations"] = [
        {key: each[key] for key in ("image_id", "category_id", "bbox")}
        for each in data["annotations"]
    ]
    found = CocoSet(write(tmp_path, data), None)
    assert scored(found, BOXES, IN_ORDER)["AP"] == pytest.approx(100)


def test_some_frames_are_taken_evenly(tmp_path: Path) -> None:
    """With their objects only: what lies in other images is not missed."""
    found = CocoSet(write(tmp_path, content()), 2)
    assert len(found) == 2
    assert [each.number for each in found.samples()] == [11, 30]
    assert scored(found, (11, 30), IN_ORDER)["AP"] == pytest.approx(100)
    assert len(CocoSet(write(tmp_path, content()), 10)) == 3


def test_the_annotations_stay_as_they_are(tmp_path: Path) -> None:
    """Evaluating twice gives the same."""
    found = CocoSet(write(tmp_path, content()), None)
    first = scored(found, (11, 25), IN_ORDER)
    assert scored(found, (11, 25), IN_ORDER) == pytest.approx(first, nan_ok=True)
    assert first["AP"] == pytest.approx(200 / 3)


def test_a_missing_image_is_named(tmp_path: Path) -> None:
    """Before the first frame; a damaged one when its turn comes."""
    path = write(tmp_path, content())
    (tmp_path / "images" / "25.png").unlink()
    with pytest.raises(LzuError, match=r"image 25\.png is neither .*/25\.png nor .*images/25\.png"):
        CocoSet(path, None)
    assert len(CocoSet(path, 2)) == 2  # it is not among these
    (tmp_path / "images" / "25.png").write_text("hello")
    samples = CocoSet(path, None).samples()
    assert next(samples).number == 11
    with pytest.raises(LzuError, match=r"25\.png cannot be read as an image"):
        next(samples)


def without(part: str, key: str) -> dict[str, Any]:
    data = content()
    for each in data[part]:
        each.pop(key)
    return data


@pytest.mark.parametrize(
    "data",
    [
        [],
        3,
        "text",
        {},
        {**content(), "images": 3},
        {**content(), "categories": [{"id": 3}]},
        {**content(), "categories": [{"id": 3, "name": "car"}]},
        {**content(), "annotations": ["x"]},
        without("images", "file_name"),
        {**content(), "images": [{"id": "a", "file_name": "30.png"}]},
        without("images", "id"),
        without("annotations", "image_id"),
        without("annotations", "bbox"),
        without("annotations", "category_id"),
    ],
)
def test_what_is_no_coco_is_refused(tmp_path: Path, data: Any) -> None:
    """By name, with what is wrong."""
    with pytest.raises(
        LzuError, match=r"annotations\.json(:| is not a COCO data set: ).+; (give|add|n)"
    ):
        CocoSet(write(tmp_path, data), None)


def test_what_is_no_json_is_refused(tmp_path: Path) -> None:
    """And what is not there."""
    path = tmp_path / "a.json"
    with pytest.raises(LzuError, match=r"a\.json cannot be read \(No such file"):
        coco(str(path), task="det", frames=None)
    for text in ("", "{", "\x00"):
        path.write_text(text)
        with pytest.raises(LzuError, match=r"a\.json is not valid JSON"):
            coco(str(path), task="det", frames=None)


@pytest.mark.parametrize("part", ["images", "annotations"])
def test_a_set_without_anything_is_refused(tmp_path: Path, part: str) -> None:
    """There would be nothing to measure on, nor where all objects are crowds."""
    with pytest.raises(LzuError, match=f"holds no {part} to measure on"):
        CocoSet(write(tmp_path, {**content(), part: [], "annotations": []}), None)
    data = content()
    for each in data["annotations"]:
        each["iscrowd"] = 1
    with pytest.raises(LzuError, match="holds no annotations to measure on"):
        CocoSet(write(tmp_path, data), None)


def test_an_image_of_another_size_than_its_entry_is_refused(tmp_path: Path) -> None:
    """Its boxes are then of another frame than the one that is shown."""
    data = content()
    for image in data["images"]:
        image["height"], image["width"] = 48, 64
    samples = CocoSet(write(tmp_path, data), None).samples()
    with pytest.raises(LzuError, match=r"\.png is 64 wide and 48 high, but the file is 32 wide"):
        next(samples)


def test_images_with_texts_as_ids_count_by_their_place(tmp_path: Path) -> None:
    data = content()
    for image in data["images"]:
        image["id"] = f"frame-{image['id']}"
    for each in data["annotations"]:
        each["image_id"] = f"frame-{each['image_id']}"
    found = CocoSet(write(tmp_path, data), None)
    assert [each.number for each in found.samples()] == [1, 2, 3]
    numbers = dict(zip(sorted(IN_ORDER), (1, 2, 3), strict=True))
    truth = {each.number: each.truth for each in found.samples()}
    assert truth[numbers[25]].annotations[0]["image_id"] == 2
    assert truth[numbers[25]].image["id"] == 2


def perfect(task: str, sample: Sample) -> Any:
    """What a model without a fault would predict."""
    if task == "det":
        kept = [each for each in sample.truth.annotations if not each["iscrowd"]]
        boxes = np.array([each["bbox"] for each in kept], np.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        labels = np.array([each["category_id"] - 1 for each in kept], np.int32)
        return Detections(boxes, np.full(len(kept), 0.9, np.float32), labels, ())
    if task == "seg":
        return Segmentation(sample.truth, ())
    objects = sample.truth.objects
    boxes = np.zeros((len(objects.labels), 9), np.float32)
    boxes[:, [0, 2]], boxes[:, 3:6], boxes[:, 6] = objects.centres, objects.sizes, objects.yaws
    scores = np.full(len(boxes), 0.9, np.float32)
    return Detections3d(boxes, scores, objects.labels, np.zeros(len(boxes), np.int64))


@pytest.mark.parametrize(("task", "metric"), [("det", "AP"), ("seg", "mIoU"), ("det3d", "NDS*")])
def test_demo_frames_and_truth_go_together(task: str, metric: str) -> None:
    """A faultless prediction of the rendered scenes is worth 100 in every task."""
    found = demo(task=task, frames=2)
    assert isinstance(found, DemoSet)
    assert (len(found), found.metric) == (2, metric)
    scorer = found.scorer()
    numbers = set()
    for sample in found.samples():
        assert sample.camera_frame.frame.dtype == np.uint8
        assert sample.camera_frame.frame.shape == (360, 640, 3)
        assert (sample.camera_frame.cam2img is not None) == (task == "det3d")
        numbers.add(sample.number)
        scorer.add(sample, perfect(task, sample))
    assert len(numbers) == 2
    assert scorer.summary()[metric] > 99


def test_the_demo_s_camera_counts_pixels_by_their_centres() -> None:
    """The renderer's from their edges: half a pixel less."""
    edges = np.array([[520.0, 0, 320], [0, 520, 180], [0, 0, 1]])
    np.testing.assert_array_equal(
        pixel_centred(edges), [[520, 0, 319.5], [0, 520, 179.5], [0, 0, 1]]
    )
    assert edges[0, 2] == 320


def label_folder(folder: Path) -> Path:
    """Three images, left half road, with the labels of a faultless model."""
    for part in ("images", "labels"):
        (folder / part).mkdir()
    labels = np.zeros((24, 32), np.uint8)
    labels[:, 16:] = 1
    labels[0] = 255
    for name in "abc":
        cv2.imwrite(str(folder / "images" / f"{name}.jpg"), np.zeros((24, 32, 3), np.uint8))
        cv2.imwrite(str(folder / "labels" / f"{name}.png"), labels)
    (folder / "classes.txt").write_text("road\nsky\n\n")
    return folder


def test_a_folder_of_label_maps_is_a_set(tmp_path: Path) -> None:
    found = open_dataset(str(label_folder(tmp_path)), 2, "seg")
    assert (found.classes, len(found), found.metric) == (("road", "sky"), 2, "mIoU")
    right, wrong = found.scorer(), found.scorer()
    for sample in found.samples():
        right.add(sample, Segmentation(sample.truth, found.classes))
        wrong.add(sample, Segmentation(np.zeros_like(sample.truth), found.classes))
    assert right.summary()["mIoU"] == 100
    assert wrong.summary()["IoU sky"] == 0
    assert wrong.summary()["mIoU"] == pytest.approx(25)


def test_pixels_outside_of_a_crop_are_not_evaluated(tmp_path: Path) -> None:
    found = open_dataset(str(label_folder(tmp_path)), None, "seg")
    scorer = found.scorer()
    for sample in found.samples():
        labels = sample.truth.copy()
        labels[:, 24:] = 255  # not looked at
        scorer.add(sample, Segmentation(labels, found.classes))
    assert scorer.summary()["mIoU"] == 100


@pytest.mark.parametrize(
    ("lost", "words"),
    [
        ("classes.txt", "has no classes.txt; give one"),
        ("labels/b.png", "has no b.png for b.jpg; add it"),
    ],
)
def test_an_incomplete_folder_is_refused(lost: str, words: str, tmp_path: Path) -> None:
    (label_folder(tmp_path) / lost).unlink()
    with pytest.raises(LzuError, match=words):
        open_dataset(str(tmp_path), None, "seg")


def test_a_label_that_is_no_class_is_refused(tmp_path: Path) -> None:
    label_folder(tmp_path)
    cv2.imwrite(str(tmp_path / "labels" / "b.png"), np.full((24, 32), 7, np.uint8))
    with pytest.raises(LzuError, match=r"b\.png holds the label 7, which is neither"):
        list(open_dataset(str(tmp_path), None, "seg").samples())


def test_a_set_of_another_task_is_refused(tmp_path: Path) -> None:
    boxes = str(write(tmp_path, content()))
    with pytest.raises(
        LzuError, match="belongs to task det, as COCO boxes are, but the recipe to seg"
    ):
        open_dataset(boxes, None, "seg")
    (tmp_path / "images").rename(tmp_path / "others")
    with pytest.raises(
        LzuError, match="belongs to task seg, as a folder of label maps is, but the"
    ):
        open_dataset(str(label_folder(tmp_path)), None, "det3d")


def test_sets_are_found_by_name(tmp_path: Path) -> None:
    """Through the installed package's entry points."""
    assert open_dataset("demo", 3, "det").name == "demo"
    assert len(open_dataset("demo", 3, "det")) == 3
    path = write(tmp_path, content())
    assert open_dataset(str(path), 2, "det").classes == ("car", "truck", "bus")
    assert len(open_dataset(str(path), 2, "det")) == 2


def test_a_folder_of_a_set_s_name_does_not_hide_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "demo").mkdir()
    monkeypatch.chdir(tmp_path)
    assert isinstance(open_dataset("demo", 2, "seg"), DemoSet)


@pytest.mark.parametrize("name", ["imagenet", "coco", ""])
def test_unknown_names_are_refused(name: str) -> None:
    """With those that are known."""
    with pytest.raises(LzuError, match=f"there is no evaluation set {name}; give demo, the"):
        open_dataset(name, None, "det")
    with pytest.raises(LzuError, match=r"the annotations /nowhere/x\.json do not exist"):
        open_dataset("/nowhere/x.json", None, "det")


def test_a_missing_harness_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """No set at all, or one whose packages are not installed."""
    monkeypatch.setattr(datasets, "entry_points", lambda group: [])
    with pytest.raises(
        LzuError, match=r"needs the benchmark harness; pip install -e '\.\[bench\]'"
    ):
        open_dataset("demo", None, "det")
    broken = EntryPoint("demo", "a_package_that_is_not_there:demo", datasets.GROUP)
    monkeypatch.setattr(datasets, "entry_points", lambda group: [broken])
    with pytest.raises(LzuError, match="needs the package a_package_that_is_not_there; install"):
        open_dataset("demo", None, "det")


def test_a_folder_of_coco_is_told_its_annotations(tmp_path: Path) -> None:
    path = write(tmp_path, content())
    with pytest.raises(LzuError, match=r"is a folder; give its COCO annotations, such as .*\.json"):
        folder(str(path.parent), task="det", frames=None)
