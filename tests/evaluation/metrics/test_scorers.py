"""Scorers count as the metrics they stand for do, in parts, and go on after an interruption."""

from typing import Any

import numpy as np
import pytest

from lzu_benchmarks.demo.evaluation import demo
from lzu_export.evaluation.datasets import Sample
from lzu_export.evaluation.metrics import scorers
from lzu_export.evaluation.metrics.coco import AREAS, average_precision
from lzu_export.evaluation.metrics.scorers import BoxScorer, BoxTruth
from lzu_export.runtime import CameraFrame, Detections, Detections3d, Segmentation

CLASSES = ("car", "bus", "bicycle")
FRAME = CameraFrame(np.zeros((4, 4, 3), np.uint8))


def image(number: int, random: np.random.Generator) -> tuple[Sample, Detections]:
    """An image with objects, among them a crowd, and detections near them, with equal scores."""
    count = int(random.integers(0, 6))
    corners = random.uniform(0, 200, (count, 2))
    sizes = random.uniform(5, 80, (count, 2))
    annotations = [
        {
            "id": number * 100 + i + 1,
            "image_id": number,
            "category_id": int(random.integers(1, 4)),
            "bbox": [*corners[i].tolist(), *sizes[i].tolist()],
            "area": float(sizes[i].prod() * random.uniform(0.5, 1)),
            "iscrowd": int(random.uniform() < 0.2),
        }
        for i in range(count)
    ]
    extra = int(random.integers(0, 3))
    boxes = np.concatenate([corners, corners + sizes], axis=1)
    boxes = boxes + random.normal(0, 3, boxes.shape)
    boxes = np.concatenate([boxes, random.uniform(0, 200, (extra, 4))]).astype(np.float32)
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
    labels = random.integers(0, 3, len(boxes)).astype(np.int32)
    labels[:count] = [each["category_id"] - 1 for each in annotations]
    scores = (random.integers(1, 5, len(boxes)) / 5).astype(np.float32)
    found = Detections(boxes, scores, labels, CLASSES)
    return Sample(number, FRAME, BoxTruth({"id": number}, annotations)), found


@pytest.mark.parametrize("seed", range(3))
def test_average_precision_in_parts_is_that_of_the_whole(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where images come in another order than their ids, and by class where they are many."""
    random = np.random.default_rng(seed)
    shown = [image(int(number), random) for number in random.permutation(40) + 1]
    truth = {
        "images": [{"id": sample.number} for sample, _ in shown],
        "annotations": [each for sample, _ in shown for each in sample.truth.annotations],
        "categories": [{"id": i + 1, "name": name} for i, name in enumerate(CLASSES)],
    }
    results = [each for sample, found in shown for each in found.to_coco(sample.number)]
    whole = average_precision(truth, results)
    for part, as_they_come in ((1, 99), (7, 99), (256, 99), (7, 0), (256, 20)):
        monkeypatch.setattr(scorers, "PART", part)
        monkeypatch.setattr(scorers, "AS_THEY_COME", as_they_come)
        scorer = BoxScorer(CLASSES)
        for sample, found in shown:
            scorer.add(sample, found)
        assert scorer.summary() == pytest.approx(whole, abs=1e-12, nan_ok=True)
    assert 5 < whole["AP"] < 95


def test_many_images_go_on_from_a_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scorers, "PART", 5)
    monkeypatch.setattr(scorers, "AS_THEY_COME", 12)
    random = np.random.default_rng(5)
    shown = [image(number, random) for number in range(1, 30)]
    whole, first, second = (BoxScorer(CLASSES) for _ in range(3))
    for i, (sample, found) in enumerate(shown):
        whole.add(sample, found)
        if i == 16:
            second.restore(first.state())
        (first if i < 16 else second).add(sample, found)
    assert second.summary() == pytest.approx(whole.summary(), abs=0, nan_ok=True)


def test_nothing_counted_has_no_precision() -> None:
    summary = BoxScorer(CLASSES).summary()
    assert set(summary) == {"AP", "AP50", "AP75", *(f"AP_{name}" for name in AREAS)}
    assert np.isnan(list(summary.values())).all()


def blurred(task: str, sample: Sample, random: np.random.Generator) -> Any:
    """A prediction that is about right."""
    if task == "det":
        boxes = np.array([each["bbox"] for each in sample.truth.annotations]).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        labels = np.array([each["category_id"] - 1 for each in sample.truth.annotations], np.int32)
        boxes = (boxes + random.normal(0, 2, boxes.shape)).astype(np.float32)
        scores = random.uniform(0, 1, len(boxes)).astype(np.float32)
        return Detections(boxes, scores, labels, ())
    if task == "seg":
        return Segmentation(np.roll(sample.truth, 3, axis=1), ())
    objects = sample.truth.objects
    boxes = np.zeros((len(objects.labels), 9), np.float32)
    boxes[:, [0, 2]] = objects.centres + random.normal(0, 0.7, objects.centres.shape)
    boxes[:, 3:6], boxes[:, 6] = objects.sizes, objects.yaws
    scores = random.uniform(0, 1, len(boxes)).astype(np.float32)
    return Detections3d(boxes, scores, objects.labels, np.zeros(len(boxes), np.int64))


@pytest.mark.parametrize("task", ["det", "seg", "det3d"])
def test_a_scorer_goes_on_where_another_stood(task: str) -> None:
    """With arrays that a file can hold, and to the same metrics."""
    found = demo(task=task, frames=4)
    samples = list(found.samples())
    random = np.random.default_rng(2)
    predictions = [blurred(task, sample, random) for sample in samples]
    whole, first, second = found.scorer(), found.scorer(), found.scorer()
    for sample, prediction in zip(samples, predictions, strict=True):
        whole.add(sample, prediction)
    for sample, prediction in zip(samples[:2], predictions[:2], strict=True):
        first.add(sample, prediction)
    state = first.state()
    assert state is not None
    assert all(each.dtype.kind in "iufU" for each in state.values())
    second.restore(state)
    for sample, prediction in zip(samples[2:], predictions[2:], strict=True):
        second.add(sample, prediction)
    assert second.summary() == whole.summary() or second.summary() == pytest.approx(
        whole.summary(), nan_ok=True, abs=0
    )
    assert [each.number for each in found.samples(2)] == [each.number for each in samples[2:]]
