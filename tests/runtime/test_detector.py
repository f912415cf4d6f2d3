"""A bundle that detects: frames in, detections out, without torch."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from lzu_export.errors import LzuError
from lzu_export.recipes.load import validate
from lzu_export.runtime import Detections, Detector, load
from lzu_export.runtime.choice import Choice
from lzu_export.runtime.predictor import NO_CHOICE
from lzu_export.tasks.pytorch import noise_frame, torch_predictor
from lzu_export.tasks.warps import make_warp
from samples import FakeSession


class Candidates(FakeSession):
    """A session that returns given candidates and keeps the inputs of its last run."""

    def __init__(self, boxes: Any, scores: Any, labels: Any) -> None:
        self.values = {
            "boxes": np.array(boxes, np.float32),
            "scores": np.array(scores, np.float32),
            "labels": np.array(labels, np.int32),
        }

    def run(self, inputs: Any) -> dict[str, Any]:
        self.given = dict(inputs)
        return self.values


def detector(tiny_recipe: dict[str, Any], session: Candidates, **changes: Any) -> Detector:
    fit: Any = "stretch" if changes.pop("resize", False) else changes.pop("fit", "exact")
    recipe = validate({**tiny_recipe, **changes}, "tiny")
    return Detector(recipe, session, make_warp(recipe).arrays(), fit=fit)


def one(boxes: Any, scores: Any, labels: Any) -> Candidates:
    return Candidates([boxes], [scores], [labels])


def test_a_bundle_detects_as_pytorch_does(tiny_bundle: Path, tiny_recipe: dict[str, Any]) -> None:
    """From the same frame both find the same boxes, scores and labels."""
    recipe = validate(tiny_recipe, "tiny")
    frame = noise_frame(recipe.source, seed=7)
    wanted = torch_predictor(recipe, make_warp(recipe))(frame)
    got = load(tiny_bundle)(frame)
    assert len(wanted) > 10
    np.testing.assert_array_equal(got.labels, wanted.labels)
    np.testing.assert_allclose(got.scores, wanted.scores, atol=1e-4)
    np.testing.assert_allclose(got.boxes, wanted.boxes, atol=0.02)
    assert got.classes == ("car", "sign")


def test_candidates_are_suppressed_by_the_recipe(tiny_recipe: dict[str, Any]) -> None:
    """Score threshold, IoU threshold and maximum number come from its `postprocess` section."""
    boxes = [[0, 0, 10, 10], [0, 0, 10, 9], [50, 50, 60, 60], [100, 5, 120, 15]]
    session = one(boxes, [0.9, 0.8, 0.7, 0.3], [1, 1, 1, 0])
    settings = {"score_threshold": 0.4, "iou_threshold": 0.5, "max_detections": 5}
    found = detector(tiny_recipe, session, postprocess=settings)(noise_frame((96, 160), 0))
    np.testing.assert_array_equal(found.boxes, np.array([boxes[0], boxes[2]], np.float32))
    np.testing.assert_array_equal(found.scores, np.array([0.9, 0.7], np.float32))
    assert found.labels.tolist() == [1, 1]
    settings["max_detections"] = 1
    assert len(detector(tiny_recipe, session, postprocess=settings)(noise_frame((96, 160), 0))) == 1


def test_no_candidate_no_detection(tiny_recipe: dict[str, Any]) -> None:
    """The arrays are empty but of the right shapes, and the COCO list is empty."""
    found = detector(tiny_recipe, one([[0, 0, 9, 9]], [0.01], [0]))(noise_frame((96, 160), 0))
    assert len(found) == 0
    assert found.boxes.shape == (0, 4)
    assert found.to_coco(1) == []


def test_the_engine_gets_the_frame(tiny_recipe: dict[str, Any]) -> None:
    """An engine that zooms gets the frame's bytes unchanged; any other gets the zoomed image."""
    frame = noise_frame((96, 160), 0)
    session = one([[0, 0, 9, 9]], [0.9], [0])
    detector(tiny_recipe, session)(frame)
    np.testing.assert_array_equal(session.given["frame"], frame[None])
    detector(tiny_recipe, session, input="zoomed")(frame)
    assert session.given["image"].shape == (1, 3, 64, 96)
    assert session.given["image"].dtype == np.float32


