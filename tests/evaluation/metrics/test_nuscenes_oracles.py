"""nuScenes' metrics equal a literal loop over boxes, and the devkit where it is installed."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nuscenes_samples import NAMES, evaluation_of, random_samples

from lzu_export.evaluation.metrics.nuscenes_matching import DISTANCES, ERRORS
from lzu_export.evaluation.metrics.nuscenes_objects import NUSCENES, ClassRule, Objects

Samples = Sequence[Mapping[str, Any]]
Place = tuple[int, int]
"""Number of a sample and number of a box in it."""


def literal(samples: Samples, label: int, distance: float) -> tuple[float, dict[str, float]]:
    """AP and errors of a class, box by box as the published algorithm goes."""
    errors = dict.fromkeys(ERRORS, 1.0)
    wanted = boxes_in_reach(samples, "truth", label)
    hits, scores, measured = matched(samples, wanted, label, distance)
    if not measured:
        return 0.0, errors
    recall = np.cumsum(hits) / len(wanted)
    precision = [sum(hits[: i + 1]) / (i + 1) for i in range(len(hits))]
    grid = np.linspace(0, 1, 101)
    ap = sum(max(p - 0.1, 0) for p in np.interp(grid, recall, precision, right=0)[11:]) / 90 / 0.9
    reached = np.interp(grid, recall, scores, right=0)
    if not (reached[11:] > 0).any():
        return ap, errors
    found = [score for score, hit in zip(scores, hits, strict=True) if hit]
    for column, name in enumerate(ERRORS):
        means = running_means([row[column] for row in measured])
        curve = np.interp(reached[reached > 0], found[::-1], means[::-1])
        errors[name] = float(curve[11:].mean())
    return ap, errors


def boxes_in_reach(samples: Samples, column: str, label: int) -> list[Place]:
    """Boxes of a class within its range, of the column `truth` or `found`."""
    rule = NUSCENES[label]

    def near(objects: Objects, i: int) -> bool:
        x, y = objects.centres[i]
        return bool(objects.labels[i] == label and math.sqrt(x * x + y * y) < rule.reach)

    return [
        (s, i)
        for s, each in enumerate(samples)
        for i in range(len(each[column].labels))
        if near(each[column], i)
    ]


def matched(
    samples: Samples, wanted: Sequence[Place], label: int, distance: float
) -> tuple[list[bool], list[float], list[tuple[float, ...]]]:
    """Match detections to the free box that is nearest, the surest detection first.

    Returns:
        Whether each detection is a hit, their scores, and the errors of each hit.
    """
    free, hits, scores, measured = set(wanted), [], [], []
    found = [
        (float(samples[s]["scores"][i]), s, i) for s, i in boxes_in_reach(samples, "found", label)
    ]
    for score, s, i in sorted(found, reverse=True):
        truth, detection = samples[s]["truth"], samples[s]["found"]
        reach = [
            (math.dist(truth.centres[t], detection.centres[i]), t)
            for sample, t in sorted(free)
            if sample == s
        ]
        best, t = min(reach, default=(math.inf, -1))
        hits.append(best < distance)
        scores.append(score)
        if best < distance:
            free.remove((s, t))
            measured.append((best, *other_errors(truth, t, detection, i)))
    return hits, scores, measured


def other_errors(truth: Objects, t: int, detection: Objects, i: int) -> tuple[float, ...]:
    """Errors of detection i of true box t but for the distance, in the order of `ERRORS`.

    That of the attribute is NaN if the true box has none.
    """
    one, two = truth.sizes[t], detection.sizes[i]
    shared = math.prod(map(min, one, two))
    period = math.pi if NAMES[truth.labels[t]] == "barrier" else 2 * math.pi
    turn = abs(truth.yaws[t] - detection.yaws[i]) % period
    attribute = truth.attributes[t]
    return (
        1 - shared / (math.prod(one) + math.prod(two) - shared),
        min(turn, period - turn),
        math.dist(truth.velocities[t], detection.velocities[i]),
        math.nan if attribute < 0 else float(attribute != detection.attributes[i]),
    )


def running_means(values: Sequence[float]) -> list[float]:
    """Mean of the values up to each, without NaN; all are 1 if every value is NaN."""
    means, known = [], []
    for value in values:
        if not math.isnan(value):
            known.append(value)
        means.append(sum(known) / len(known) if known else 0)
    return means if known else [1.0] * len(means)


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
