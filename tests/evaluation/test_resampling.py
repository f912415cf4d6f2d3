"""Intervals from stored resamples are those of the bootstrap on the evaluations themselves."""

from typing import Any

import numpy as np
import pytest

from lzu_export.evaluation.datasets import Sample
from lzu_export.evaluation.metrics import scorers as module
from lzu_export.evaluation.metrics.bootstrap import Interval
from lzu_export.evaluation.metrics.coco import bootstrap_ap_difference
from lzu_export.evaluation.metrics.nuscenes import bootstrap_difference
from lzu_export.evaluation.metrics.nuscenes_objects import camera_objects
from lzu_export.evaluation.metrics.scorers import (
    BoxScorer,
    BoxTruth,
    LabelScorer,
    SpaceScorer,
    SpaceTruth,
)
from lzu_export.evaluation.resampling import (
    FEWEST,
    RESAMPLES,
    certain,
    difference,
    resample,
    resampled_first,
    told_difference,
)
from lzu_export.runtime import CameraFrame, Detections, Detections3d, Segmentation

FRAME = CameraFrame(np.zeros((4, 4, 3), np.uint8))
SEQUENCES, FRAMES = 9, 3


def boxes(noise: float) -> tuple[BoxScorer, dict[str, Any], list[dict[str, Any]]]:
    """Detections that deviate from the truth, as a scorer counts them and in COCO's form."""
    random, scorer = np.random.default_rng(3), BoxScorer(("car", "bus"))
    images, annotations, results = [], [], []
    for number in range(SEQUENCES * FRAMES, 0, -1):
        sequence = f"street {number % SEQUENCES}"
        found = []
        for _ in range(4):
            box = [*random.uniform(0, 200, 2), *random.uniform(20, 60, 2)]
            label = int(random.integers(1, 3))
            entry = {"id": len(annotations) + 1, "image_id": number, "category_id": label}
            found.append({**entry, "bbox": box, "area": box[2] * box[3], "iscrowd": 0})
            annotations.append(found[-1])
        corners = np.array([each["bbox"] for each in found])
        corners = corners + noise * random.normal(0, 4, corners.shape)
        corners[:, 2:] += corners[:, :2]
        labels = np.array([each["category_id"] - 1 for each in found], np.int32)
        scores = random.uniform(0, 1, 4).astype(np.float32)
        seen = Detections(corners.astype(np.float32), scores, labels, ("car", "bus"))
        truth = BoxTruth({"id": number}, found)
        scorer.add(Sample(number, FRAME, truth, sequence=sequence), seen)
        images.append({"id": number, "sequence_id": sequence})
        results += seen.to_coco(number)
    categories = [{"id": 1, "name": "car"}, {"id": 2, "name": "bus"}]
    data = {"images": images, "annotations": annotations, "categories": categories}
    return scorer, data, results


def compared(first: Any, second: Any, metric: str) -> Interval:
    """The difference of two scorers from what is stored of each."""
    value = second.summary()[metric] - first.summary()[metric]
    found = difference(value, resample(second), resample(first))
    assert found is not None
    return found


def alike(found: Interval, wanted: Interval) -> None:
    """Equal but for the rounding of the stored values; draws of the same groups are the same."""
    assert found.groups == wanted.groups == SEQUENCES
    assert found.difference == pytest.approx(wanted.difference, abs=1e-9)
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high), abs=2e-3)
    assert found.high - found.low > 0.1


