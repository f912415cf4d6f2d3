"""A comparison's result judges itself: the first figure beyond its limit, the worst, a sentence."""

import math
from typing import Any

import pytest

from lzu_export.manifest.comparison import FEW, FOUND, Agreement, Deviation, Parity


def exact(**changes: Any) -> Parity:
    """An FP32 engine that keeps its limit."""
    probes = {"zoomed": 1e-6, "level_0": 3e-5}
    given = {"probes": probes, "outputs": {"boxes": 2e-5}, "limit": 1e-4, **changes}
    return Parity(target="onnxruntime", precision="fp32", status="passed", **given)


def low(**changes: Any) -> Parity:
    """An INT8 engine that keeps its limits."""
    agreement = Agreement(scores=0.99, matched=0.98, count=FEW)
    given = {
        "snr": {"zoomed": 40.0, "level_0": 12.0}, "snr_limit": 8.0, "agreement": agreement,
        "score_limit": 0.03, "matched_limit": 0.9, **changes,
    }  # fmt: skip
    return Parity(target="tensorrt", precision="int8", status="passed", limit=None, **given)


def test_what_keeps_its_limits_passes() -> None:
    for parity, worst in ((exact(), "level_0"), (low(), "level_0")):
        assert parity.passed
        assert parity.first is None
        assert parity.judged().status == "passed"
        assert parity.worst is not None
        assert parity.worst.name == worst
        assert parity.sentence().endswith("matches PyTorch")


@pytest.mark.parametrize(
    ("parity", "name", "told"),
    [
        (
            exact(probes={"zoomed": 1e-6, "level_0": 2e-3, "level_1": 1.0}),
            "level_0",
            "the onnxruntime engine in fp32 deviates from PyTorch: the first difference is at "
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
            "in int8 on device deviates from PyTorch: the first difference is at share of "
            "detections found, which is 0.800 of PyTorch's where at least 0.9 is asked for",
        ),
        (
            low(agreement=Agreement(scores=0.9, matched=1, count=9, compared="pixels")),
            "share of pixels that keep their class",
            "which is 0.900 where at least 0.97 is asked for",
        ),
    ],
)
def test_the_first_figure_beyond_its_limit(parity: Parity, name: str, told: str) -> None:
    assert not parity.passed
    assert parity.first is not None
    assert parity.first.name == name
    assert told in parity.sentence()
    assert parity.judged().status == "failed"


def test_few_detections_say_nothing_about_the_share_found() -> None:
    few = Agreement(scores=1, matched=0.1, count=FEW - 1)
    assert low(agreement=few).passed
    assert not low(agreement=few.model_copy(update={"count": FEW})).passed


def test_without_a_limit_nothing_is_judged() -> None:
    parity = low(snr={"scores": 1.0}, snr_limit=None, score_limit=None)
    assert parity.passed
    assert parity.worst is not None
    assert parity.worst.sentence() == "has a signal-to-noise ratio of 1.0 dB"
    assert exact(probes={}, outputs={}).worst is None


def test_what_is_no_number_is_the_worst() -> None:
    worst = exact(probes={"zoomed": math.nan, "level_0": 1.0}).worst
    assert worst is not None
    assert (worst.name, worst.excess) == ("zoomed", math.inf)
    assert Deviation("x", "difference", 3e-4, 1e-4).excess == pytest.approx(3)


def test_the_manifest_s_fields_are_what_they_were() -> None:
    """A new one belongs to a new format; bundles that were exported without it keep opening."""
    written = low().model_dump(mode="json")
    assert set(written) == {
        "target", "precision", "status", "on_device", "note", "probes", "outputs", "snr", "limit",
        "snr_limit", "agreement", "score_limit", "matched_limit",
    }  # fmt: skip
    assert set(written["agreement"]) == {"scores", "matched", "count", "compared", "spread"}
    del written["agreement"]["spread"]
    assert Parity.model_validate(written) == low()