def test_resized_frames_give_boxes_in_their_own_pixels(tiny_recipe: dict[str, Any]) -> None:
    """Boxes are scaled along each axis by the ratio of the sizes."""
    session = one([[16, 24, 80, 96]], [0.9], [0])
    frame = noise_frame((192, 480), 0)
    found = detector(tiny_recipe, session, resize=True)(frame)
    np.testing.assert_allclose(found.boxes, [[48, 48, 240, 192]], rtol=1e-6)
    np.testing.assert_array_equal(session.given["frame"][0], cv2.resize(frame, (160, 96)))


def test_boxes_end_at_the_frame(tiny_recipe: dict[str, Any]) -> None:
    """Boxes are clipped to the frame, as the canvas reaches slightly beyond it."""
    session = one([[-1, 2, 161.01, 97.9]], [0.9], [0])
    found = detector(tiny_recipe, session)(noise_frame((96, 160), 0))
    np.testing.assert_array_equal(found.boxes, np.array([[0, 2, 160, 96]], np.float32))
    found = detector(tiny_recipe, session, resize=True)(noise_frame((48, 80), 0))
    np.testing.assert_array_equal(found.boxes, np.array([[0, 1, 80, 48]], np.float32))


def test_boxes_end_at_the_crop(tiny_recipe: dict[str, Any]) -> None:
    """Boxes are clipped to a crop around the frame's centre."""
    session = one([[20, 10, 150, 90], [40, 20, 60, 40]], [0.9, 0.8], [0, 1])
    cropped = {"crop": [64, 96], "postprocess": {"candidates_per_level": 10}}
    found = detector(tiny_recipe, session, **cropped)(noise_frame((96, 160), 0))
    np.testing.assert_array_equal(found.boxes, [[32, 16, 128, 80], [40, 20, 60, 40]])
    found = detector(tiny_recipe, session, resize=True, **cropped)(noise_frame((192, 320), 0))
    np.testing.assert_array_equal(found.boxes, [[64, 32, 256, 160], [80, 40, 120, 80]])


def test_coco_results_match_the_detections() -> None:
    """A box is x, y, width and height in plain numbers; categories are counted from 1."""
    found = Detections(
        np.array([[1, 2, 4, 10], [5, 5, 6, 7]], np.float32),
        np.array([0.75, 0.5], np.float32),
        np.array([1, 0], np.int32),
        ("car", "sign"),
    )
    assert json.loads(json.dumps(found.to_coco(9))) == [
        {"image_id": 9, "category_id": 2, "bbox": [1, 2, 3, 8], "score": 0.75},
        {"image_id": 9, "category_id": 1, "bbox": [5, 5, 1, 2], "score": 0.5},
    ]


def test_a_batch_is_of_the_bundles_size(tiny_recipe: dict[str, Any]) -> None:
    """Each frame of the batch gets its own candidates and its own size."""
    session = Candidates([[[0, 0, 16, 16]], [[16, 16, 32, 32]]], [[0.9], [0.8]], [[0], [1]])
    two = detector(tiny_recipe, session, batch=2, resize=True)
    first, second = two.batch([noise_frame((96, 160), 0), noise_frame((48, 320), 1)])
    np.testing.assert_array_equal(first.boxes, [[0, 0, 16, 16]])
    np.testing.assert_array_equal(second.boxes, [[32, 8, 64, 16]])
    assert second.labels.tolist() == [1]
    assert session.given["frame"].shape == (2, 96, 160, 3)
    with pytest.raises(LzuError, match="1 frames were given but this bundle takes 2"):
        two(noise_frame((96, 160), 0))


