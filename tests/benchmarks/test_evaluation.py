"""Evaluation sets as the compiler finds them: by name, or as COCO annotations."""

import json
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from lzu_benchmarks.evaluation import CocoSet, DemoSet, coco, demo
from lzu_export import datasets
from lzu_export.datasets import open_dataset
from lzu_export.errors import LzuError

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


def results(ids: Any, label: dict[int, int]) -> list[dict[str, Any]]:
    """Perfect detections in the given images."""
    return [
        {"image_id": i, "category_id": label[i], "bbox": list(BOXES[i]), "score": 0.9} for i in ids
    ]


IN_ORDER = {11: 2, 25: 1, 30: 3}
"""The same categories counted from 1 in the order of their ids: car, truck, bus."""


@pytest.mark.parametrize("images", ["images", "."])
def test_frames_come_by_ascending_id(tmp_path: Path, images: str) -> None:
    """From beside the annotations or from their folder images."""
    found = CocoSet(write(tmp_path, content(), images), None)
    assert len(found) == 3
    assert found.name == "annotations.json"
    frames = list(found.frames())
    assert [i for i, _ in frames] == [11, 25, 30]
    assert all((frame == i).all() and frame.shape == (24, 32, 3) for i, frame in frames)


def test_classes_are_numbered_from_one_without_gaps(tmp_path: Path) -> None:
    """In the order of COCO's ids: perfect detections under these numbers are worth 100."""
    found = CocoSet(write(tmp_path, content()), None)
    assert found.classes == ("car", "truck", "bus")
    assert found.evaluate(results(BOXES, IN_ORDER))["AP"] == pytest.approx(100)
    wrong = {11: 1, 25: 2, 30: 3}
    assert found.evaluate(results(BOXES, wrong))["AP"] == pytest.approx(100 / 3)
    assert found.evaluate([])["AP"] == 0


def test_sparse_annotations_are_enough(tmp_path: Path) -> None:
    """Those that only hold image, category and box."""
    data = content()
    data["annotations"] = [
        {key: each[key] for key in ("image_id", "category_id", "bbox")}
        for each in data["annotations"]
    ]
    found = CocoSet(write(tmp_path, data), None)
    assert found.evaluate(results(BOXES, IN_ORDER))["AP"] == pytest.approx(100)


def test_some_frames_are_taken_evenly(tmp_path: Path) -> None:
    """With their objects only: what lies in other images is not missed."""
    found = CocoSet(write(tmp_path, content()), 2)
    assert len(found) == 2
    assert [i for i, _ in found.frames()] == [11, 30]
    assert found.evaluate(results((11, 30), IN_ORDER))["AP"] == pytest.approx(100)
    assert len(CocoSet(write(tmp_path, content()), 10)) == 3


def test_the_annotations_stay_as_they_are(tmp_path: Path) -> None:
    """Evaluating twice gives the same."""
    found = CocoSet(write(tmp_path, content()), None)
    first = found.evaluate(results((11, 25), IN_ORDER))
    assert found.evaluate(results((11, 25), IN_ORDER)) == pytest.approx(first, nan_ok=True)
    assert first["AP"] == pytest.approx(200 / 3)


def test_a_missing_image_is_named(tmp_path: Path) -> None:
    """When its turn comes."""
    found = CocoSet(write(tmp_path, content()), None)
    (tmp_path / "images" / "25.png").unlink()
    frames = found.frames()
    assert next(frames)[0] == 11
    with pytest.raises(LzuError, match=r"image 25\.png is neither in .* nor in its folder images"):
        next(frames)
    (tmp_path / "images" / "25.png").write_text("hello")
    with pytest.raises(LzuError, match=r"25\.png cannot be read as an image"):
        list(found.frames())


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
        without("images", "id"),
        without("annotations", "image_id"),
        without("annotations", "bbox"),
        without("annotations", "category_id"),
    ],
)
def test_what_is_no_coco_is_refused(tmp_path: Path, data: Any) -> None:
    """By name, with what is wrong."""
    with pytest.raises(LzuError, match=r"annotations\.json is no COCO data set \(.+\); give one"):
        CocoSet(write(tmp_path, data), None)


def test_what_is_no_json_is_refused(tmp_path: Path) -> None:
    """And what is not there."""
    path = tmp_path / "a.json"
    for text in (None, "", "{", "\x00"):
        if text is not None:
            path.write_text(text)
        with pytest.raises(LzuError, match=r"a\.json is no COCO data set"):
            coco(str(path), frames=None)


@pytest.mark.parametrize("part", ["images", "annotations"])
def test_a_set_without_anything_is_refused(tmp_path: Path, part: str) -> None:
    """There would be nothing to measure on."""
    with pytest.raises(LzuError, match=f"holds no {part} to measure on"):
        CocoSet(write(tmp_path, {**content(), part: []}), None)


def test_demo_frames_and_truth_go_together() -> None:
    """Perfect detections of the rendered objects are worth 100."""
    found = demo(frames=2)
    assert isinstance(found, DemoSet)
    assert len(found) == 2
    frames = list(found.frames())
    assert len({i for i, _ in frames}) == 2
    assert all(frame.dtype == np.uint8 and frame.ndim == 3 for _, frame in frames)
    truth = found._dataset.coco_ground_truth()
    assert {image["id"] for image in truth["images"]} == {i for i, _ in frames}
    perfect = [
        {key: each[key] for key in ("image_id", "category_id", "bbox")} | {"score": 0.9}
        for each in truth["annotations"]
        if not each["iscrowd"]
    ]
    assert found.evaluate(perfect)["AP"] > 99
    assert demo(frames=2).evaluate(perfect)["AP"] > 99  # without a pass over the frames


def test_sets_are_found_by_name(tmp_path: Path) -> None:
    """Through the installed package's entry points."""
    assert open_dataset("demo", 3).name == "demo"
    assert len(open_dataset("demo", 3)) == 3
    path = write(tmp_path, content())
    assert open_dataset(str(path), 2).classes == ("car", "truck", "bus")
    assert len(open_dataset(str(path), 2)) == 2


@pytest.mark.parametrize("name", ["imagenet", "coco", ""])
def test_unknown_names_are_refused(name: str) -> None:
    """With those that are known."""
    with pytest.raises(LzuError, match=f"there is no evaluation set {name}; give demo, or the"):
        open_dataset(name, None)
    with pytest.raises(LzuError, match=r"the annotations /nowhere/x\.json do not exist"):
        open_dataset("/nowhere/x.json", None)


def test_a_missing_harness_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """No set at all, or one whose packages are not installed."""
    monkeypatch.setattr(datasets, "entry_points", lambda group: [])
    with pytest.raises(
        LzuError, match=r"needs the benchmark harness; pip install -e '\.\[bench\]'"
    ):
        open_dataset("demo", None)
    broken = EntryPoint("demo", "a_package_that_is_not_there:demo", datasets.GROUP)
    monkeypatch.setattr(datasets, "entry_points", lambda group: [broken])
    with pytest.raises(LzuError, match="needs the package a_package_that_is_not_there; pip"):
        open_dataset("demo", None)
