"""Examples are chosen by their rule, and as many against as for."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from lzu_benchmarks.bench.gallery import drawn_of
from lzu_benchmarks.report.examples import draw_examples, evenly, found_by
from lzu_benchmarks.report.pictures import draw_truth
from lzu_benchmarks.report.small import Boxes, Regions, Solids
from lzu_export.evaluation.datasets import Sample
from lzu_export.evaluation.metrics.nuscenes_objects import CameraBoxes, camera_objects
from lzu_export.evaluation.metrics.rig import RigTruth
from lzu_export.evaluation.metrics.scorers import BoxTruth, SpaceTruth
from lzu_export.runtime.detector import Detections
from lzu_export.runtime.postprocess3d import Detections3d
from lzu_export.runtime.predictor import CameraFrame
from lzu_export.runtime.segmenter import Segmentation

CLASSES = ("car", "sign")
SMALL, LARGE = [50.0, 40.0, 8.0, 8.0], [80.0, 60.0, 40.0, 30.0]


def sample(number: int, *boxes: list[float], crowd: int = 0) -> Sample:
    annotations = [{"bbox": each, "category_id": 1, "iscrowd": crowd} for each in boxes]
    frame = np.full((120, 160, 3), 90, np.uint8)
    return Sample(number, CameraFrame(frame), BoxTruth({}, annotations))


def detections(*found: tuple[list[float], float, int]) -> Detections:
    boxes = np.array([each[0] for each in found], np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    scores = np.array([each[1] for each in found], np.float32)
    return Detections(boxes, scores, np.array([each[2] for each in found], np.int32), CLASSES)


BOXES = Boxes(CLASSES, 16.0)


def test_small_objects_are_those_below_the_area_that_count() -> None:
    samples = [sample(1, SMALL, LARGE), sample(2, SMALL, crowd=1)]
    found = BOXES.objects(samples)
    assert [(each.frame, each.label) for each in found] == [(0, 0)]
    np.testing.assert_allclose(found[0].box, [50, 40, 58, 48])


def test_an_object_is_found_by_its_class_with_a_score_and_an_overlap() -> None:
    objects = BOXES.objects([sample(1, SMALL)])
    shifted = [56.0, 40.0, 8.0, 8.0]
    for each, found in (
        ((SMALL, 0.3, 0), True),
        ((SMALL, 0.29, 0), False),
        ((SMALL, 0.9, 1), False),
        ((shifted, 0.9, 0), False),
    ):
        assert found_by(BOXES, objects, [detections(each)]).tolist() == [found]
    assert found_by(BOXES, objects, [detections()]).tolist() == [False]


def bundle(variant: str) -> Any:
    recipe = SimpleNamespace(scale=0.5, classes=CLASSES, evaluation=SimpleNamespace(dataset="demo"))
    return SimpleNamespace(
        folder=Path(variant), manifest=SimpleNamespace(variant=variant, recipe=recipe)
    )


def test_both_ways_round_are_shown_with_their_counts(tmp_path: Path) -> None:
    samples = [sample(i, SMALL) for i in range(10)]
    hit, miss = detections((SMALL, 0.9, 0)), detections()
    predictions = {
        "uniform": [hit] * 2 + [miss] * 8,
        "fixed": [miss] * 2 + [hit] * 6 + [miss] * 2,
    }
    found = draw_examples([bundle("uniform"), bundle("fixed")], samples, predictions, tmp_path)
    assert found is not None
    assert {heading: len(crops) for heading, crops in found.groups.items()} == {
        "fixed finds, uniform misses: 6 of 10 small objects": 4,
        "uniform finds, fixed misses: 2 of 10 small objects": 2,
    }
    assert "below 16x16 pixels" in found.rule
    crops = [each for group in found.groups.values() for each in group]
    assert crops[0].text == "car, 8x8 pixels, frame 3: truth, uniform, fixed"
    assert cv2.imread(str(tmp_path / crops[0].file)).shape == (315, 960, 3)


def test_without_a_known_truth_or_without_uniform_there_are_no_examples(tmp_path: Path) -> None:
    samples = [sample(1, SMALL)]
    predictions = {"fixed": [detections()], "uniform": [detections()]}
    assert draw_examples([bundle("fixed")], samples, predictions, tmp_path) is None
    unknown = [samples[0]._replace(truth=np.zeros((4, 4)))]
    both = [bundle("uniform"), bundle("fixed")]
    assert draw_examples(both, unknown, predictions, tmp_path) is None
    assert draw_examples(both, [], predictions, tmp_path) is None


CAMERA = np.array([[150.0, 0, 80], [0, 150, 60], [0, 0, 1]])
FAR, NEAR, ASIDE = [0.0, 0, 30, 4, 1.6, 2, 0], [2.0, 0, 12, 4, 2, 2, 0], [60.0, 0, 30, 4, 2, 2, 0]


def in_space(*boxes: list[float], label: int = 0) -> CameraBoxes:
    return CameraBoxes(np.array(boxes).reshape(-1, 7), np.full(len(boxes), label))


def found_3d(*boxes: list[float], score: float = 0.9, label: int = 0) -> Detections3d:
    rows = np.array([[*each, 0, 0] for each in boxes], np.float32).reshape(-1, 9)
    count = len(rows)
    return Detections3d(
        rows, np.full(count, score), np.full(count, label), np.zeros(count, int), CLASSES
    )


def space_sample(*boxes: list[float]) -> Sample:
    frame = np.full((120, 160, 3), 90, np.uint8)
    seen = in_space(*boxes)
    return Sample(1, CameraFrame(frame, CAMERA), RigTruth("a", "b", np.eye(4), None, [], seen))


def test_boxes_in_space_are_small_by_their_height_in_the_frame() -> None:
    solids = Solids(CLASSES)
    beyond = [0.0, 0, 60, 4, 1.6, 2, 0]  # no car counts there
    (small,) = solids.objects([space_sample(NEAR, FAR, ASIDE, beyond)])
    assert small.truth.tolist() == FAR
    assert small.box[3] - small.box[1] == pytest.approx(150 * 1.6 / 29, rel=0.01)  # its near face
    for found, expected in (
        (found_3d([0.0, 1, 31.9, 4, 2, 2, 1]), True),  # the height does not count
        (found_3d([0.0, 0, 32.1, 4, 2, 2, 0]), False),
        (found_3d(FAR, score=0.2), False),
        (found_3d(FAR, label=1), False),
        (found_3d(), False),
    ):
        assert solids.finds(small, found) is expected


def test_boxes_in_space_are_drawn_where_the_crop_s_camera_sees_them(tmp_path: Path) -> None:
    samples = [space_sample(FAR) for _ in range(3)]
    predictions = {"uniform": [found_3d()] * 3, "fixed": [found_3d(FAR)] * 3}
    found = draw_examples([bundle("uniform"), bundle("fixed")], samples, predictions, tmp_path)
    assert found is not None
    assert "12th of the frame" in found.rule
    shown = found.groups["fixed finds, uniform misses: 3 of 3 small objects"]
    picture = cv2.imread(str(tmp_path / shown[0].file)).astype(int)
    thirds = np.array_split(picture[:270], 3, axis=1)  # without the captions
    changed = [np.abs(each[:, 20:-20] - 90).max(axis=2) > 30 for each in thirds]
    truth, uniform, fixed = (each.sum() for each in changed)
    assert uniform == 0
    assert min(truth, fixed) > 100


def labels_of(*squares: tuple[int, int, int, int]) -> Any:
    """Label map of class 0 with squares (x, y, side, label)."""
    found = np.zeros((120, 160), np.uint8)
    for x, y, side, label in squares:
        found[y : y + side, x : x + side] = label
    return found


def test_regions_of_small_classes_are_found_by_half_of_their_pixels(tmp_path: Path) -> None:
    truth = labels_of((50, 40, 8, 1), (100, 80, 3, 1))  # the second has too few pixels
    frame = np.full((120, 160, 3), 90, np.uint8)
    regions = Regions(("road", "sign"))
    (small,) = regions.objects([Sample(1, CameraFrame(frame), truth)])
    assert (small.label, small.box.tolist()) == (1, [50, 40, 58, 48])
    for width, expected in ((4, True), (3, False)):
        seen = labels_of()
        seen[40:48, 50 : 50 + width] = 1
        assert regions.finds(small, Segmentation(seen, regions.classes)) is expected
    samples = [Sample(1, CameraFrame(frame), truth)]
    predictions = {
        "uniform": [Segmentation(labels_of(), regions.classes)],
        "fixed": [Segmentation(truth, regions.classes)],
    }
    both = [bundle("uniform"), bundle("fixed")]
    found = draw_examples(both, samples, predictions, tmp_path)
    assert found is not None
    (crop,) = found.groups["fixed finds, uniform misses: 1 of 1 small regions"]
    assert crop.text == "sign, 8x8 pixels, frame 1: truth, uniform, fixed"
    assert "less than 2 % of all pixels" in found.rule


def test_choices_are_spread_evenly() -> None:
    assert evenly(np.arange(3), 4) == [0, 1, 2]
    assert evenly(np.arange(8), 4) == [1, 3, 5, 7]
    assert drawn_of(32) == [4, 12, 20, 28]
    assert drawn_of(2) == [0, 1]
    assert drawn_of(1) == [0]


def test_true_boxes_in_space_are_drawn_on_the_frame_and_from_above(tmp_path: Path) -> None:
    recipe: Any = SimpleNamespace(classes=CLASSES)
    boxes = np.array([[0.0, 0, 12, 4, 2, 2, 0]])
    objects = camera_objects(boxes, [0])
    camera = np.array([[150.0, 0, 80], [0, 150, 60], [0, 0, 1]])
    frame = np.full((120, 160, 3), 90, np.uint8)
    seen = CameraBoxes(boxes, objects.labels)
    for truth in (
        SpaceTruth(1, objects, np.zeros(1, bool), seen),
        RigTruth("a", "b", np.eye(4), None, [], seen),
    ):
        file = draw_truth(recipe, Sample(1, CameraFrame(frame, camera), truth), tmp_path, "truth")
        assert file is not None
        drawn = cv2.imread(str(tmp_path / file)).astype(int)
        assert drawn.shape[1] > 160 + 100  # the view from above stands beside
        assert np.abs(drawn[50:70, 60:100] - 90).max() > 30  # edges of the box
        assert np.abs(drawn[100:, 5:40] - 90).max() < 10
    untold = SpaceTruth(1, objects, np.zeros(1, bool))
    sample = Sample(1, CameraFrame(frame, camera), untold)
    assert draw_truth(recipe, sample, tmp_path, "none") is None
