"""The suppression kernel, built for the host, is equal to the runtime's to the bit."""

import numpy as np
import pytest
from host_kernels import INVALID, Array, address, aligned, library, run
from hypothesis import given, settings
from hypothesis import strategies as st

from lzu_export.runtime.kernels import Suppress
from lzu_export.runtime.postprocess import suppress
from lzu_export.support.limits import MOST_CANDIDATES


def kernel(boxes, scores, labels, *, score_threshold=0.05, iou_threshold=0.5, most=100):
    """Run the kernel on a batch; return boxes, scores, labels per image, cut to those kept."""
    batch, count = scores.shape
    memory = [aligned(a.shape, a.dtype) for a in (boxes, scores, labels)]
    for place, array in zip(memory, (boxes, scores, labels), strict=True):
        place[...] = array
    workspace = aligned((library().lzu_suppress_workspace(batch, count),), np.uint8, 0xA5)
    kept_boxes = aligned((batch, most, 4), np.float32, 77)
    kept_scores = aligned((batch, most), np.float32, 77)
    kept_labels = aligned((batch, most), np.int32, 77)
    kept_count = aligned((batch,), np.int32, 77)
    call = Suppress(
        *(address(array) for array in memory), labels.itemsize, batch, count, most,
        score_threshold, iou_threshold,
        *(address(a) for a in (workspace, kept_boxes, kept_scores, kept_labels, kept_count)),
    )  # fmt: skip
    assert run("lzu_suppress", call) == 0
    for b, n in enumerate(kept_count):
        assert not kept_boxes[b, n:].any()
        assert not kept_scores[b, n:].any()
        assert (kept_labels[b, n:] == -1).all()
    return [
        (kept_boxes[b, :n], kept_scores[b, :n], kept_labels[b, :n])
        for b, n in enumerate(kept_count)
    ]


def check(boxes: Array, scores: Array, labels: Array, **settings) -> int:
    """Compare with the runtime's suppression; return how many were kept in all."""
    most = settings.get("most", 100)
    total = 0
    for b, found in enumerate(kernel(boxes, scores, labels, **settings)):
        truth = suppress(
            boxes[b], scores[b], labels[b],
            score_threshold=settings.get("score_threshold", 0.05),
            iou_threshold=settings.get("iou_threshold", 0.5),
            max_detections=most,
        )  # fmt: skip
        for mine, theirs in zip(found, truth, strict=True):
            np.testing.assert_array_equal(mine, theirs)
        total += len(truth[1])
    return total


def scene(rng, count, batch=1, levels=20, classes=3):
    corner = rng.uniform(0, 300, (batch, count, 2))
    size = rng.uniform(-5, 90, (batch, count, 2))
    boxes = np.concatenate([corner, corner + size], axis=-1).astype(np.float32)
    scores = (rng.integers(0, levels, (batch, count)) / levels).astype(np.float32)  # many ties
    return boxes, scores, rng.integers(0, classes, (batch, count)).astype(np.int32)


@pytest.mark.parametrize("count", [1, 2, 127, 128, 129, 1000, 3840, 3841, 5000, MOST_CANDIDATES])
@pytest.mark.parametrize("most", [1, 100, 5000])
def test_equal_to_the_runtime(count, most):
    rng = np.random.default_rng(count)
    assert check(*scene(rng, count), most=most, iou_threshold=0.45) >= 0


def test_batches_thresholds_and_wide_labels():
    rng = np.random.default_rng(0)
    boxes, scores, labels = scene(rng, 300, batch=3)
    for threshold in (0.0, 0.3, 1.0):
        kept = check(boxes, scores, labels.astype(np.int64), iou_threshold=threshold)
        assert kept > 0


def test_what_is_unsound_neither_is_kept_nor_suppresses():
    rng = np.random.default_rng(1)
    boxes, scores, labels = scene(rng, 400)
    bad = rng.choice(400, 60, replace=False)
    boxes[0, bad[:20], rng.integers(0, 4, 20)] = np.nan
    boxes[0, bad[20:30], 2] = np.inf
    scores[0, bad[30:40]] = np.nan
    scores[0, bad[40:50]] = np.inf
    boxes[0, bad[50:], 2] = boxes[0, bad[50:], 0]
    check(boxes, scores, labels)
    check(boxes, scores, labels, score_threshold=-np.inf)
    check(np.full_like(boxes, np.nan), scores, labels)


def test_equal_boxes_and_equal_scores_keep_the_first():
    boxes = np.tile(np.array([10, 10, 20, 20], np.float32), (1, 50, 1))
    scores = np.full((1, 50), 0.5, np.float32)
    scores[0, 7] = -0.0
    assert check(boxes, scores, np.zeros((1, 50), np.int32)) == 1


