"""COCO annotations: what is taken as it is, and what contradicts itself."""

import copy
import json
import logging
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edits import edit_json
from lzu_export.errors import LzuError
from lzu_export.inputs.coco import check_frame_size, in_time, read_coco, read_coco_images
from lzu_export.inputs.coco_boxes import CocoImage

Change = Callable[[Any], object]


def data() -> dict[str, Any]:
    """Three images of 40x60 with a box in each corner, ids with gaps."""
    corners = [(0, 0), (45, 0), (0, 28), (45, 28)]
    return {
        "images": [
            {"id": i, "file_name": f"{i}.png", "height": 40, "width": 60} for i in (7, 2, 11)
        ],
        "categories": [{"id": 4, "name": "Traffic Light"}, {"id": 1, "name": "car"}],
        "annotations": [
            {"id": 100 * image + i, "image_id": image, "category_id": (1, 4)[i % 2],
             "bbox": [x, y, 15, 12], "area": 180}
            for image in (7, 2, 11) for i, (x, y) in enumerate(corners)
        ],
    }  # fmt: skip


def written(folder: Path, change: Change = lambda found: None, head: bytes = b"") -> Path:
    found = data()
    change(found)
    path = folder / "boxes.json"
    path.write_bytes(head + json.dumps(found).encode())
    return path


def each(change: Change) -> Change:
    return lambda found: [change(entry) for entry in found["annotations"]]


def test_boxes_come_with_their_classes_in_the_recipe_s_order(tmp_path: Path) -> None:
    found = read_coco(written(tmp_path), ["car", "traffic_light"])
    assert found.classes == ("car", "traffic_light")
    assert [image.id for image in found.images] == [7, 2, 11]
    assert [(each.image, each.label) for each in found.objects[:5]] == [
        (7, 0), (7, 1), (7, 0), (7, 1), (2, 0),
    ]  # fmt: skip
    assert found.objects[3].box == (45, 28, 15, 12)
    assert found.objects[3].area == 180
    assert [image.id for image, _ in in_time(found)] == [2, 7, 11]
    assert read_coco(written(tmp_path)).classes == ("car", "Traffic Light")  # by id


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_is_no_obstacle(tmp_path: Path, encoding: str) -> None:
    path = written(tmp_path)
    expected = read_coco(path)
    path.write_text(path.read_text(), encoding=encoding)
    assert read_coco(path) == expected


def test_folders_may_be_named_as_windows_does(tmp_path: Path) -> None:
    def change(found: Any) -> None:
        for image in found["images"]:
            image["file_name"] = f"day\\one\\{image['file_name']}"

    image = read_coco_images(written(tmp_path, change))[0]
    assert image.key == "day/one/7.png"
    assert tmp_path / "day/one/7.png" in image.places
    assert tmp_path / "images/day/one/7.png" in image.places
    assert tmp_path / "day\\one\\7.png" in image.places  # a legal name elsewhere


def test_texts_as_ids_are_taken_where_all_are(tmp_path: Path) -> None:
    """Texts of digits come in the order of their numbers."""

    def change(found: Any) -> None:
        for image in found["images"]:
            image["id"] = str(image["id"])
        for entry in found["annotations"]:
            entry["image_id"] = str(entry["image_id"])

    found = read_coco(written(tmp_path, change))
    assert [image.id for image, _ in in_time(found)] == ["2", "7", "11"]
    assert len(found.objects) == 12


ROOT = {"id": 0, "name": "signs", "supercategory": "none"}


def test_the_root_of_roboflow_is_no_class(tmp_path: Path) -> None:
    """Unless annotations use it, or the recipe asks for it."""

    def change(found: Any) -> None:
        found["categories"].append(ROOT)

    def use(found: Any) -> None:
        change(found)
        found["annotations"][0]["category_id"] = 0

    assert read_coco(written(tmp_path, change)).classes == ("car", "Traffic Light")
    assert read_coco(written(tmp_path, use)).classes == ("signs", "car", "Traffic Light")
    wanted = ["car", "traffic light", "signs"]
    assert read_coco(written(tmp_path, change), wanted).classes == tuple(wanted)


