"""Each layout on a tiny tree: which frames, in which sequences and order."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from lzu_export.errors import LzuError
from lzu_export.inputs.frame_sources.candidates import Listing
from lzu_export.inputs.frame_sources.layouts import cityscapes, coco, directory, folder, nuscenes


def image(path: Path, value: int = 50) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((4, 6, 3), value, np.uint8))
    return path


def keys(listing: Listing) -> list[list[str]]:
    return [[each.key for each in sequence] for sequence in listing.sequences]


def write(path: Path, data: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data))
    return path


def test_a_flat_folder_is_one_sequence(tmp_path: Path) -> None:
    """By name; other and hidden files are no frames."""
    for name in ("b.png", "a.PNG", "c.jpg", ".hidden.png"):
        image(tmp_path / name)
    (tmp_path / "notes.txt").write_text("x")
    listing = directory(tmp_path)
    assert listing.name == tmp_path.name
    assert keys(listing) == [["a.PNG", "b.png", "c.jpg"]]


def test_every_folder_below_is_a_sequence(tmp_path: Path) -> None:
    """At any depth, linked ones too, but not in circles; empty ones are none."""
    for name in ("two/1.png", "two/deep/2.png", "one/3.png", "4.png"):
        image(tmp_path / "root" / name)
    (tmp_path / "root" / "empty").mkdir()
    image(tmp_path / "elsewhere" / "5.png")
    (tmp_path / "root" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "root" / "two" / "up").symlink_to(tmp_path / "root")
    assert keys(folder(tmp_path / "root")) == [
        ["4.png"],
        ["linked/5.png"],
        ["one/3.png"],
        ["two/1.png"],
        ["two/deep/2.png"],
    ]


def test_label_maps_beside_images_are_no_frames(tmp_path: Path) -> None:
    """Where there is a folder `images` it is all there is, at any depth."""
    for name in ("images/a.png", "labels/a.png", "b.png"):
        image(tmp_path / "train" / name)
    assert keys(folder(tmp_path / "train")) == [["images/a.png"]]
    assert keys(folder(tmp_path)) == [["train/images/a.png"]]


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    """Naming what would be one."""
    with pytest.raises(LzuError, match=r"holds no images \(\.bmp, .*\); add some"):
        directory(tmp_path)


def test_coco_sequences_are_folders(tmp_path: Path) -> None:
    """Images beside the file or in `images`, each once, by name within a sequence."""
    image(tmp_path / "b" / "2.png")
    image(tmp_path / "images" / "a" / "1.png")
    names = ["b/2.png", "a/1.png", "b/1.png", "b/2.png"]
    listing = coco(write(tmp_path / "x.json", {"images": [{"file_name": n} for n in names]}))
    assert listing.name == "x.json"
    assert keys(listing) == [["b/1.png", "b/2.png"], ["a/1.png"]]
    found = listing.sequences[0][1], listing.sequences[1][0]
    assert all((each.read() == 50).all() for each in found)
    with pytest.raises(LzuError, match=r"image b/1\.png is neither .*/b/1\.png nor .*/images/b"):
        listing.sequences[0][0].contents()


@pytest.mark.parametrize("field", ["video_id", "sequence_id"])
def test_coco_sequences_are_named(tmp_path: Path, field: str) -> None:
    """By number or name, in the order of frame numbers where they are given."""
    images = [
        {"file_name": f"{i}.png", field: i % 2, "frame_id": 10 - i, "id": i} for i in range(5)
    ]
    path = write(tmp_path / "x.json", {"images": images, "annotations": []})
    assert keys(coco(path)) == [["4.png", "2.png", "0.png"], ["3.png", "1.png"]]


def test_argoverse_hd_has_names_and_folders_of_sequences(tmp_path: Path) -> None:
    """A `name` in the folder that `seq_dirs` gives for `sid`, unless `file_name` has it already."""
    seq_dirs = ["Argoverse-1.1/tracking/val/x/ring_front_center", "other"]
    data = {
        "seq_dirs": seq_dirs,
        "images": [
            {"name": "b.jpg", "sid": 0, "fid": 1},
            {"name": "a.jpg", "sid": 0, "fid": 2},
            {"file_name": "other/c.jpg", "sid": 1, "fid": 0},
        ],
    }
    image(tmp_path / seq_dirs[0] / "a.jpg")
    listing = coco(write(tmp_path / "val.json", data))
    assert keys(listing) == [[f"{seq_dirs[0]}/b.jpg", f"{seq_dirs[0]}/a.jpg"], ["other/c.jpg"]]
    assert listing.sequences[0][1].read().shape == (4, 6, 3)


@pytest.mark.parametrize(
    "data",
    [
        [],
        {},
        {"images": [{"id": 3}]},
        {"images": [3]},
        {"images": [{"file_name": "a.png", "sid": 4}], "seq_dirs": []},
        {"images": [{"file_name": "a.png", "fid": 4}, {"file_name": "b.png", "fid": "5"}]},
    ],
)
def test_what_is_no_coco_is_refused(tmp_path: Path, data: Any) -> None:
    """Naming the file and the fault."""
    with pytest.raises(LzuError, match=r"x\.json(: | is not a COCO data set).*; (give|number) "):
        coco(write(tmp_path / "x.json", data))


def test_coco_without_images_is_refused(tmp_path: Path) -> None:
    """As a set without a frame."""
    with pytest.raises(LzuError, match=r"x\.json holds no images to calibrate on"):
        coco(write(tmp_path / "x.json", {"images": []}))


def test_cityscapes_sequences_are_city_and_number(tmp_path: Path) -> None:
    """Of the training split, from the root or the image folder."""
    root = tmp_path / "leftImg8bit"
    for name in (
        "train/aachen/aachen_000001_000019",
        "train/aachen/aachen_000000_000020",
        "train/aachen/aachen_000000_000019",
        "train/bad-honnef/bad-honnef_000000_000019",
        "val/munster/munster_000000_000019",
    ):
        image(root / f"{name}_leftImg8bit.png")
    image(root / "train" / "aachen" / "aachen_000000_000019_gtFine_color.png")
    aachen, honnef = "train/aachen/aachen", "train/bad-honnef/bad-honnef"
    expected = [
        [f"{aachen}_000000_0000{i}_leftImg8bit.png" for i in (19, 20)],
        [f"{aachen}_000001_000019_leftImg8bit.png"],
        [f"{honnef}_000000_000019_leftImg8bit.png"],
    ]
    assert keys(directory(tmp_path)) == expected
    assert keys(directory(root)) == expected
    assert directory(tmp_path).name == f"{tmp_path.name} train"


def test_cityscapes_without_training_images_takes_the_next_split(tmp_path: Path) -> None:
    """And is refused without any."""
    with pytest.raises(LzuError, match=r"leftImg8bit holds no <split>/<city>"):
        cityscapes(tmp_path)
    image(tmp_path / "leftImg8bit/val/ulm/ulm_000000_000019_leftImg8bit.png")
    assert keys(cityscapes(tmp_path)) == [["val/ulm/ulm_000000_000019_leftImg8bit.png"]]


def devkit(root: Path, version: str = "v1.0-mini") -> None:
    """Two scenes of two samples, through two cameras; a sweep and a radar besides."""
    tables = root / version
    write(tables / "scene.json", [{"token": f"s{i}", "name": f"scene-{i}"} for i in (1, 0)])
    samples = [{"token": f"t{i}", "scene_token": f"s{i // 2}"} for i in range(4)]
    write(tables / "sample.json", samples)
    data = []
    for i in reversed(range(4)):
        for kind, channel, key in (
            ("samples", "CAM_FRONT", True),
            ("samples", "CAM_BACK", True),
            ("sweeps", "CAM_FRONT", False),
            ("samples", "RADAR_FRONT", True),
        ):
            name = f"{kind}/{channel}/{3 - i}.jpg"
            row = {"sample_token": f"t{i}", "is_key_frame": key, "timestamp": i}
            data.append({"token": name, "filename": name, **row})
            image(root / name)
    write(tables / "sample_data.json", data)


def test_nuscenes_sequences_are_scenes_through_a_camera(tmp_path: Path) -> None:
    """Key frames only, in the order of time."""
    devkit(tmp_path)
    listing = directory(tmp_path)
    assert listing.name == f"{tmp_path.name} v1.0-mini"
    assert keys(listing) == [
        ["samples/CAM_BACK/3.jpg", "samples/CAM_BACK/2.jpg"],
        ["samples/CAM_FRONT/3.jpg", "samples/CAM_FRONT/2.jpg"],
        ["samples/CAM_BACK/1.jpg", "samples/CAM_BACK/0.jpg"],
        ["samples/CAM_FRONT/1.jpg", "samples/CAM_FRONT/0.jpg"],
    ]


def test_nuscenes_in_parts_gives_the_frames_that_are_there(tmp_path: Path) -> None:
    """Of the fullest version; without any it is refused."""
    devkit(tmp_path)
    devkit(tmp_path, "v1.0-trainval")
    for path in (tmp_path / "samples" / "CAM_BACK").iterdir():
        path.unlink()
    (tmp_path / "samples" / "CAM_FRONT" / "2.jpg").unlink()
    listing = nuscenes(tmp_path)
    assert listing.name.endswith("v1.0-trainval")
    assert keys(listing)[0] == ["samples/CAM_FRONT/3.jpg"]
    for path in (tmp_path / "samples" / "CAM_FRONT").iterdir():
        path.unlink()
    (tmp_path / "samples" / "CAM_FRONT").rmdir()
    with pytest.raises(LzuError, match=r"samples holds no camera's key frame of v1\.0-trainval"):
        nuscenes(tmp_path)


def test_damaged_nuscenes_tables_are_refused(tmp_path: Path) -> None:
    """Naming the table and the field."""
    devkit(tmp_path)
    tables = tmp_path / "v1.0-mini"
    write(tables / "scene.json", [])
    with pytest.raises(LzuError, match=r"v1\.0-mini has no sample or scene of token s1, which"):
        nuscenes(tmp_path)
    write(tables / "sample.json", [{"token": "t"}])
    with pytest.raises(LzuError, match=r"sample\.json has a row without the field scene_token"):
        nuscenes(tmp_path)
    (tables / "sample.json").write_text("[")
    with pytest.raises(LzuError, match=r"sample\.json is damaged"):
        nuscenes(tmp_path)
    (tables / "sample.json").unlink()
    with pytest.raises(LzuError, match=r"sample\.json cannot be read .No such file"):
        nuscenes(tmp_path)
