"""Boxes fed back from frame to frame: what is kept, refused, forgotten and shown."""

import numpy as np
import pytest

from lzu_export.errors import LzuError
from lzu_export.recipes.schema import BoxWarpSettings, Feedback
from lzu_export.runtime.feedback import PreviousBoxes, adaptive_tables, check_single_stream
from lzu_export.warp.box_saliency import box_saliency
from lzu_export.warp.knots import separable_knots
from lzu_export.warp.saliency import uniform_saliency
from lzu_export.warp.tables import zoom_tables

BOXES = np.array([[10, 10, 30, 20], [40, 5, 60, 50], [0, 0, 5, 5]], np.float32)
SCORES = np.array([0.9, 0.5, 0.2], np.float32)


def settings(**changes: object) -> BoxWarpSettings:
    return BoxWarpSettings(**{"lattice": (7, 11), "boxes": 4, "fwhm": 4.0, **changes})  # type: ignore[arg-type]


def test_a_sequence_begins_without_boxes() -> None:
    previous = PreviousBoxes(settings(), 2)
    inputs = previous.inputs()
    assert inputs["prev_boxes"].shape == (2, 4, 4)
    assert inputs["prev_valid"].shape == (2, 4)
    assert not inputs["prev_valid"].any()


def test_detections_fill_the_first_places_of_their_stream() -> None:
    previous = PreviousBoxes(settings(), 2)
    previous.feed(BOXES, SCORES, 1)
    inputs = previous.inputs()
    np.testing.assert_array_equal(inputs["prev_valid"], [[0, 0, 0, 0], [1, 1, 1, 0]])
    np.testing.assert_array_equal(inputs["prev_boxes"][1, :3], BOXES)
    previous.reset()
    assert not previous.inputs()["prev_valid"].any()


@pytest.mark.parametrize(
    ("feedback", "boxes", "kept"),
    [
        ({"score_threshold": 0.5}, 4, 2),
        ({"most": 1}, 4, 1),
        ({}, 2, 2),
        ({"score_threshold": 0.95}, 4, 0),
    ],
)
def test_feedback_lets_the_best_through(feedback: dict[str, float], boxes: int, kept: int) -> None:
    """The boxes fed back obey the recipe's limits and fit the engine's input."""
    previous = PreviousBoxes(settings(boxes=boxes, feedback=Feedback(**feedback)), 1)  # type: ignore[arg-type]
    previous.feed(BOXES, SCORES, 0)
    np.testing.assert_array_equal(previous[0], BOXES[:kept])


def test_broken_detections_are_left_out() -> None:
    broken = BOXES.copy()
    broken[0, 2] = np.nan
    previous = PreviousBoxes(settings(), 1)
    previous.feed(broken, SCORES, 0)
    np.testing.assert_array_equal(previous[0], BOXES[1:])


@pytest.mark.parametrize(
    ("boxes", "expected"),
    [
        ([[0, 0, np.nan, 1]], "NaN or infinite"),
        ([[0, 0, np.inf, 1]], "NaN or infinite"),
        (np.zeros((5, 4)), "5 boxes are given but the engine takes 4"),
        ([[1, 2, 3]], r"boxes have shape \(1, 3\), not \(n, 4\); give rows of x1, y1, x2, y2"),
        ([[1, 2, 30, 40, 0.9]] * 4, r"boxes have shape \(4, 5\), not \(n, 4\)"),
        ([1, 2, 30, 40], r"boxes have shape \(4,\), not"),
        ([[[1, 2, 30, 40]]], r"boxes have shape \(1, 1, 4\), not"),
        ([[1, 2, 3, 4], [1, 2]], "boxes must have shape"),
        ([[1, 2, 30, 40], [50, 6, 20, 30]], "box 1 is 50, 6, 20, 30, which ends before it begins"),
        ([[10, 40, 30, 20]], "box 0 is 10, 40, 30, 20, which ends before"),
    ],
)
def test_unfit_boxes_are_refused_and_the_stream_begins_again(boxes: object, expected: str) -> None:
    previous = PreviousBoxes(settings(), 1)
    previous.set_boxes(BOXES)
    with pytest.raises(LzuError, match=expected):
        previous.set_boxes(boxes)  # type: ignore[arg-type]
    assert len(previous[0]) == 0


def test_tables_are_those_of_the_boxes_warp() -> None:
    """Pictures show the warp by boxes, with the recipe's share of the fixed warp in it."""
    boxes, view, canvas = np.add(BOXES, [8, 4, 8, 4]), (60, 80), (30, 40)
    fixed = uniform_saliency((7, 11))
    found = adaptive_tables(boxes, fixed, settings(bandwidth=9.0), (4, 8), view, canvas)
    saliency = box_saliency(BOXES, view, (7, 11), bandwidth=9.0)
    wanted = zoom_tables(*separable_knots(saliency, 4.0), view, canvas)
    for mine, theirs in zip(found, wanted, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-5)
    none = adaptive_tables(boxes[:0], fixed, settings(), (4, 8), view, canvas)
    assert np.allclose(none.rows[0] + none.rows[1], np.linspace(0, 59, 30), atol=1e-4)
    alone = adaptive_tables(boxes, fixed, settings(mix=0.0), (4, 8), view, canvas)
    np.testing.assert_allclose(alone.rows, none.rows, atol=1e-5)


def test_one_sequence_is_one_stream() -> None:
    check_single_stream(1, "a video")
    with pytest.raises(LzuError, match=r"runs 3 streams side by side, but a video is one"):
        check_single_stream(3, "a video")