def test_every_frame_of_a_batch_is_shown_with_the_zoom_of_its_boxes(
    tiny_recipe: dict[str, Any],
) -> None:
    """Two streams, each zoomed by one box; before the first frame the warp is the identity."""
    settings = {**tiny_recipe["warp"], "bandwidth": 20.0}
    session = Candidates(np.zeros((2, 0, 4)), np.zeros((2, 0)), np.zeros((2, 0)))
    two = detector(tiny_recipe, session, batch=2, variant="adaptive", warp=settings)
    frame = noise_frame((96, 160), 0)
    identity = two.sampler(frame)
    for stream, box in enumerate(([10, 10, 40, 40], [110, 50, 150, 80])):
        two.set_boxes([box], stream)
    two.batch([frame, frame])
    centres, pictures = [], []
    for i in range(2):
        tables = two.tables_of(i)
        centres.append(float((tables.cols[0] + tables.cols[1]).mean()))
        pictures.append(two.sampler_of(i)(frame))
    assert centres[0] + 5 < centres[1]
    for one_of, other in ((0, 1), (1, 0)):
        assert np.abs(pictures[one_of] - pictures[other]).max() > 1
        assert np.abs(pictures[one_of] - identity).max() > 1


def test_frames_between_bars_give_boxes_in_their_own_pixels(tiny_recipe: dict[str, Any]) -> None:
    """Boxes are clipped to the frame; a box that lies only in the bars is dropped."""
    boxes = [[50, 24, 70, 48], [20, 0, 60, 96], [0, 0, 39, 90], [125, 3, 150, 9]]
    session = one(boxes, [0.9, 0.8, 0.7, 0.6], [0, 1, 0, 1])
    made = detector(tiny_recipe, session, fit="pad")
    found = made(noise_frame((192, 160), 0))  # at x 40 to 120 of the source, half as large
    np.testing.assert_allclose(found.boxes, [[20, 48, 60, 96], [0, 0, 40, 192]], atol=1e-4)
    np.testing.assert_allclose(found.scores, [0.9, 0.8])
    assert found.labels.tolist() == [0, 1]


def test_boxes_end_at_the_window(tiny_recipe: dict[str, Any]) -> None:
    """Boxes are clipped to a window that is not centred in the frame."""
    session = one([[20, 10, 150, 95], [80, 40, 100, 60]], [0.9, 0.8], [0, 1])
    window = {"x": 60, "y": 31, "width": 80, "height": 64}
    found = detector(tiny_recipe, session, crop=window)(noise_frame((96, 160), 0))
    np.testing.assert_array_equal(found.boxes, [[60, 31, 140, 95], [80, 40, 100, 60]])


def test_a_choice_of_results_does_not_move_the_warp(tiny_recipe: dict[str, Any]) -> None:
    """The boxes that set the next frame's zoom are still chosen by the recipe's thresholds."""
    boxes = [[10, 10, 40, 40], [110, 50, 150, 80]]
    session = one(boxes, [0.9, 0.4], [0, 1])
    recipe = validate({**tiny_recipe, "variant": "adaptive"}, "tiny")
    warp = make_warp(recipe).arrays()
    choices = [NO_CHOICE, Choice(score_threshold=0.8), Choice(classes=("car",), max_detections=1)]
    given = []
    for choice in choices:
        made = Detector(recipe, session, warp, choice=choice)  # type: ignore[arg-type]
        found = made(noise_frame((96, 160), 0))
        assert len(found) == (1 if choice else 2)
        made(noise_frame((96, 160), 0))
        given.append((session.given["prev_boxes"], session.given["prev_valid"]))
    for previous, valid in given:
        np.testing.assert_array_equal(previous[0, :2], boxes)
        assert valid.sum() == 2


def test_the_former_name_of_set_boxes_still_works(tiny_recipe: dict[str, Any]) -> None:
    settings = {**tiny_recipe["warp"], "bandwidth": 20.0}
    session = Candidates(np.zeros((1, 0, 4)), np.zeros((1, 0)), np.zeros((1, 0)))
    mine, former = (
        detector(tiny_recipe, session, variant="adaptive", warp=settings) for _ in range(2)
    )
    mine.set_boxes([[10, 10, 40, 40]])
    with pytest.warns(DeprecationWarning, match="look_at is set_boxes now"):
        former.look_at([[10, 10, 40, 40]])
    frame = noise_frame((96, 160), 0)
    for each in (mine, former):
        each(frame)
    np.testing.assert_array_equal(former.tables.cols, mine.tables.cols)


def test_the_former_name_of_a_camera_frame_still_imports() -> None:
    from lzu_export import runtime

    with pytest.warns(DeprecationWarning, match="runtime.Shot is lzu_export.runtime.CameraFrame"):
        assert runtime.Shot is runtime.CameraFrame
