"""The demonstration data set and its COCO export."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from faster_coco_eval import COCO

from lzu_benchmarks.demo.dataset import SPLITS, open_demo, write_coco
from lzu_benchmarks.scenes.motion import MOVING
from lzu_export.errors import LzuError


def test_samples_unpack_and_agree_with_the_ground_truth() -> None:
    dataset = open_demo("val", limit=3)
    truth = dataset.coco_ground_truth()
    assert len(dataset) == len(truth["images"]) == 3
    for (frame_id, sequence_id, image, annotations), entry in zip(
        dataset, truth["images"], strict=True
    ):
        assert image.shape == (entry["height"], entry["width"], 3)
        assert (frame_id, sequence_id) == (entry["id"], entry["sequence_id"])
        assert annotations == [a for a in truth["annotations"] if a["image_id"] == frame_id]


def test_splits_hold_different_sequences() -> None:
    ranges = {name: set(range(first, first + n)) for name, (first, n) in SPLITS.items()}
    assert len(set().union(*ranges.values())) == sum(map(len, ranges.values()))
    moving = {name: min(seeds) >= MOVING for name, seeds in ranges.items()}
    assert moving == {name: name.startswith("moving") for name in SPLITS}
    assert len(ranges["val"]) >= 48
    assert len({s for s, _ in open_demo("val").keys}) == len(ranges["val"])


def test_limit_takes_frames_from_the_whole_split() -> None:
    keys = open_demo("val", limit=32).keys
    assert len(set(keys)) == 32
    assert keys[0][0] == 0
    assert keys[-1][0] == SPLITS["val"][1] - 1


@pytest.mark.parametrize(
    ("options", "named"), [({"split": "tset"}, "tset"), ({"limit": 0}, "limit")]
)
def test_bad_requests_are_refused(options: dict[str, object], named: str) -> None:
    with pytest.raises(LzuError, match=named):
        open_demo(**options)  # type: ignore[arg-type]


def test_written_files_are_a_valid_coco_data_set(tmp_path: Path) -> None:
    dataset = open_demo("val", limit=2)
    path = write_coco(tmp_path, dataset)
    coco = COCO(str(path))
    assert len(coco.getImgIds()) == 2
    truth = json.loads(path.read_text())
    assert [c["id"] for c in truth["categories"]] == list(range(1, len(dataset.classes) + 1))
    assert len({a["id"] for a in truth["annotations"]}) == len(truth["annotations"])
    for annotation in truth["annotations"]:
        x, y, width, height = annotation["bbox"]
        assert x >= 0
        assert y >= 0
        assert x + width <= 640.01
        assert y + height <= 360.01
        assert width > 0
        assert height > 0
        assert annotation["area"] == pytest.approx(width * height, abs=1e-2)
    for sample, entry in zip(dataset, truth["images"], strict=True):
        written = cv2.imread(str(tmp_path / "images" / entry["file_name"]))
        np.testing.assert_array_equal(written, sample.image)
