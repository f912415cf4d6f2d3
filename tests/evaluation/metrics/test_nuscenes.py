"""nuScenes' metrics, against values computed by hand."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from lzu_export.errors import LzuError
from lzu_export.evaluation.metrics.nuscenes import (
    MAX_BOXES,
    NDS_FORMULA,
    NDS_STAR_FORMULA,
    NuScenesEvaluation,
)
from lzu_export.evaluation.metrics.nuscenes_matching import ERRORS
from lzu_export.evaluation.metrics.nuscenes_objects import (
    DEMO,
    NUSCENES,
    ClassRule,
    Objects,
    camera_objects,
    ego_objects,
)

CAR = (ClassRule("car", 50),)


def cars(*rows: tuple[float, ...], attribute: int = 0) -> Objects:
    """Cars at (x, y), then yaw, then velocity x where given."""
    boxes = np.zeros((len(rows), 9))
    boxes[:, 3:6] = 4, 2, 1.5
    for box, row in zip(boxes, rows, strict=True):
        box[[0, 1, 6, 7][: len(row)]] = row
    return ego_objects(boxes, np.zeros(len(rows)), np.full(len(rows), attribute))


def evaluate(
    truth: Objects,
    found: Objects,
    scores: Sequence[float],
    ignore: Sequence[bool] | None = None,
    classes: Sequence[ClassRule] = CAR,
) -> NuScenesEvaluation:
    evaluation = NuScenesEvaluation(classes)
    evaluation.add("sample", 0, truth, found, scores, ignore)
    return evaluation


def test_perfect_detections_score_100() -> None:
    random = np.random.default_rng(0)
    boxes = np.column_stack([random.uniform(-20, 20, (20, 3)), random.uniform(1, 4, (20, 6))])
    truth = ego_objects(boxes, np.arange(20) % len(NUSCENES), np.zeros(20))
    result = evaluate(truth, truth, random.random(20).tolist(), classes=NUSCENES).summary()
    assert result["mAP"] == pytest.approx(100)
    assert result["NDS"] == pytest.approx(100)
    assert result["NDS*"] == pytest.approx(100)
    assert [result[f"m{name}"] for name in ERRORS] == pytest.approx([0] * 5, abs=1e-12)


def test_known_errors() -> None:
    """One car moved by 0.6 m: found at 1, 2 and 4 m, but not at 0.5 m."""
    found = cars((10.6, 0, 0.3, 2.0), attribute=1)
    found = found._replace(sizes=np.array([[4, 2, 3.0]]))  # twice as high: IoU 1/2
    result = evaluate(cars((10, 0, 0, 0.5)), found, [0.5])
    assert result.by_class()["car"] == pytest.approx(
        {
            "AP": 75,
            "AP_0.5": 0,
            "AP_1": 100,
            "AP_2": 100,
            "AP_4": 100,
            "ATE": 0.6,
            "ASE": 0.5,
            "AOE": 0.3,
            "AVE": 1.5,
            "AAE": 1,
        }
    )
    summary = result.summary()
    # Errors above 1 cost no more than 1.
    assert summary["NDS"] == pytest.approx(10 * (5 * 0.75 + 0.4 + 0.5 + 0.7))
    assert summary["NDS*"] == pytest.approx(100 / 8 * (5 * 0.75 + 0.4 + 0.5 + 0.7))
    assert "/ 10" in NDS_FORMULA
    assert "/ 8" in NDS_STAR_FORMULA


def test_a_missed_car_ends_the_curve() -> None:
    """Recall 0.5 at precision 1: recalls 0.11 to 0.50 of 0.11 to 1 have precision."""
    result = evaluate(cars((10, 0), (20, 0)), cars((10, 0.1)), [0.9]).by_class()["car"]
    assert result["AP"] == pytest.approx(100 * 40 / 90)
    assert result["ATE"] == pytest.approx(0.1)


def test_a_duplicate_is_a_false_positive() -> None:
    truth = cars((10, 0), (20, 0))
    found = cars((10, 0), (10, 0.1), (20, 0))
    last = evaluate(truth, found, [0.9, 0.1, 0.8]).by_class()["car"]
    # Of the two precisions at recall 1, before and after the duplicate, the lower one counts.
    assert last["AP"] == pytest.approx(100 * (89 * 0.9 + 2 / 3 - 0.1) / 90 / 0.9)
    # Precision is 1 up to recall 0.5 where it drops to 1/2, then rises to 2/3 in a straight line.
    between = evaluate(truth, found, [0.9, 0.8, 0.1]).by_class()["car"]
    rising = [0.5 + (r - 0.5) / 3 for r in np.arange(0.5, 1.005, 0.01)]
    assert between["AP"] == pytest.approx(100 * (39 * 0.9 + sum(rising) - 0.1 * 51) / 90 / 0.9)


def test_each_car_is_found_by_the_best_score_in_reach() -> None:
    """The surer detection takes the closest car, though the other one is closer to it."""
    truth = cars((10, 0), (11.5, 0))
    result = evaluate(truth, cars((10.5, 0), (10.1, 0)), [0.9, 0.5]).by_class()["car"]
    assert result["AP_2"] == pytest.approx(100)
    # The second one is 1.4 m from its car; at recall 0.5 precision falls from 1 to 1/2.
    assert result["AP_1"] == pytest.approx(100 * (39 * 0.9 + 0.4) / 90 / 0.9)
    means = [0.5] * 40 + [0.5 + 0.45 * (r - 0.5) / 0.5 for r in np.arange(0.51, 1.005, 0.01)]
    assert result["ATE"] == pytest.approx(np.mean(means), abs=1e-9)


def test_below_the_lowest_recall_errors_are_1() -> None:
    truth = cars(*((x, 0) for x in range(1, 21)))
    result = evaluate(truth, cars((1, 0), (2, 0)), [0.9, 0.8]).by_class()["car"]
    assert result["AP"] == 0
    assert [result[name] for name in ERRORS] == [1] * 5
    above = evaluate(truth, cars((1, 0), (2, 0), (3, 0)), [0.9, 0.8, 0.7]).by_class()["car"]
    assert above["AP"] == pytest.approx(100 * 5 / 90)
    assert [above[name] for name in ERRORS] == pytest.approx([0] * 5)


def test_boxes_beyond_the_class_range_do_not_count() -> None:
    truth = cars((30, 39.99), (30, 40), (0, -60))  # 49.99, 50 and 60 m away
    result = evaluate(truth, cars((30, 39.99), (30, 40), (0, 90)), [0.1, 0.9, 0.9])
    assert result.positives().tolist() == [[1]]
    assert result.summary()["mAP"] == pytest.approx(100)


def test_ignored_truth_counts_neither_way() -> None:
    truth, ignore = cars((10, 0), (20, 0)), [False, True]
    assert evaluate(truth, cars((10, 0)), [0.5], ignore).summary()["mAP"] == pytest.approx(100)
    # Two detections of the ignored car, surer than the one of the other: neither is wrong.
    found = cars((20, 0.1), (20, 0.2), (10, 0))
    result = evaluate(truth, found, [0.9, 0.8, 0.5], ignore).by_class()["car"]
    assert result["AP"] == pytest.approx(100)
    assert result["ATE"] == 0
    # Without the mark they are a match and a false positive.
    assert evaluate(truth, found, [0.9, 0.8, 0.5]).summary()["mAP"] < 100
    # Only a detection that close is spared, and only at the distances it is that close.
    far = evaluate(truth, cars((20, 1.5), (10, 0)), [0.9, 0.5], ignore).by_class()["car"]
    rising = [max(r / 2 - 0.1, 0) for r in np.arange(0.11, 1.005, 0.01)]  # from 0 to 1/2
    assert far["AP_1"] == pytest.approx(100 * sum(rising) / 90 / 0.9)
    assert far["AP_2"] == pytest.approx(100)


def test_real_truth_comes_before_ignored_truth() -> None:
    """A detection nearer to an ignored car still finds the real one in reach."""
    result = evaluate(cars((10, 0), (10, 1)), cars((10, 0.9)), [0.5], [False, True])
    assert result.by_class()["car"]["AP_1"] == pytest.approx(100)
    assert result.by_class()["car"]["ATE"] == pytest.approx(0.9)


def test_headings_are_compared_by_the_class_period() -> None:
    def error(period: float | None) -> float:
        classes = (ClassRule("car", 50, period),)
        result = evaluate(cars((9, 0, 3.0)), cars((9, 0, -3.0)), [1], classes=classes)
        return result.summary()["mAOE"]

    assert error(2 * math.pi) == pytest.approx(2 * math.pi - 6)
    assert error(math.pi) == pytest.approx(2 * math.pi - 6)
    assert math.isnan(error(None))
    turned = evaluate(
        cars((9, 0, 0.2)), cars((9, 0, 3.2)), [1], classes=(ClassRule("barrier", 30, math.pi),)
    )
    assert turned.summary()["mAOE"] == pytest.approx(math.pi - 3)


def test_what_does_not_move_has_no_full_score() -> None:
    boxes = np.array([[1.0, 1, 9, 4, 2, 2, 0]])
    summary = evaluate(
        camera_objects(boxes, [0]), camera_objects(boxes, [0]), [0.5], classes=DEMO
    ).summary()
    assert math.isnan(summary["NDS"])
    assert math.isnan(summary["mAVE"])
    assert summary["NDS*"] == pytest.approx(100)


def test_unknown_velocities_and_attributes_of_the_truth_are_passed_over() -> None:
    truth = cars((10, 0), (20, 0), (30, 0))
    truth = truth._replace(
        velocities=np.array([[np.nan, np.nan], [1, 0], [1, 0]]), attributes=np.array([0, 0, -1])
    )
    found = cars((10, 0), (20, 0), (30, 0), attribute=1)
    result = evaluate(truth, found, [0.3, 0.2, 0.1]).by_class()["car"]
    # Before the first known velocity the mean is 0, as the devkit has it; then it is 1.
    assert 0.5 < result["AVE"] < 1
    assert result["AAE"] == pytest.approx(1)


def test_without_detections_there_is_nothing_but_errors() -> None:
    summary = evaluate(cars((10, 0)), cars(), []).summary()
    assert summary == {
        "mAP": 0,
        "NDS": 0,
        "NDS*": 0,
        **{f"m{name}": 1 for name in ERRORS},
    }


def test_classes_without_truth_are_left_out_unless_they_shall_count() -> None:
    for counts, expected in ((False, 100), (True, 10)):
        evaluation = NuScenesEvaluation(NUSCENES, absent_counts=counts)
        evaluation.add(0, 0, cars((10, 0)), cars((10, 0)), [0.5])
        assert evaluation.summary()["mAP"] == pytest.approx(expected)


def test_distance_bands_restrict_truth_and_detections() -> None:
    truth, found = cars((10, 0), (20, 0), (30, 0)), cars((10, 0), (30, 0))
    evaluation = evaluate(truth, found, [0.9, 0.8])
    assert evaluation.within(0, 20).summary()["mAP"] == pytest.approx(100)
    assert evaluation.within(20, 30).summary()["mAP"] == 0
    assert evaluation.within(30, 50).summary()["mAP"] == pytest.approx(100)
    assert math.isnan(evaluation.within(40, 50).summary()["mAP"])
    assert evaluation.within(0, 20).sequence_ids == evaluation.sequence_ids


def test_a_camera_sees_the_ground_plane_as_x_and_z() -> None:
    boxes = np.array([[1.0, -2, 9, 4, 1.5, 2, 0.3, 5, 6]])
    seen = camera_objects(boxes, [0])
    assert seen.centres.tolist() == [[1, 9]]
    assert seen.velocities.tolist() == [[5, 6]]
    assert ego_objects(boxes, [0]).centres.tolist() == [[1, -2]]
    assert camera_objects([], []).centres.shape == (0, 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scores": [np.nan]}, "not finite"),
        ({"scores": [0.5, 0.5]}, "one score a detection"),
        ({"ignore": [True, False]}, "one mark a box"),
        ({"found": cars((np.inf, 0))}, "not finite"),
        ({"found": cars((10, 0, 0, np.nan))}, "not finite"),
        ({"truth": cars((10, 0))._replace(labels=np.array([1]))}, "outside of the 1 classes"),
        ({"truth": cars((10, 0))._replace(labels=np.array([-1]))}, "outside of the 1 classes"),
        ({"truth": cars((10, 0))._replace(yaws=np.zeros(2))}, "one row a box"),
        ({"found": cars((10, 0))._replace(sizes=np.zeros((1, 3)))}, "not positive"),
        (
            {"found": cars(*[(1, 1)] * (MAX_BOXES + 1)), "scores": [0.5] * (MAX_BOXES + 1)},
            "nuScenes allows 500",
        ),
    ],
)
def test_bad_samples_are_refused(change: dict[str, Any], message: str) -> None:
    sample: dict[str, Any] = {"truth": cars((10, 0)), "found": cars((10, 0)), "scores": [0.5]}
    with pytest.raises(LzuError, match=message):
        evaluate(**{**sample, **change})


def test_samples_are_added_once_and_classes_named_once() -> None:
    evaluation = evaluate(cars(), cars(), [])
    with pytest.raises(LzuError, match="added before"):
        evaluation.add("sample", 1, cars(), cars(), [])
    with pytest.raises(LzuError, match="each once"):
        NuScenesEvaluation((*CAR, *CAR))
    with pytest.raises(LzuError, match="how often"):
        evaluation.resampled([1, 1])
    with pytest.raises(LzuError, match=r"\(n, 7\)"):
        camera_objects(np.zeros((1, 8)), [0])