def test_a_fraction_of_a_pixel_beyond_the_frame_is_taken(tmp_path: Path) -> None:
    """As in COCO itself, and as coordinates from 1 have it."""
    change: Change = lambda found: found["annotations"][3].update(bbox=[45.4, 29, 15, 12])  # noqa: E731
    assert read_coco(written(tmp_path, change)).objects[3].box == (45.4, 29, 15, 12)


def test_few_boxes_without_width_are_taken_with_a_note(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """COCO has some; the same box in a small set is an error."""

    def change(found: Any) -> None:
        found["annotations"] = [
            {**copy.deepcopy(found["annotations"][1]), "id": i} for i in range(1000)
        ]
        found["annotations"][500]["bbox"] = [20, 20, 0, 8]

    with caplog.at_level(logging.WARNING):
        assert read_coco(written(tmp_path, change)).objects[500].is_empty
    assert "1 of 1000 boxes are odd, the first of annotation 500" in caplog.text


def to_corners(entry: Any) -> None:
    x, y, width, height = entry["bbox"]
    entry["bbox"] = [x, y, x + width, y + height]


def to_shares(entry: Any) -> None:
    x, y, width, height = entry["bbox"]
    entry["bbox"] = [x / 60, y / 40, width / 60, height / 40]


def inner_corners(entry: Any) -> None:
    """Corners of a box that lies within the frame either way; only the area tells."""
    entry["bbox"], entry["area"] = [5, 4, 20, 16], 180


def first(**changes: Any) -> Change:
    return lambda found: found["annotations"][5].update(changes)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (each(to_corners), "annotation 701 has the bbox .45, 0, 60, 12.*corners"),
        (each(inner_corners), "annotation 700 .* the area 180, which is that of corners"),
        (each(to_shares), "annotation 700 .* as shares of the frame would be"),
        (each(lambda entry: entry.update(bbox=[900, 900, 5, 5])), "865 pixels beyond its frame"),
        (first(bbox=[45.0, float("nan"), 15, 12]), "annotation 201 has the bbox .*four finite"),
        (first(bbox=[45, 0, float("inf"), 12]), "annotation 201 has the bbox .*four finite"),
        (first(bbox=[45, 0, 10**400, 12]), "annotation 201 has the bbox .*four finite"),
        (first(bbox=["45", 0, 15, 12]), "annotation 201 has the bbox .*four finite"),
        (first(bbox=[60, 12, -15, -12]), "annotation 201 .*whose sides are not positive"),
        (first(bbox=[45, 0, 15, 0]), "annotation 201 .*whose sides are not positive"),
        (first(bbox=[45, 0, 15]), "annotation 201 has the bbox .* of 3 values"),
        (first(bbox=None), "annotation 201 has no bbox; give x, y, width"),
        (first(bbox=[-5, 0, 15, 12]), "annotation 201 .* 5 pixels beyond its frame, 60 wide"),
        (first(area=float("nan")), "annotation 201 has the area nan"),
        (first(area=-3), "annotation 201 has the area -3"),
        (first(iscrowd=2), "annotation 201 has the iscrowd 2; give 0 or 1"),
        (first(image_id="2"), "annotation 201 has the image_id '2' where images has the id 2"),
        (first(image_id=99), "annotation 201 has the image_id 99, which is in none of images"),
        (first(image_id=None), "annotation 201 has the image_id None, which is in none of"),
        (first(image_id=[2]), r"annotation 201 has the image_id \[2\], which is in none"),
        (first(category_id=99), "annotation 201 has the category_id 99, which is in none of cat"),
        (first(category_id="4"), "category_id '4' where categories has the id 4"),
        (first(category_id=True), "has the category_id True"),
        (first(id=700), "two annotations of one id, annotation 700; number them apart"),
        (lambda found: found["annotations"][5].pop("image_id"), "annotation 201 has no image_id"),
        (lambda found: found["annotations"].insert(0, 3), "entry 1 of annotations is 3"),
        (lambda found: found["images"][1].update(id="2"), "image ids have two types, such as 7"),
        (lambda found: found["images"][1].update(id=2.0), "the id 2.0 of one image is no whole"),
        (lambda found: found["images"][1].update(id=7), "two images of one id, 7; number them"),
        (lambda found: found["images"][1].update(height=40.5), "has the height 40.5 and the width"),
        (lambda found: found["images"][1].update(width=-60), "the width -60; give whole numbers"),
        (lambda found: found["images"][1].update(frame_id=[1]), "image 2 has the fid or frame_id"),
        (lambda found: found["images"][1].update(sid={}), "image 2 has the sid or video_id"),
        (lambda found: found["images"][1].update(file_name="x" * 300), "a file_name of 300 char"),
        (lambda found: found["images"][1].update(file_name="a\0b"), "image 2 has no file_name"),
        (lambda found: found["categories"][0].update(id=1), "two categories of one id, 1"),
        (lambda found: found["categories"][0].update(id="4"), "category ids have two types"),
        (lambda found: found["categories"][0].pop("name"), "has no id or no name; give both"),
        (lambda found: found.pop("categories"), "it has no list of categories; give one with"),
        (lambda found: found["categories"][0].update(name="bus"), "classes car, bus but the rec"),
    ],
)  # fmt: skip
def test_what_contradicts_itself_is_refused(tmp_path: Path, change: Change, words: str) -> None:
    path = written(tmp_path, change)
    with pytest.raises(LzuError, match=words) as caught:
        read_coco(path, ["car", "traffic_light"])
    assert "boxes.json" in str(caught.value)