def test_of_boxes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where images are matched in parts, and do not come in the order of their sequences."""
    monkeypatch.setattr(module, "PART", 7)
    (first, truth, theirs), (second, _, mine) = boxes(3.0), boxes(2.0)
    names = sorted({each["sequence_id"] for each in truth["images"]})
    assert len(names) == SEQUENCES
    # The bootstrap orders sequences by name, the scorer by their first image.
    order = list(dict.fromkeys(first.owners()))
    renamed = {name: f"{i:02d}" for i, name in enumerate(order)}
    for each in truth["images"]:
        each["sequence_id"] = renamed[each["sequence_id"]]
    wanted = bootstrap_ap_difference(truth, theirs, mine, resamples=RESAMPLES)["AP"]
    alike(compared(first, second, "AP"), wanted)


def test_of_label_maps_and_after_an_interruption() -> None:
    random = np.random.default_rng(0)
    scorers = [LabelScorer(("road", "sky", "pole")) for _ in range(3)]
    maps = []
    for number in range(SEQUENCES):
        if number == 4:  # what was counted so far is carried to another scorer
            scorers[2].restore(scorers[1].state())
        truth = random.integers(0, 3, (12, 15)).astype(np.uint8)
        sample = Sample(number, FRAME, truth, sequence=number)
        drawn = [random.uniform(size=truth.shape) < share for share in (0.5, 0.2)]
        worse, better = (np.where(each, 0, truth) for each in drawn)
        maps.append((truth, worse, better))
        scorers[0].add(sample, Segmentation(worse.astype(np.uint8), ()))
        scorers[1 if number < 4 else 2].add(sample, Segmentation(better.astype(np.uint8), ()))
    found = compared(scorers[0], scorers[2], "mIoU")
    assert certain(found)
    # By hand: mean IoU of a set of repeated maps.
    places = np.array([0, 0, 5, 7])
    truth, _, labels = (np.concatenate([maps[i][k] for i in places]) for k in range(3))
    both = [((truth == k) & (labels == k)).sum() for k in range(3)]
    iou = both / np.array([((truth == k) | (labels == k)).sum() for k in range(3)])
    assert scorers[2].resampled(places) == pytest.approx(100 * np.mean(iou))


def test_of_boxes_in_space() -> None:
    random = np.random.default_rng(1)
    first, second = SpaceScorer(), SpaceScorer()
    for number in range(SEQUENCES * 2):
        real = np.zeros((4, 9), np.float32)
        real[:, [0, 2]], real[:, 3:6] = random.uniform(5, 20, (4, 2)), 2.0
        labels = random.integers(0, 3, 4)
        truth = SpaceTruth(number // 2, camera_objects(real[:, :7], labels), np.zeros(4, bool))
        for scorer, noise in ((first, 1.5), (second, 0.7)):
            found = real.copy()
            found[:, [0, 2]] += random.normal(0, noise, (4, 2))
            scores = random.uniform(0, 1, 4).astype(np.float32)
            seen = Detections3d(found, scores, labels, np.zeros(4, np.int64))
            scorer.add(Sample(number, FRAME, truth), seen)
    evaluations = (first._evaluation, second._evaluation)
    wanted = bootstrap_difference(*evaluations, resamples=RESAMPLES)["NDS*"]
    alike(compared(first, second, "NDS*"), wanted)


class Means:
    """A scorer whose metric is the mean of a number per image."""

    def __init__(self, values: Any, owners: Any) -> None:
        self.values, self._owners = np.array(values), owners

    def owners(self) -> Any:
        return self._owners

    def resampled(self, places: Any) -> float:
        return float(self.values[places].mean())


def test_images_are_drawn_where_sequences_are_few() -> None:
    values = np.arange(20.0)
    images = resample(Means(values, [i % 2 for i in range(20)]))
    sequences = resample(Means(values, [i // 2 for i in range(20)]))
    assert images is not None
    assert sequences is not None
    assert (images.unit, images.groups) == ("images", 20)
    assert (sequences.unit, sequences.groups) == ("sequences", 10)
    assert len(images.values) == RESAMPLES
    assert difference(1.0, images, sequences) is None, "they are not of the same draws"
    few = list(range(FEWEST - 1))
    assert resample(Means(few, few)) is None
    assert resample(Means([], [])) is None, "a set that is too large has no owners"
    assert resample(object()) is None


def test_of_engines_the_first_is_resampled() -> None:
    scorer = Means(range(9), list(range(9)))
    found = resampled_first({"pytorch": scorer, "onnxruntime/fp32": scorer, "onnxruntime/int8": 1})
    assert list(found) == ["onnxruntime/fp32"]
    assert resampled_first({"pytorch": scorer}) == {}


def test_a_difference_that_may_be_none_is_not_told_as_one() -> None:
    base = resample(Means(np.zeros(9), list(range(9))))
    clear, vague = (resample(Means(np.arange(-4.0, 5) + c, list(range(9)))) for c in (5, 0.3))
    assert told_difference(5.0, "AP", clear, base).startswith("+5.00 AP [+3.")
    assert told_difference(0.3, "AP", vague, base).endswith("], no certain difference")
    assert told_difference(0.3, "AP", None, base) == "+0.30 AP (no interval)"
