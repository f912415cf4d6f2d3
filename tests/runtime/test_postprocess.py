"""Suppression against a loop in exact arithmetic."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lzu_export.errors import LzuError
from lzu_export.runtime import postprocess
from lzu_export.runtime.postprocess import Detections, suppress

Candidate = tuple[list[int], float, int]


def run(candidates: list[Candidate], score: float, iou: float, limit: int) -> Detections:
    return suppress(
        np.array([c[0] for c in candidates], np.float32).reshape(-1, 4),
        np.array([c[1] for c in candidates], np.float32),
        np.array([c[2] for c in candidates], np.int64),
        score_threshold=score,
        iou_threshold=iou,
        max_detections=limit,
    )


def naive(candidates: list[Candidate], score: float, iou: float, limit: int) -> list[Candidate]:
    kept: list[Candidate] = []
    for box, value, label in sorted(candidates, key=lambda c: -c[1]):  # sorted() is stable
        x1, y1, x2, y2 = box
        if value <= score or x2 <= x1 or y2 <= y1 or len(kept) >= limit:
            continue
        for (a1, b1, a2, b2), _, other in kept:
            inner = max(0, min(x2, a2) - max(x1, a1)) * max(0, min(y2, b2) - max(y1, b1))
            union = (x2 - x1) * (y2 - y1) + (a2 - a1) * (b2 - b1) - inner
            if other == label and Fraction(inner, union) > Fraction(iou):
                break
        else:
            kept.append((box, value, label))
    return kept


# A coarse grid, few scores and few labels: ties of scores and overlaps of exactly the threshold.
candidates_of_ties = st.lists(
    st.tuples(
        st.lists(st.integers(0, 6), min_size=4, max_size=4),
        st.sampled_from([0.125, 0.25, 0.5, 0.75, 1.0]),
        st.integers(0, 2),
    ),
    max_size=60,
)


@given(
    candidates_of_ties,
    st.sampled_from([0.0, 0.25, 0.5]),
    st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]),
    st.integers(0, 20),
    st.sampled_from([1, 3, 128]),
)
@settings(max_examples=300, deadline=None)
def test_suppression_equals_the_naive_loop(
    candidates: list[Candidate], score: float, iou: float, limit: int, chunk: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(postprocess, "CHUNK", chunk)
        boxes, scores, labels = run(candidates, score, iou, limit)
    expected = naive(candidates, score, iou, limit)
    assert boxes.tolist() == [c[0] for c in expected]
    assert scores.tolist() == [c[1] for c in expected]
    assert labels.tolist() == [c[2] for c in expected]


def crowd(count: int) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    rng = np.random.default_rng(5)
    corner = rng.integers(0, 400, (count, 2))
    boxes = np.concatenate([corner, corner + rng.integers(10, 90, (count, 2))], axis=1)
    scores = rng.integers(1, 64, count) / 64
    return boxes.astype(np.float32), scores.astype(np.float32), rng.integers(0, 3, count)


@pytest.mark.parametrize("limit", [100, 1000])
def test_many_candidates_equal_the_naive_loop(limit: int) -> None:
    boxes, scores, labels = crowd(900)
    candidates = [
        ([int(v) for v in box], float(score), int(label))
        for box, score, label in zip(boxes, scores, labels, strict=True)
    ]
    kept = run(candidates, 0.05, 0.5, limit)
    expected = naive(candidates, 0.05, 0.5, limit)
    np.testing.assert_array_equal(kept[0], [c[0] for c in expected])
    np.testing.assert_array_equal(kept[2], [c[2] for c in expected])


def test_results_have_stated_types_even_when_empty() -> None:
    for kept in (run([], 0.05, 0.5, 10), run([([0, 0, 4, 4], 0.01, 0)], 0.05, 0.5, 10)):
        assert [a.shape for a in kept] == [(0, 4), (0,), (0,)]
        assert [a.dtype for a in kept] == [np.float32, np.float32, np.int64]


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", ["box", "score"])
def test_non_finite_candidates_are_dropped_and_suppress_nothing(broken: float, place: str) -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 10]], np.float32)
    scores = np.array([0.9, 0.8], np.float32)
    (boxes[0] if place == "box" else scores)[0] = broken
    kept = suppress(
        boxes,
        scores,
        np.zeros(2, np.int64),
        score_threshold=0.05,
        iou_threshold=0.5,
        max_detections=10,
    )
    np.testing.assert_array_equal(kept[1], np.array([0.8], np.float32))


def test_inputs_stay_as_they_were() -> None:
    boxes, scores, labels = crowd(50)
    copies = boxes.copy(), scores.copy(), labels.copy()
    suppress(boxes, scores, labels, score_threshold=0.1, iou_threshold=0.5, max_detections=9)
    for array, copy in zip((boxes, scores, labels), copies, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_shapes_that_do_not_fit_are_refused() -> None:
    boxes, scores, labels = crowd(5)
    for wrong in ((boxes[:4], scores, labels), (boxes[None], scores[None], labels[None])):
        with pytest.raises(LzuError, match="do not fit together"):
            suppress(*wrong, score_threshold=0.1, iou_threshold=0.5, max_detections=9)
