"""Intersection over union, by hand, by brute force and by Cityscapes' own scripts."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from lzu_export.errors import LzuError
from lzu_export.evaluation.metrics.segmentation import (
    SegmentationEvaluation,
    boundary_zone,
    class_iou,
    mean_iou,
    summarise,
)

CLASSES = ("road", "car", "sky")


def evaluated(*pairs: tuple[Any, Any], **options: Any) -> SegmentationEvaluation:
    evaluation = SegmentationEvaluation(CLASSES, **options)
    for i, (truth, prediction) in enumerate(pairs):
        evaluation.add(np.array(truth), np.array(prediction), name=f"{i}.png")
    return evaluation


def random_maps(seed: int, size: tuple[int, int], n: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """A blocky truth with some ignored pixels, and a prediction with errors."""
    rng = np.random.default_rng(seed)
    blocks = rng.choice([*range(n), 255], (-(-size[0] // 8), -(-size[1] // 8)))
    truth = np.kron(blocks, np.ones((8, 8), int))[: size[0], : size[1]].astype(np.uint8)
    noise = rng.choice([*range(n), 255], size)
    return truth, np.where(rng.random(size) < 0.3, noise, truth).astype(np.uint8)


def test_iou_by_hand() -> None:
    found = evaluated(([[0, 0, 0, 1]], [[0, 0, 1, 1]])).by_class()
    assert found["road"] == pytest.approx(200 / 3)
    assert found["car"] == pytest.approx(50)
    assert np.isnan(found["sky"])
    whole = evaluated(([[0, 0, 0, 1]] * 3, [[0, 0, 1, 1]] * 3)).summary()
    assert whole["mIoU"] == pytest.approx((200 / 3 + 50) / 2)  # the sky is left out


def test_pixels_are_counted_over_the_set_not_averaged_over_images() -> None:
    found = evaluated(([[0, 0]], [[0, 0]]), ([[0, 1]], [[1, 1]])).by_class()
    assert found["road"] == pytest.approx(200 / 3)
    assert found["car"] == pytest.approx(50)


def test_a_class_that_is_only_predicted_has_zero() -> None:
    found = evaluated(([[0, 0]], [[0, 2]]))
    assert found.by_class()["sky"] == 0
    assert found.summary()["mIoU"] == pytest.approx(25)


def test_ignored_truth_counts_nowhere_and_ignored_predictions_miss() -> None:
    assert evaluated(([[0, 255]], [[0, 1]])).by_class()["road"] == 100
    assert np.isnan(evaluated(([[0, 255]], [[0, 1]])).by_class()["car"])
    assert evaluated(([[0, 0]], [[0, 255]])).by_class()["road"] == 50


def test_nothing_evaluated_is_nan() -> None:
    assert all(np.isnan(value) for value in evaluated().summary().values())
    assert all(np.isnan(v) for v in evaluated(([[255]], [[0]])).summary().values())


def test_bands_are_thirds_of_the_rows() -> None:
    truth = np.zeros((7, 2), int)
    prediction = truth.copy()
    prediction[2:4] = 1  # the middle band has rows 2 and 3
    found = evaluated((truth, prediction))
    assert found.counts[1:].sum(axis=(1, 2)).tolist() == [4, 4, 6]
    assert found.summary()["mIoU_upper"] == found.summary()["mIoU_lower"] == 100
    assert found.summary()["mIoU_middle"] == 0


def test_boundary_zone_by_hand() -> None:
    labels = np.array([[0, 0, 0, 0, 1, 1, 1, 1]])
    assert np.flatnonzero(boundary_zone(labels, 1)).tolist() == [3, 4]
    assert np.flatnonzero(boundary_zone(labels, 3)).tolist() == [1, 2, 3, 4, 5, 6]
    labels[0, 4] = 255  # an ignored pixel separates, but is no class of its own
    assert not boundary_zone(labels, 1).any()
    assert np.flatnonzero(boundary_zone(labels, 2)).tolist() == [3, 5]
    corner = np.zeros((4, 4), int)
    corner[0, 0] = 2
    assert boundary_zone(corner, 1).sum() == 4  # diagonal neighbours differ, too


@pytest.mark.parametrize("width", [1, 2, 5])
def test_boundary_zone_is_a_search_of_the_surroundings(width: int) -> None:
    labels, _ = random_maps(width, (19, 23), 3)
    expected = np.zeros(labels.shape, bool)
    for y, x in np.argwhere(labels != 255):
        near = labels[max(0, y - width) : y + width + 1, max(0, x - width) : x + width + 1]
        expected[y, x] = bool(((near != 255) & (near != labels[y, x])).any())
    np.testing.assert_array_equal(boundary_zone(labels, width), expected)


def test_boundary_score_sees_only_the_zone() -> None:
    truth = np.zeros((3, 12), int)
    truth[:, 6:] = 1
    prediction = truth.copy()
    prediction[:, 0] = 1
    assert evaluated((truth, prediction)).summary()["mIoU_boundary"] == 100
    assert evaluated((truth, prediction), boundary_width=6).summary()["mIoU_boundary"] < 100


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64, np.uint16])
def test_counts_are_those_of_a_loop(dtype: type) -> None:
    truth, prediction = random_maps(0, (21, 30), 3)
    found = evaluated((truth.astype(dtype), prediction.astype(dtype)))
    zone = boundary_zone(truth, 3)
    expected = np.zeros_like(found.counts)
    for y, x in np.ndindex(*truth.shape):
        if truth[y, x] != 255:
            place = (truth[y, x], min(prediction[y, x], 3))
            expected[(1 + y // 7, *place)] += 1
            if zone[y, x]:
                expected[(0, *place)] += 1
    np.testing.assert_array_equal(found.counts, expected)


def test_parts_of_a_set_add_up() -> None:
    pairs = [random_maps(seed, (24, 32), 3) for seed in range(4)]
    whole, part, rest = evaluated(*pairs), evaluated(*pairs[:1]), evaluated(*pairs[1:])
    np.testing.assert_array_equal(whole.counts, part.counts + rest.counts)
    assert summarise(part.counts + rest.counts) == whole.summary()


def test_scores_of_many_counts_at_once() -> None:
    counts = np.random.default_rng(0).integers(0, 9, (5, 3, 4))
    stacked = class_iou(counts)
    for one, row in zip(counts, stacked, strict=True):
        np.testing.assert_array_equal(class_iou(one), row)
    assert mean_iou(counts[0]) == pytest.approx(stacked[0].mean())


@pytest.mark.parametrize(
    ("truth", "prediction", "message"),
    [
        ([[0, 3]], [[0, 0]], "truth of a.png holds the label 3 in 1 pixels"),
        ([[0, 0]], [[0, 7]], "prediction of a.png holds the label 7"),
        ([[0, -1]], [[0, 0]], "label -1"),
        ([list(range(3, 10))], [[0] * 7], r"3, 4, 5, \.\.\. in 7 pixels"),
        ([[0, 0]], [[0], [0]], "2 x 1 pixels and its truth 1 x 2"),
        ([0, 0], [0, 0], "integer labels"),
        ([[0.0, 1]], [[0, 0]], "truth of a.png is float64"),
        ([[0, 0]], [[True, False]], "prediction of a.png is bool"),
        (np.zeros((0, 3), int), np.zeros((0, 3), int), "integer labels"),
    ],
)
def test_bad_maps_are_refused_by_name(truth: Any, prediction: Any, message: str) -> None:
    evaluation = SegmentationEvaluation(CLASSES)
    with pytest.raises(LzuError, match=message) as caught:
        evaluation.add(truth, prediction, name="a.png")
    assert "\n" not in str(caught.value)
    assert not evaluation.counts.any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": ()}, "at least one"),
        ({"classes": ("a", "a")}, "each once"),
        ({"classes": CLASSES, "ignore": 1}, "label 1 is car"),
        ({"classes": CLASSES, "boundary_width": 0}, "at least 1 pixel"),
    ],
)
def test_bad_settings_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(LzuError, match=message):
        SegmentationEvaluation(**options)


def test_cityscapes_scripts_give_the_same_scores(tmp_path: Path) -> None:
    reason = "cityscapesscripts is not installed"
    scripts: Any = pytest.importorskip(
        "cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling", reason=reason
    )
    by_train_id = {each.trainId: each for each in scripts.labels if each.trainId not in (-1, 255)}
    names = [by_train_id[i].name for i in range(19)]
    table = np.zeros(256, np.uint8)  # 255, ignored, becomes "unlabeled"
    table[:19] = [by_train_id[i].id for i in range(19)]

    evaluation = SegmentationEvaluation(names)
    everything = [each.id for each in scripts.labels if each.id >= 0]
    args = SimpleNamespace(evalLabels=everything, evalInstLevelScore=False, evalPixelAccuracy=False)
    confusion = scripts.generateMatrix(args)
    for i in range(3):
        truth, prediction = random_maps(i, (64, 96), 17)  # the last two classes are absent
        evaluation.add(truth, prediction, name=str(i))
        files = [str(tmp_path / f"{kind}{i}.png") for kind in ("prediction", "truth")]
        for file, labels in zip(files, (prediction, truth), strict=True):
            cv2.imwrite(file, table[labels])
        scripts.evaluatePair(*files, confusion, {}, {}, args)
    scores = {
        name: scripts.getIouScoreForLabel(int(table[i]), confusion, args)
        for i, name in enumerate(names)
    }
    found = evaluation.by_class()
    np.testing.assert_allclose(
        [found[name] for name in names], [100 * scores[name] for name in names], rtol=1e-12
    )
    assert np.isnan(found[names[17]])
    average = scripts.getScoreAverage(scores, args)
    assert evaluation.summary()["mIoU"] == pytest.approx(100 * average, rel=1e-12)
