"""A comparison's result judges itself: the first figure beyond its limit, the worst, a sentence."""

import math
from typing import Any

import pytest

from lzu_export.manifest.comparison import FEW, FOUND, Agreement, Deviation, Drift


def exact(**changes: Any) -> Drift:
    """An FP32 engine that keeps its limit."""
    arrows = {"zoomed": 1e-6, "level_0": 3e-5}
    given = {"arrows": arrows, "outputs": {"boxes": 2e-5}, "limit": 1e-4, **changes}
    return Drift(target="onnxruntime", precision="fp32", status="passed", **given)


def low(**changes: Any) -> Drift:
    """An INT8 engine that keeps its limits."""
    agreement = Agreement(scores=0.99, matched=0.98, count=FEW)
    given = {
        "snr": {"zoomed": 40.0, "level_0": 12.0}, "snr_limit": 8.0, "agreement": agreement,
        "score_limit": 0.03, "matched_limit": 0.9, **changes,
    }  # fmt: skip
    return Drift(target="tensorrt", precision="int8", status="passed", limit=None, **given)


def test_what_keeps_its_limits_passes() -> None:
    for drift, worst in ((exact(), "level_0"), (low(), "level_0")):
        assert drift.passed
        assert drift.first is None
        assert drift.judged().status == "passed"
        assert drift.worst is not None
        assert drift.worst.name == worst
        assert drift.sentence().endswith("matches PyTorch")


@pytest.mark.parametrize(
    ("drift", "name", "told"),
    [
        (
            exact(arrows={"zoomed": 1e-6, "level_0": 2e-3, "level_1": 1.0}),
            "level_0",
            "the onnxruntime engine in fp32 drifts from PyTorch: the first difference is at "
            "level_0, which differs from PyTorch by 0.002 where 0.0001 is allowed",
        ),
        (exact(outputs={"boxes": math.nan}), "boxes", "by nan where 0.0001 is allowed"),
        (
            low(snr={"zoomed": 40.0, "level_0": 7.0}),
            "level_0",
            "has a signal-to-noise ratio of 7.0 dB where at least 8 dB are asked for",
        ),
        (
            low(agreement=Agreement(scores=0.8, matched=0.1, count=FEW)),
            "matched scores",
            "which are 0.800 times PyTorch's where 1 ± 0.03 is allowed",
        ),
        (
            low(agreement=Agreement(scores=1, matched=0.8, count=FEW), on_device=True),
            FOUND,
            "in int8 on device drifts from PyTorch: the first difference is at share of "
            "detections found, which is 0.800 of PyTorch's where at least 0.9 is asked for",
        ),
        (
            low(agreement=Agreement(scores=0.9, matched=1, count=9, compared="pixels")),
            "share of pixels that keep their class",
            "which is 0.900 where at least 0.97 is asked for",
        ),
    ],
)
def test_the_first_figure_beyond_its_limit(drift: Drift, name: str, told: str) -> None:
    assert not drift.passed
    assert drift.first is not None
    assert drift.first.name == name
    assert told in drift.sentence()
    assert drift.judged().status == "drifted"


def test_few_detections_say_nothing_about_the_share_found() -> None:
    few = Agreement(scores=1, matched=0.1, count=FEW - 1)
    assert low(agreement=few).passed
    assert not low(agreement=few.model_copy(update={"count": FEW})).passed


def test_without_a_limit_nothing_is_judged() -> None:
    drift = low(snr={"scores": 1.0}, snr_limit=None, score_limit=None)
    assert drift.passed
    assert drift.worst is not None
    assert drift.worst.sentence() == "has a signal-to-noise ratio of 1.0 dB"
    assert exact(arrows={}, outputs={}).worst is None


def test_what_is_no_number_is_the_worst() -> None:
    worst = exact(arrows={"zoomed": math.nan, "level_0": 1.0}).worst
    assert worst is not None
    assert (worst.name, worst.excess) == ("zoomed", math.inf)
    assert Deviation("x", "difference", 3e-4, 1e-4).excess == pytest.approx(3)


def test_the_manifest_s_fields_are_what_they_were() -> None:
    """Bundles that were exported before keep opening, and new ones are read by older releases."""
    written = low().model_dump(mode="json")
    assert set(written) == {
        "target", "precision", "status", "on_device", "note", "arrows", "outputs", "snr", "limit",
        "snr_limit", "agreement", "score_limit", "matched_limit",
    }  # fmt: skip
    assert set(written["agreement"]) == {"scores", "matched", "count", "compared"}
    assert Drift.model_validate(written) == low()
