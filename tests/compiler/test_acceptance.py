"""What stops an export."""

import math

import pytest

from lzu_export.cli.tables.export import score_notes
from lzu_export.compiler.acceptance import refuse_deviation, refuse_loss, refuse_scores
from lzu_export.errors import LzuError
from lzu_export.evaluation.metrics.bootstrap import Interval
from lzu_export.manifest.schema import Accuracy, Agreement, Parity
from lzu_export.verification.checks import parity_checks


def accuracy(precision: str, engine: float, pytorch: float = 40.0, limit: float = 0.1) -> Accuracy:
    return Accuracy(
        dataset="few",
        note="",
        metric="mIoU",
        frames=8,
        pytorch={"mIoU": pytorch},
        engines={f"onnxruntime/{precision}": {"mIoU": engine}},
        limits={precision: limit},
    )


@pytest.mark.parametrize(
    ("precision", "engine", "said"),
    [
        ("fp32", 40.3, "differs from PyTorch's by 0.30 points"),
        ("fp32", 39.7, "differs from PyTorch's by 0.30 points"),
        ("fp16", 39.5, "is below PyTorch's by 0.50 points"),
        ("int8", 38.75, "is below PyTorch's by 1.25 points"),
        ("int8", float("nan"), "is below PyTorch's by nan points"),
        ("fp16", 43.0, ""),  # luck, which a lower precision may have
        ("int8", 43.0, ""),
        ("fp32", 40.05, ""),
        ("fp16", 39.95, ""),
    ],
)
def test_float32_may_not_differ_and_lower_precisions_may_not_lose(
    precision: str, engine: float, said: str
) -> None:
    if not said:
        refuse_loss(accuracy(precision, engine), str)
        return
    with pytest.raises(LzuError, match=f"mIoU of onnxruntime/{precision} {said} where 0.1 is"):
        refuse_loss(accuracy(precision, engine), str)


@pytest.mark.parametrize(
    ("precision", "engine", "span", "refused"),
    [
        ("fp16", 39.5, (-1.2, 0.3), False),
        ("fp16", 39.5, (-1.2, -0.1), False),  # no more than the limit may be lost
        ("fp16", 39.5, (-1.2, -0.11), True),
        ("fp16", 39.5, None, True),
        ("fp32", 39.5, (-1.2, 0.3), True),
        ("int8", float("nan"), (-1.2, 0.3), True),
    ],
)
def test_a_loss_that_may_be_the_choice_of_frames_is_told_and_stops_nothing(
    precision: str, engine: float, span: tuple[float, float] | None, refused: bool
) -> None:
    interval = None if span is None else Interval(engine - 40, *span, 400, 8)
    found = accuracy(precision, engine)
    if refused:
        with pytest.raises(LzuError, match=r"where 0\.1 is allowed"):
            refuse_loss(found, str, lambda name: interval)
        return
    (told,) = refuse_loss(found, str, lambda name: interval)
    assert told.startswith(f"mIoU of onnxruntime/{precision} is 0.50 points below PyTorch's")
    assert told.endswith(f"on 8 frames: {interval}")


@pytest.mark.parametrize(
    ("engine", "ratio", "refused"),
    [
        ("onnxruntime/int8", 0.54, True),
        ("emulated/int8", 1.1, True),
        ("onnxruntime/int8", float("nan"), True),
        ("onnxruntime/int8", 0.975, False),
        ("emulated/int8", 1.025, False),
    ],
)
def test_confidences_may_not_fall_though_the_metric_stays(
    engine: str, ratio: float, refused: bool
) -> None:
    found = accuracy("int8", 40.0).model_copy(
        update={
            "agreement": {engine: Agreement(scores=ratio, matched=1.0, count=9)},
            "score_limits": {"int8": 0.03},
        }
    )
    refuse_loss(found, str)
    if not refused:
        refuse_scores(found, str)
        return
    with pytest.raises(LzuError, match=f"scores in {engine} are {ratio:.3f} times PyTorch's where"):
        refuse_scores(found, str)


@pytest.mark.parametrize(("share", "refused"), [(0.93, True), (0.971, False)])
def test_of_segmentation_the_pixels_are_named(share: float, refused: bool) -> None:
    """Segmentation has no scores, so the message mentions none."""
    figure = Agreement(scores=share, matched=1.0, count=400, compared="pixels")
    parity = Parity(
        target="onnxruntime",
        precision="int8",
        status="passed",
        limit=None,
        agreement=figure,
        score_limit=0.03,
    )
    words = f"is {share:.3f} where at least 0.97 is asked for"
    (check,) = parity_checks(parity)
    called = "share of pixels that keep their class"
    assert (check.name, check.message) == (called, words)
    assert check.status == ("failed" if refused else "passed")
    found = accuracy("int8", 40.0).model_copy(
        update={"agreement": {parity.engine: figure}, "score_limits": {"int8": 0.03}}
    )
    assert score_notes("a", found)[0] == f"a, {called}:"
    if not refused:
        refuse_deviation(parity, str)
        refuse_scores(found, str)
        return
    with pytest.raises(LzuError, match=f"{called}, which {words}; no bundle .* tolerances.scores"):
        refuse_deviation(parity, str)
    with pytest.raises(LzuError, match=f"the {called} in onnxruntime/int8 {words}"):
        refuse_scores(found, str)


@pytest.mark.parametrize(
    ("share", "count", "refused"),
    [
        (0.89, 400, True),
        (0.91, 400, False),
        (0.5, 49, False),
        (0.5, 50, True),
        (math.nan, 60, True),
    ],
)
def test_detections_may_not_vanish_though_scores_and_metric_stay(
    share: float, count: int, refused: bool
) -> None:
    """With so few detections a single one is a large share."""
    found = accuracy("int8", 40.0).model_copy(
        update={
            "agreement": {"emulated/int8": Agreement(scores=1.0, matched=share, count=count)},
            "score_limits": {"int8": 0.03},
            "matched_limits": {"int8": 0.9},
        }
    )
    if not refused:
        refuse_scores(found, str)
        return
    said = f"share of detections found in emulated/int8 is {share:.3f} of PyTorch's where at least "
    with pytest.raises(LzuError, match=said) as caught:
        refuse_scores(found, lambda precision: f"advice for {precision}")
    end = "advice for int8; or lower tolerances.matched.int8 if so much is acceptable"
    assert str(caught.value).endswith(end)