NOT_JSON = [b"", b'{"images": [{"id": 1', b"[" * 200_000, b"\xff\xfe\x00", b"<html>"]


@pytest.mark.parametrize("content", NOT_JSON, ids=range(len(NOT_JSON)))
def test_what_is_no_json_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "boxes.json"
    path.write_bytes(content)
    with pytest.raises(LzuError, match="is not valid JSON"):
        read_coco(path)


def test_json_that_is_no_data_set_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "boxes.json"
    path.write_bytes(b"[]")
    with pytest.raises(LzuError, match="is not a COCO data set: it has no list of images"):
        read_coco(path)
    (tmp_path / "boxes").mkdir()
    with pytest.raises(LzuError, match=r"boxes is a folder, not a file; give a JSON file"):
        read_coco(tmp_path / "boxes")


def test_an_image_s_file_must_be_as_its_entry_says(tmp_path: Path) -> None:
    """Where the entry is silent its boxes are held against the file."""
    path = written(tmp_path)
    found = read_coco(path)
    image = found.images[0]
    objects = [each for each in found.objects if each.image == image.id]
    check_frame_size(path, image, objects, (40, 60))
    with pytest.raises(LzuError, match=r"7\.png is 60 wide and 40 high, but the file is 40 wide"):
        check_frame_size(path, image, objects, (60, 40))
    silent: CocoImage = image._replace(size=None)
    check_frame_size(path, silent, objects, (40, 60))
    with pytest.raises(LzuError, match=r"annotation 701 .* 20 pixels beyond its frame, 40 wide"):
        check_frame_size(path, silent, objects, (60, 40))


ODD: list[Any] = [None, True, -1, 10**30, 1.5, float("nan"), float("-inf"), "", "7", "\0", "\ud800",
                  "a/../../b", [], [1], {}, {"a": 1}]  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
def test_no_edit_ends_in_anything_but_a_sentence(tmp_path: Path, seed: int) -> None:
    """Values exchanged, removed and repeated anywhere."""
    generator = random.Random(seed)
    sentences = []
    for _ in range(60):
        found, _edit = edit_json(data(), generator, ODD)
        (tmp_path / "boxes.json").write_text(json.dumps(found))
        try:
            in_time(read_coco(tmp_path / "boxes.json"))
        except LzuError as error:
            sentences.append(str(error))
    assert len(sentences) > 20
    assert all("boxes.json" in each and "\n" not in each for each in sentences)
