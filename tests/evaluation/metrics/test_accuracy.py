"""COCO accuracy and its bootstrap, on hand-made detections."""

from typing import Any

import numpy as np
import pytest

from lzu_export.errors import LzuError
from lzu_export.evaluation.metrics.coco import (
    AREAS,
    Evaluation,
    average_precision,
    bootstrap_ap_difference,
    bootstrap_ap_differences,
)

SIDES = (10, 30, 80)  # one object of each size


def make_truth(sequences: int = 6, frames: int = 3) -> dict[str, Any]:
    images, annotations = [], []
    for s in range(sequences):
        for f in range(frames):
            number = s * 100 + f
            images.append({"id": number, "sequence_id": s, "height": 360, "width": 640})
            for i, side in enumerate(SIDES):
                annotations.append(
                    {
                        "id": number * 10 + i + 1,
                        "image_id": number,
                        "category_id": 1 + (s + i) % 2,
                        "bbox": [20.0 + 150 * i, 40.0 + 3 * f, side, side],
                        "area": side * side,
                        "iscrowd": 0,
                    }
                )
    categories = [{"id": 1, "name": "car"}, {"id": 2, "name": "bus"}]
    return {"images": images, "annotations": annotations, "categories": categories}


def detections(
    truth: dict[str, Any], shift: float, share: float, seed: int = 0
) -> list[dict[str, Any]]:
    random = np.random.default_rng(seed)
    return [
        {
            "image_id": a["image_id"],
            "category_id": a["category_id"],
            "bbox": [a["bbox"][0] + shift * float(random.normal()), *a["bbox"][1:]],
            "score": float(random.uniform(0.1, 1)),
        }
        for a in truth["annotations"]
        if random.random() < share
    ]


def test_perfect_detections_have_ap_100() -> None:
    truth = make_truth()
    for name, value in average_precision(truth, detections(truth, 0, 2)).items():
        assert value == pytest.approx(100), name


def test_no_detections_have_ap_0() -> None:
    assert average_precision(make_truth(), [])["AP"] == 0


def test_sizes_are_told_apart_by_the_stated_areas() -> None:
    truth = make_truth()
    small = [d for d in detections(truth, 0, 2) if d["bbox"][2] == SIDES[0]]
    result = average_precision(truth, small)
    assert AREAS["small"][1] == 256
    assert result["AP_small"] == pytest.approx(100)
    assert result["AP_medium"] == result["AP_large"] == 0


def test_a_shifted_box_counts_up_to_its_overlap() -> None:
    truth = make_truth()
    found = detections(truth, 0, 2)
    for d in found:  # IoU 0.9 / 1.1 = 0.82: seven of the ten thresholds 0.50:0.95
        d["bbox"][0] += 0.1 * d["bbox"][2]
    assert average_precision(truth, found)["AP"] == pytest.approx(70)


def test_objects_to_ignore_count_neither_way() -> None:
    truth = make_truth()
    truth["annotations"][0]["iscrowd"] = 1
    assert average_precision(truth, detections(truth, 0, 2))["AP"] == pytest.approx(100)
    without = [d for d in detections(truth, 0, 2)][1:]
    assert average_precision(truth, without)["AP"] == pytest.approx(100)


def test_evaluation_leaves_its_arguments_alone() -> None:
    truth = make_truth()
    found = detections(truth, 1, 0.8)
    before = repr((truth, found))
    average_precision(truth, found)
    assert repr((truth, found)) == before


def test_resampling_every_image_once_is_the_library_s_result() -> None:
    truth = make_truth()
    evaluation = Evaluation(truth, detections(truth, 2, 0.8))
    summary = evaluation.summary()
    order = np.random.default_rng(1).permutation(len(truth["images"]))
    for places in (np.arange(len(order)), order):
        for name, value in evaluation.resampled(places).items():
            assert value == pytest.approx(summary[name], abs=1e-9), name


