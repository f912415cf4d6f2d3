"""The feedback of boxes on the device, built for the host, is equal to the runtime's to the bit."""

import numpy as np
import pytest
from host_kernels import INVALID, Array, address, aligned, library, run
from hypothesis import given, settings
from hypothesis import strategies as st

from lzu_export.recipes.schema import BoxWarpSettings, Feedback
from lzu_export.runtime.feedback import PreviousBoxes
from lzu_export.runtime.kernels import FeedBoxes
from lzu_export.support.limits import MOST_BOXES, MOST_CANDIDATES

VIEW = (8, 4, 108, 84)
"""Left, top, right and bottom in source pixels."""


def fed(boxes: Array, scores: Array, counts: list[int], taken: int, threshold: float, most: int):
    """Run the kernel on a batch; return what it fed."""
    batch, detections = scores.shape
    memory = [aligned(a.shape, a.dtype) for a in (boxes, scores, np.array(counts, np.int32))]
    for place, array in zip(memory, (boxes, scores, counts), strict=True):
        place[...] = array
    prev_boxes, prev_valid = (aligned((batch, taken, *last), np.float32, 77) for last in ((4,), ()))
    call = FeedBoxes(
        *(address(array) for array in memory), batch, detections, taken, most, threshold, *VIEW,
        address(prev_boxes), address(prev_valid),
    )  # fmt: skip
    assert run("lzu_feed_boxes", call) == 0
    return prev_boxes, prev_valid


def check(boxes, scores, counts, taken, threshold=0.0, most=None) -> int:
    """Compare with what the runtime makes of the same detections; return how many were fed."""
    feedback = Feedback(score_threshold=threshold, most=most)
    previous = PreviousBoxes(BoxWarpSettings(boxes=taken, feedback=feedback), len(counts))
    for i, count in enumerate(counts):
        clipped = np.clip(boxes[i, :count], VIEW[:2] * 2, VIEW[2:] * 2).astype(np.float32)
        previous.feed(clipped, scores[i, :count], i)
    found = fed(boxes, scores, counts, taken, threshold, previous.settings.most_fed)
    for mine, theirs in zip(found, previous.inputs().values(), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    return int(found[1].sum())


def scene(seed: int, batch: int, detections: int) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    boxes = rng.uniform(-50, 150, (batch, detections, 4)).astype(np.float32)
    scores = -np.sort(-rng.random((batch, detections)).astype(np.float32))
    return boxes, scores


@pytest.mark.parametrize("detections", [1, 2, 100, 128, 129, MOST_CANDIDATES])
@pytest.mark.parametrize("taken", [1, 100, MOST_BOXES])
def test_equal_to_the_runtime(detections: int, taken: int) -> None:
    boxes, scores = scene(detections, 2, detections)
    counts = [detections, detections // 2]
    assert check(boxes, scores, counts, taken) == sum(min(n, taken) for n in counts)


@pytest.mark.parametrize(("threshold", "most"), [(0.5, None), (0.0, 3), (0.5, 3), (0.999999, None)])
def test_the_recipe_s_feedback_decides(threshold: float, most: int | None) -> None:
    boxes, scores = scene(1, 3, 40)
    check(boxes, scores, [40, 7, 0], 20, threshold, most)
    scores[0, 5:] = 0.5  # at the threshold itself
    check(boxes, scores, [40, 7, 0], 20, threshold, most)


def test_broken_detections_are_left_out_and_the_others_close_ranks() -> None:
    boxes, scores = scene(2, 1, 30)
    boxes[0, [0, 7, 8], [1, 2, 3]] = np.nan
    boxes[0, 3] = [-np.inf, -np.inf, np.inf, np.inf]
    scores[0, 11] = np.nan
    assert check(boxes, scores, [30], 30) == 26


def test_what_lies_behind_the_last_detection_is_none() -> None:
    boxes, scores = scene(3, 1, 10)
    for count, wanted in ((-5, 0), (0, 0), (99, 10)):
        valid = fed(boxes, scores, [count], 10, 0.0, 10)[1]
        assert valid.sum() == wanted


@given(
    seed=st.integers(0, 2**32 - 1),
    detections=st.integers(1, 200),
    taken=st.integers(1, 60),
    threshold=st.floats(0, 0.99),
    most=st.none() | st.integers(1, 80),
)
@settings(max_examples=60, deadline=None)
def test_equal_for_any_detections(seed, detections, taken, threshold, most) -> None:
    boxes, scores = scene(seed, 2, detections)
    if seed % 2:
        boxes[0, seed % detections, seed % 4] = [np.nan, np.inf, -0.0][seed % 3]
    check(boxes, scores, [detections, seed % (detections + 1)], taken, threshold, most)


@pytest.mark.parametrize(
    "changes",
    [
        {"batch": 0},
        {"detections": 0},
        {"detections": MOST_CANDIDATES + 1},
        {"box_count": MOST_BOXES + 1},
        {"most": 6},
        {"most": -1},
        {"left": 2.0},
        {"bottom": float("nan")},
    ],
)
def test_invalid_calls_launch_nothing(changes) -> None:
    sound = {"batch": 1, "detections": 5, "box_count": 5, "most": 5, "right": 1.0, "bottom": 1.0}
    assert library().lzu_feed_boxes(None, None) == INVALID
    assert run("lzu_feed_boxes", FeedBoxes(**{**sound, **changes})) == INVALID
