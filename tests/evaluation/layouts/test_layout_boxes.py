"""Argoverse-HD and other COCO annotations with sequences: order, places, classes."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from lzu_benchmarks.demo.evaluation import folder
from lzu_export.errors import LzuError
from lzu_export.evaluation.datasets import open_dataset
from lzu_export.evaluation.layouts.boxes import CocoSet
from lzu_export.recipes import load_recipe
from lzu_export.runtime import Detections

ARGOVERSE = ("person", "bicycle", "car", "motorcycle", "bus", "truck", "traffic_light", "stop_sign")
DIRECTORIES = ["val/5ab2/ring_front_center", "val/033669/ring_front_center"]


def frame(path: Path, value: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((24, 32, 3), value, np.uint8))


def argoverse(root: Path, names: tuple[str, ...] = ARGOVERSE) -> Path:
    """Two sequences of two frames as the data set has them, ids against time; the annotations."""
    images, annotations = [], []
    for sid, fid, number in ((0, 1, 4), (0, 0, 6), (1, 0, 3), (1, 1, 8)):
        name = f"ring_front_center_{number}.jpg"
        images.append(
            {"id": number, "sid": sid, "fid": fid, "name": name, "width": 32, "height": 24}
        )
        frame(root / "Argoverse-1.1" / "tracking" / DIRECTORIES[sid] / name, 10 * number)
        box = {"id": number, "image_id": number, "bbox": [4, 4, 10, 10], "area": 100}
        annotations.append({**box, "category_id": 2, "iscrowd": 0, "ignore": 0, "track": 5})
    # Beside it a crowd, and one that only `ignore` marks, which COCO does not know.
    for number, marks in ((6, {"iscrowd": 1}), (4, {"iscrowd": 0, "ignore": 1})):
        box = {"id": 90 + number, "image_id": number, "bbox": [20, 4, 8, 8], "area": 64}
        annotations.append({**box, "category_id": 2, **marks})
    data = {
        "categories": [{"id": i, "name": name} for i, name in enumerate(names)],
        "images": images,
        "annotations": annotations,
        "sequences": ["5ab2", "033669"],
        "seq_dirs": DIRECTORIES,
    }
    path = root / "Argoverse-HD" / "annotations" / "val.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data))
    return path


def changed(path: Path, change: Any) -> Path:
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))
    return path


def test_argoverse_comes_by_sequence_and_frame(tmp_path: Path) -> None:
    """From the annotations, or the folder that all was unpacked into."""
    path = argoverse(tmp_path)
    for given in (path, tmp_path):
        found = open_dataset(str(given), None, "det")
        samples = list(found.samples())
        assert [each.number for each in samples] == [3, 8, 6, 4]
        assert [each.sequence for each in samples] == ["1", "1", "0", "0"]
        for each in samples:
            assert np.abs(each.camera_frame.frame.astype(int) - 10 * each.number).max() <= 2  # JPEG
        assert [each.number for each in found.samples(3)] == [4]
    assert found.classes == ARGOVERSE


def test_frames_may_lie_beside_the_annotations(tmp_path: Path) -> None:
    path = argoverse(tmp_path)
    (tmp_path / "Argoverse-1.1" / "tracking" / "val").rename(path.parent / "val")
    assert len(list(CocoSet(path, None).samples())) == 4
    (path.parent / DIRECTORIES[1] / "ring_front_center_8.jpg").unlink()
    with pytest.raises(LzuError, match=r"image val/033669/ring_front_center/.*_8\.jpg is neither"):
        CocoSet(path, None)


def test_only_crowds_neither_reward_nor_punish(tmp_path: Path) -> None:
    """`ignore` is overwritten by COCO's evaluation, so that its object is missed."""
    found = CocoSet(argoverse(tmp_path), None)
    scorer = found.scorer()
    for sample in found.samples():
        boxes = np.array([[4, 4, 14, 14]], np.float32)
        scorer.add(sample, Detections(boxes, np.ones(1, np.float32), np.full(1, 2, np.int32), ()))
    assert scorer.summary()["AP50"] == pytest.approx(100 * 81 / 101)  # 4 of 5, at 101 recalls


def test_classes_are_the_recipe_s_by_name(tmp_path: Path) -> None:
    """Spelt with spaces and in another order."""
    names = tuple(each.replace("_", " ").title() for each in ARGOVERSE[::-1])
    path = argoverse(tmp_path, names)
    recipe = load_recipe("argoverse-hd")
    found = open_dataset(str(path), None, "det", recipe)
    assert found.classes == recipe.classes
    sample = next(found.samples())
    # Category 2 is the third of the reversed names: truck.
    assert [recipe.classes[each["category_id"] - 1] for each in sample.truth.annotations] == [
        "truck"
    ]


def test_other_classes_are_refused_when_the_set_is_opened(tmp_path: Path) -> None:
    path = argoverse(tmp_path, (*ARGOVERSE[:-1], "parrot"))
    with pytest.raises(LzuError, match=r"set val\.json has the classes .*parrot but the recipe .*"):
        open_dataset(str(path), None, "det", load_recipe("argoverse-hd"))


@pytest.mark.parametrize("keys", [("video_id", "frame_id"), ("sequence_id", "frame_id")])
def test_any_coco_with_sequences_comes_in_time(tmp_path: Path, keys: tuple[str, str]) -> None:
    def change(data: Any) -> None:
        for image in data["images"]:
            image[keys[0]], image[keys[1]] = image.pop("sid"), image.pop("fid")
            image["file_name"] = f"{DIRECTORIES[image[keys[0]]]}/{image.pop('name')}"
        del data["seq_dirs"], data["sequences"]

    path = changed(argoverse(tmp_path), change)
    (tmp_path / "Argoverse-1.1" / "tracking" / "val").rename(path.parent / "val")
    assert [each.number for each in CocoSet(path, None).samples()] == [3, 8, 6, 4]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: data["seq_dirs"].pop(), "to sequence 1, which seq_dirs does not"),
        (lambda data: data["images"][0].pop("name"), "image 4 has no file_name"),
        (lambda data: data["images"].append(data["images"][0]), "has two images of one id"),
        (lambda data: data["annotations"][0].update(bbox=[1, 2]), r"bbox \[1, 2\] of 2 values"),
        (lambda data: data["images"][0].update(fid="x"), "is not a COCO data set .TypeError"),
    ],
)
def test_damaged_annotations_are_refused(tmp_path: Path, change: Any, words: str) -> None:
    with pytest.raises(LzuError, match=words):
        CocoSet(changed(argoverse(tmp_path), change), None)


def test_argoverse_is_of_detection(tmp_path: Path) -> None:
    argoverse(tmp_path)
    with pytest.raises(
        LzuError, match="belongs to task det, as Argoverse-HD is, but the recipe to seg"
    ):
        folder(str(tmp_path), task="seg", frames=None)
