"""Examples are chosen by their rule, and as many against as for."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np

from lzu_benchmarks.bench.gallery import drawn_of
from lzu_benchmarks.report.examples import draw_examples, evenly, found_by, small_objects
from lzu_benchmarks.report.pictures import draw_truth
from lzu_export.evaluation.datasets import Sample
from lzu_export.evaluation.metrics.nuscenes_objects import CameraBoxes, camera_objects
from lzu_export.evaluation.metrics.rig import RigTruth
from lzu_export.evaluation.metrics.scorers import BoxTruth, SpaceTruth
from lzu_export.runtime.detector import Detections
from lzu_export.runtime.predictor import CameraFrame

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


def test_small_objects_are_those_below_the_area_that_count() -> None:
    samples = [sample(1, SMALL, LARGE), sample(2, SMALL, crowd=1)]
    found = small_objects(samples, CLASSES, 16.0**2)
    assert [(each.frame, each.label) for each in found] == [(0, 0)]
    np.testing.assert_allclose(found[0].box, [50, 40, 58, 48])


def test_an_object_is_found_by_its_class_with_a_score_and_an_overlap() -> None:
    objects = small_objects([sample(1, SMALL)], CLASSES, 256.0)
    shifted = [56.0, 40.0, 8.0, 8.0]
    for each, found in (
        ((SMALL, 0.3, 0), True),
        ((SMALL, 0.29, 0), False),
        ((SMALL, 0.9, 1), False),
        ((shifted, 0.9, 0), False),
    ):
        assert found_by(objects, [detections(each)]).tolist() == [found]
    assert found_by(objects, [detections()]).tolist() == [False]


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


def test_without_boxes_or_without_uniform_there_are_no_examples(tmp_path: Path) -> None:
    samples = [sample(1, SMALL)]
    predictions = {"fixed": [detections()], "uniform": [detections()]}
    assert draw_examples([bundle("fixed")], samples, predictions, tmp_path) is None
    labels = [samples[0]._replace(truth=np.zeros((4, 4)))]
    both = [bundle("uniform"), bundle("fixed")]
    assert draw_examples(both, labels, predictions, tmp_path) is None
    assert draw_examples(both, [], predictions, tmp_path) is None


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
