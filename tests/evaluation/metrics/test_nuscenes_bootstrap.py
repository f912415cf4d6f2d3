"""Bootstrapped differences of nuScenes' metrics between models."""

import numpy as np
import pytest
from nuscenes_samples import NAMES, evaluation_of, random_samples

from lzu_export.errors import LzuError
from lzu_export.evaluation.metrics.nuscenes import bootstrap_difference


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
