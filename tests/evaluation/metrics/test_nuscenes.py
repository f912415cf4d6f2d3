"""nuScenes' metrics: by hand, by a literal loop over boxes, and by the devkit where it is there."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lzu_export.errors import LzuError
from lzu_export.evaluation.metrics.nuscenes import (
    MAX_BOXES,
    NDS_FORMULA,
    NDS_STAR_FORMULA,
    NuScenesEvaluation,
    bootstrap_difference,
)
from lzu_export.evaluation.metrics.nuscenes_matching import DISTANCES, ERRORS
from lzu_export.evaluation.metrics.nuscenes_objects import (
    DEMO,
    NUSCENES,
    ClassRule,
    Objects,
    camera_objects,
    ego_objects,
)

Array = NDArray[np.float64]
CAR = (ClassRule("car", 50),)
NAMES = [rule.name for rule in NUSCENES]


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


# Sets of samples for comparison with other implementations.


def random_samples(
    seed: int, sequences: int = 3, classes: int = len(NUSCENES), unsure: bool = False
) -> list[dict[str, Any]]:
    """Samples with truth, near misses, duplicates and false positives; some classes are rare.

    With `unsure` scores are of few values, so that many are equal.
    """
    random = np.random.default_rng(seed)
    samples = []
    for number in range(2 * sequences):
        n = int(random.integers(0, 25))
        truth = np.column_stack(
            [
                random.uniform(-45, 45, (n, 2)),
                random.normal(0, 1, n),
                random.uniform(0.5, 5, (n, 3)),
                random.uniform(-7, 7, n),
                random.normal(0, 2, (n, 2)),
            ]
        )
        truth[random.random(n) < 0.1, 7:] = np.nan
        labels = (random.random(n) ** 2 * classes).astype(int)
        chosen = np.flatnonzero(random.random(n) < 0.8)
        chosen = np.concatenate([chosen, random.permutation(chosen)[: len(chosen) // 3]])
        found = np.nan_to_num(truth[chosen])
        found[:, :2] += random.normal(0, 0.9, (len(chosen), 2))
        found[:, 3:6] *= random.uniform(0.7, 1.4, (len(chosen), 3))
        found[:, 6:] += random.normal(0, 0.5, (len(chosen), 3))
        wrong = random.random(len(chosen)) < 0.1
        scores = random.uniform(0.05, 1, len(chosen))
        samples.append(
            {
                "sample_id": f"s{number}",
                "sequence_id": number // 2,
                "truth": ego_objects(truth, labels, random.integers(-1, 3, n)),
                "found": ego_objects(
                    found,
                    np.where(wrong, 0, labels[chosen]),
                    random.integers(-1, 3, len(chosen)),
                ),
                "scores": np.ceil(scores * 4) / 4 if unsure else scores,
            }
        )
    return samples


def evaluation_of(samples: Sequence[Mapping[str, Any]], **options: Any) -> NuScenesEvaluation:
    evaluation = NuScenesEvaluation(NUSCENES, **options)
    for each in samples:
        evaluation.add(**each)
    return evaluation


def literal(
    samples: Sequence[Mapping[str, Any]], label: int, distance: float
) -> tuple[float, dict[str, float]]:
    """AP and errors of a class, box by box as the published algorithm goes."""
    rule = NUSCENES[label]

    def near(objects: Objects, i: int) -> bool:
        x, y = objects.centres[i]
        return bool(objects.labels[i] == label and math.sqrt(x * x + y * y) < rule.reach)

    wanted = [
        (s, i)
        for s, each in enumerate(samples)
        for i in range(len(each["truth"].labels))
        if near(each["truth"], i)
    ]
    found = [
        (float(each["scores"][i]), place, s, i)
        for place, (s, i) in enumerate(
            (s, i) for s, each in enumerate(samples) for i in range(len(each["found"].labels))
        )
        for each in (samples[s],)
        if near(each["found"], i)
    ]
    ap, errors = 0.0, dict.fromkeys(ERRORS, 1.0)
    free, hits, scores, measured = set(wanted), [], [], []
    for score, _, s, i in sorted(found, reverse=True):
        truth, detection = samples[s]["truth"], samples[s]["found"]
        reach = [
            (math.dist(truth.centres[t], detection.centres[i]), t)
            for sample, t in sorted(free)
            if sample == s
        ]
        best, t = min(reach, default=(math.inf, -1))
        hits.append(best < distance)
        scores.append(score)
        if best >= distance:
            continue
        free.remove((s, t))
        one, two = truth.sizes[t], detection.sizes[i]
        shared = math.prod(map(min, one, two))
        period = math.pi if rule.name == "barrier" else 2 * math.pi
        turn = abs(truth.yaws[t] - detection.yaws[i]) % period
        attribute = truth.attributes[t]
        measured.append(
            (
                best,
                1 - shared / (math.prod(one) + math.prod(two) - shared),
                min(turn, period - turn),
                math.dist(truth.velocities[t], detection.velocities[i]),
                math.nan if attribute < 0 else float(attribute != detection.attributes[i]),
            )
        )
    if not measured:
        return ap, errors
    recall = np.cumsum(hits) / len(wanted)
    precision = [sum(hits[: i + 1]) / (i + 1) for i in range(len(hits))]
    grid = np.linspace(0, 1, 101)
    ap = sum(max(p - 0.1, 0) for p in np.interp(grid, recall, precision, right=0)[11:]) / 90 / 0.9
    reached = np.interp(grid, recall, scores, right=0)
    if not (reached[11:] > 0).any():
        return ap, errors
    matched = [score for score, hit in zip(scores, hits, strict=True) if hit]
    for column, name in enumerate(ERRORS):
        means, known = [], []
        for row in measured:
            if not math.isnan(row[column]):
                known.append(row[column])
            means.append(sum(known) / len(known) if known else 0)
        if not known:
            means = [1.0] * len(means)
        curve = np.interp(reached[reached > 0], matched[::-1], means[::-1])
        errors[name] = float(curve[11:].mean())
    return ap, errors


def without(rule: ClassRule) -> set[str]:
    """Errors that a class does not have."""
    return {"traffic_cone": {"AOE", "AVE", "AAE"}, "barrier": {"AVE", "AAE"}}.get(rule.name, set())


@given(st.integers(0, 10**6), st.booleans())
@settings(max_examples=25, deadline=None)
def test_equal_to_the_literal_loop(seed: int, unsure: bool) -> None:
    samples = random_samples(seed, unsure=unsure)
    result = evaluation_of(samples, absent_counts=True).by_class()
    for label, rule in enumerate(NUSCENES):
        values = result[rule.name]
        for distance in DISTANCES:
            ap, errors = literal(samples, label, distance)
            assert values[f"AP_{distance:g}"] == pytest.approx(100 * ap, abs=1e-9), rule.name
            if distance == 2.0:
                for name in ERRORS:
                    if name in without(rule):
                        assert math.isnan(values[name])
                    else:
                        assert values[name] == pytest.approx(errors[name], abs=1e-9), name


def devkit_boxes(samples: Sequence[Mapping[str, Any]], column: str) -> Any:
    """Truth or detections as the devkit has them."""
    from nuscenes.eval.common.data_classes import EvalBoxes
    from nuscenes.eval.detection.data_classes import DetectionBox

    attributes = ("vehicle.moving", "vehicle.parked", "vehicle.stopped")
    boxes = EvalBoxes()
    for each in samples:
        objects: Objects = each[column]
        rows = []
        for i in range(len(objects.labels)):
            x, y = objects.centres[i].tolist()
            yaw, attribute = objects.yaws[i] / 2, int(objects.attributes[i])
            rows.append(
                DetectionBox(
                    sample_token=each["sample_id"],
                    translation=(x, y, 0.0),
                    size=tuple(objects.sizes[i].tolist()),
                    rotation=(math.cos(yaw), 0.0, 0.0, math.sin(yaw)),
                    velocity=tuple(objects.velocities[i].tolist()),
                    ego_translation=(x, y, 0.0),
                    detection_name=NAMES[objects.labels[i]],
                    detection_score=float(each["scores"][i]) if column == "found" else -1.0,
                    attribute_name=attributes[attribute] if attribute >= 0 else "",
                )
            )
        boxes.add_boxes(each["sample_id"], [r for r in rows if r.ego_dist < reach_of(r)])
    return boxes


def reach_of(box: Any) -> float:
    return NUSCENES[NAMES.index(box.detection_name)].reach


@pytest.mark.parametrize("unsure", [False, True])
def test_equal_to_the_devkit(unsure: bool) -> None:
    pytest.importorskip("nuscenes", reason="nuscenes-devkit is not installed")
    from nuscenes.eval.common.config import config_factory
    from nuscenes.eval.detection.evaluate import DetectionEval

    config = config_factory("detection_cvpr_2019")
    assert config.class_range == {rule.name: rule.reach for rule in NUSCENES}
    for seed in range(10):
        samples = random_samples(seed, sequences=6, unsure=unsure)
        devkit = DetectionEval.__new__(DetectionEval)  # its constructor wants the data set
        devkit.cfg, devkit.verbose = config, False
        devkit.gt_boxes = devkit_boxes(samples, "truth")
        devkit.pred_boxes = devkit_boxes(samples, "found")
        metrics, _ = devkit.evaluate()
        evaluation = evaluation_of(samples, absent_counts=True)
        summary, classes = evaluation.summary(), evaluation.by_class()
        assert summary["mAP"] == pytest.approx(100 * metrics.mean_ap, abs=1e-9)
        assert summary["NDS"] == pytest.approx(100 * metrics.nd_score, abs=1e-9)
        keys = ("trans_err", "scale_err", "orient_err", "vel_err", "attr_err")
        for name, key in zip(ERRORS, keys, strict=True):
            assert summary[f"m{name}"] == pytest.approx(metrics.tp_errors[key], abs=1e-9)
            for rule in NUSCENES:
                expected = metrics.get_label_tp(rule.name, key)
                assert classes[rule.name][name] == pytest.approx(expected, abs=1e-9, nan_ok=True)


# The bootstrap.


def test_a_resample_is_the_set_with_sequences_repeated() -> None:
    samples = random_samples(5)
    times = [2, 0, 3]
    copies = [
        {**each, "sample_id": (each["sample_id"], copy)}
        for each in samples
        for copy in range(times[each["sequence_id"]])
    ]
    expected = evaluation_of(copies).summary()
    assert evaluation_of(samples).resampled(times) == pytest.approx(expected, abs=1e-9, nan_ok=True)


def test_the_interval_of_a_better_model_excludes_0() -> None:
    samples = random_samples(3, sequences=8)
    better = [{**each, "found": each["truth"], "scores": None} for each in samples]
    for each in better:
        each["found"] = each["found"]._replace(velocities=np.nan_to_num(each["found"].velocities))
        each["scores"] = np.linspace(0.1, 1, len(each["truth"].labels))
    worse, best = evaluation_of(samples), evaluation_of(better)
    found = bootstrap_difference(worse, best, resamples=50)
    expected = best.summary()["mAP"] - worse.summary()["mAP"]
    assert found["mAP"].difference == pytest.approx(expected)
    assert 0 < found["mAP"].low <= found["mAP"].difference <= found["mAP"].high
    assert found["mATE"].high < 0
    assert found["NDS"].groups == 8
    assert bootstrap_difference(worse, best, resamples=50) == found


def test_runs_are_averaged_before_they_are_compared() -> None:
    samples = random_samples(3, sequences=4)
    fewer = [
        {**s, "found": s["found"].take(s["scores"] > 0.5), "scores": s["scores"][s["scores"] > 0.5]}
        for s in samples
    ]
    one, two = evaluation_of(samples), evaluation_of(fewer)
    single = bootstrap_difference(one, two, resamples=20)
    double = bootstrap_difference([one, one], [two, one], resamples=20)
    assert double["mAP"].difference == pytest.approx(single["mAP"].difference / 2)
    assert double["mAP"].low == pytest.approx(single["mAP"].low / 2)


def test_classes_left_out_are_as_if_they_were_not_there() -> None:
    samples = random_samples(3, sequences=4)
    gone = NAMES.index("car")
    rest = [
        {
            **s,
            "truth": s["truth"].take(s["truth"].labels != gone),
            "found": s["found"].take(s["found"].labels != gone),
            "scores": s["scores"][s["found"].labels != gone],
        }
        for s in samples
    ]
    whole, part, once = evaluation_of(samples), evaluation_of(rest), np.ones(4, np.int64)
    expected = part.summary()
    assert expected["mAP"] != pytest.approx(whole.summary()["mAP"])
    found = whole.resampled(once, without=["car"])
    assert found == pytest.approx(expected, abs=1e-9, nan_ok=True)
    none = bootstrap_difference(whole, whole, without=["car"], resamples=5)
    assert none["mAP"].difference == 0
    with pytest.raises(LzuError, match="there is no class tram to leave out"):
        whole.resampled(once, without=["tram"])


def test_only_the_like_is_compared() -> None:
    one = evaluation_of(random_samples(1))
    with pytest.raises(LzuError, match="same sequences and ground truth"):
        bootstrap_difference(one, evaluation_of(random_samples(2)))
    with pytest.raises(LzuError, match="as many runs"):
        bootstrap_difference([one], [one, one])
    single = evaluation_of(random_samples(1, sequences=1))
    with pytest.raises(LzuError, match="two sequences"):
        bootstrap_difference(single, single)