def test_a_repeated_image_counts_as_two_images() -> None:
    truth = make_truth(sequences=1, frames=1)
    found = detections(truth, 2, 2)
    twice = {**truth, "images": [*truth["images"], {**truth["images"][0], "id": 7}]}
    twice["annotations"] = truth["annotations"] + [
        {**a, "id": a["id"] + 5000, "image_id": 7} for a in truth["annotations"]
    ]
    both = found + [{**d, "image_id": 7} for d in found]
    copied = Evaluation(twice, both).summary()
    resampled = Evaluation(truth, found).resampled(np.array([0, 0]))
    assert resampled["AP"] == pytest.approx(copied["AP"], abs=1e-9)


def test_bootstrap_brackets_a_real_difference_and_not_a_null_one() -> None:
    truth = make_truth(sequences=12)
    good, bad = detections(truth, 0.5, 0.95), detections(truth, 3, 0.6, seed=1)
    found = bootstrap_ap_difference(truth, bad, good, resamples=60)["AP"]
    exact = average_precision(truth, good)["AP"] - average_precision(truth, bad)["AP"]
    assert found.difference == pytest.approx(exact, abs=1e-9)
    assert 0 < found.low < found.difference < found.high
    same = bootstrap_ap_difference(truth, good, good, resamples=10)["AP"]
    assert same.low == same.difference == same.high == 0


def test_bootstrap_is_reproducible() -> None:
    truth = make_truth()
    pair = detections(truth, 1, 0.9), detections(truth, 2, 0.9, seed=3)
    assert bootstrap_ap_difference(truth, *pair, resamples=20) == bootstrap_ap_difference(
        truth, *pair, resamples=20
    )


def test_models_of_several_pairs_are_evaluated_once_a_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each pair has the intervals that it has alone."""
    truth = make_truth()
    models = {
        str(i): Evaluation(truth, detections(truth, shift, 0.9, seed=i))
        for i, shift in enumerate((0.5, 1.5, 3.0, 1.0))
    }
    pairs = {pair: [tuple(pair)] for pair in ("01", "12", "02")}
    alone = {
        pair: bootstrap_ap_difference(truth, models[pair[0]], models[pair[1]], resamples=15, seed=4)
        for pair in pairs
    }
    counted, right = [], Evaluation.resampled

    def resampled(self: Evaluation, places: Any, **options: bool) -> dict[str, float]:
        counted.append(self)
        return right(self, places, **options)

    monkeypatch.setattr(Evaluation, "resampled", resampled)
    assert bootstrap_ap_differences(truth, models, pairs, resamples=15, seed=4) == alone
    assert [counted.count(each) for each in models.values()] == [16, 16, 16, 0]


def test_a_difference_of_several_pairs_is_their_mean_draw_by_draw() -> None:
    """The mean of a pair and of its reverse is 0 in every draw, though neither pair's is."""
    truth = make_truth()
    models = {i: Evaluation(truth, detections(truth, 1 + i, 0.9, seed=i)) for i in range(2)}
    pairs = {"there": [(0, 1)], "back": [(1, 0)], "both": [(0, 1), (1, 0)]}
    found = bootstrap_ap_differences(truth, models, pairs, resamples=20, seed=2)
    there, back, both = (found[name]["AP"] for name in pairs)
    assert there.low == pytest.approx(-back.high, abs=1e-9)
    assert there.low < there.high
    assert (both.low, both.difference, both.high) == (0, 0, 0)


def test_without_sizes_ap_over_all_objects_is_the_same() -> None:
    truth = make_truth()
    models = {i: Evaluation(truth, detections(truth, 1 + i, 0.9, seed=i)) for i in range(2)}
    pairs = {"gain": [(0, 1)]}
    whole = bootstrap_ap_differences(truth, models, pairs, resamples=20, seed=3)["gain"]
    alone = bootstrap_ap_differences(truth, models, pairs, resamples=20, seed=3, sizes=False)
    assert list(whole) == ["AP", "AP_small", "AP_medium", "AP_large"]
    assert alone["gain"] == {"AP": whole["AP"]}


def test_strangers_are_refused() -> None:
    truth = make_truth()
    stranger = {"image_id": 99999, "category_id": 1, "bbox": [0, 0, 1, 1], "score": 0.5}
    with pytest.raises(LzuError, match="99999"):
        average_precision(truth, [stranger])
    with pytest.raises(LzuError, match="two sequences"):
        bootstrap_ap_difference(make_truth(sequences=1), [], [])