def test_areas_that_overflow():
    boxes = np.array([[[0, 0, 3e38, 3e38], [1, 1, 2e38, 2e38], [0, 0, 5, 5]]], np.float32)
    check(boxes, np.array([[0.9, 0.8, 0.7]], np.float32), np.zeros((1, 3), np.int32))


@pytest.mark.parametrize("count", [255, 256, 257, 5000])
@pytest.mark.parametrize("threshold", [-0.25, -0.0, np.nan])
def test_thresholds_by_which_boxes_apart_overlap(count, threshold):
    """Below 0 a box suppresses all others of its label; by NaN none."""
    rng = np.random.default_rng(count)
    kept = check(*scene(rng, count), iou_threshold=threshold, most=count)
    assert kept == 3 if threshold < 0 else kept > 3


@pytest.mark.parametrize("clusters", [99, 100, 101])
def test_duplicates_that_fill_every_chunk_of_candidates(clusters):
    """All 5000 candidates are visited where fewer boxes than the limit are left."""
    rng = np.random.default_rng(clusters)
    left, top = 60 * (np.arange(clusters) % 12), 60 * (np.arange(clusters) // 12)
    corner = np.stack([left, top], axis=-1)[rng.integers(0, clusters, 5000)]
    corner[:clusters] = np.stack([left, top], axis=-1)
    jitter = rng.uniform(-2, 2, (5000, 4))
    boxes = (np.concatenate([corner, corner + 50], axis=-1) + jitter).astype(np.float32)
    scores = rng.uniform(0.1, 1, (1, 5000)).astype(np.float32)
    kept = check(boxes[None], scores, np.zeros((1, 5000), np.int32))
    assert kept == min(clusters, 100)


def test_more_kept_boxes_than_there_are_bits_of():
    """Pages of bits follow one another where many hundred boxes are kept."""
    rng = np.random.default_rng(2)
    places = rng.permutation(np.repeat(np.arange(900), 2))
    corner = 40 * np.stack([places % 30, places // 30], axis=-1) + rng.uniform(-4, 4, (1800, 2))
    boxes = np.concatenate([corner, corner + 30], axis=-1).astype(np.float32)
    scores = rng.uniform(0.1, 1, (1, 1800)).astype(np.float32)
    labels = rng.integers(-1, 1, (1, 1800)).astype(np.int32)
    assert check(boxes[None], scores, labels, most=1800) > 900
    assert check(boxes[None], scores, labels, most=700) == 700


def test_duplicates_that_come_object_by_object():
    """Each round of the kernel keeps a few boxes, and takes as many candidates as it can."""
    rng = np.random.default_rng(3)
    objects = np.repeat(np.arange(40), 50)
    corner = 60 * np.stack([objects % 8, objects // 8], axis=-1)
    jitter = rng.uniform(-2, 2, (2000, 4))
    boxes = (np.concatenate([corner, corner + 50], axis=-1) + jitter).astype(np.float32)
    scores = np.linspace(1, 0.1, 2000, dtype=np.float32)[None]
    assert check(boxes[None], scores, np.zeros((1, 2000), np.int32)) == 40


@pytest.mark.parametrize("scale", [1e-42, 1e-38, 1e30, 8e35])
def test_boxes_far_from_the_best_ones(scale):
    """The grid of cells lies over the best boxes; others are outside, and ranges may overflow."""
    rng = np.random.default_rng(4)
    boxes, _, labels = scene(rng, 700)
    boxes[0, :350] -= 150
    boxes[0, ::2] *= np.float32(scale)
    scores = rng.uniform(0.1, 1, (1, 700)).astype(np.float32)
    check(boxes, scores, labels, most=700)
    scores[0, ::2] += 1  # the others are outside
    check(boxes, scores, labels, most=700)


@given(
    seed=st.integers(0, 2**32 - 1),
    iou=st.floats(0, 1, width=32),
    low=st.floats(-0.5, 1, width=32),
    count=st.integers(1, 200),
)
@settings(max_examples=80, deadline=None)
def test_equal_for_any_scene(seed, iou, low, count):
    rng = np.random.default_rng(seed)
    boxes, scores, labels = scene(rng, count)
    boxes = np.round(boxes / 16) * 16 if seed % 2 else boxes  # overlaps at exact thresholds
    check(boxes, scores, labels, iou_threshold=iou, score_threshold=low)


def test_invalid_calls_launch_nothing():
    assert library().lzu_suppress(None, None) == INVALID
    assert (
        run("lzu_suppress", Suppress(batch=1, candidates=MOST_CANDIDATES + 1, max_detections=1))
        == INVALID
    )
