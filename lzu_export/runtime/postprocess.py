"""Suppression: from fixed-size candidates to detections. NumPy only."""

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from lzu_export.errors import LzuError

CHUNK = 128
"""Candidates compared at once; bounds memory to CHUNK times the number of candidates kept."""

Overlap = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.bool_]]
"""Function from m and n positions to (m, n) whether one candidate suppresses the other."""

Detections = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]


def suppress(
    boxes: NDArray[np.floating],
    scores: NDArray[np.floating],
    labels: NDArray[np.integer],
    *,
    score_threshold: float,
    iou_threshold: float,
    max_detections: int,
    class_agnostic: bool = False,
    wanted: NDArray[np.bool_] | None = None,
) -> Detections:
    """Suppress non-maximum boxes greedily within each class, with a defined order of equal scores.

    Candidates with a score above score_threshold are visited in descending order of score, equal
    scores by lower index first. A candidate is kept unless a kept one of the same label overlaps it
    with an intersection over union strictly above iou_threshold; the visit ends at max_detections
    kept. Two kinds of candidates are dropped beforehand: those with a non-finite coordinate or
    score, since an overflow in half precision must not suppress sound boxes; and boxes without
    area, to which clipping reduces boxes outside the image (mmdet's min_bbox_size 0).

    The overlap test is `intersection > iou_threshold * (area_a + area_b - intersection)` in
    float32, evaluated in that order with a the kept box, so that other implementations can agree
    to the bit.

    Args:
        boxes: (K, 4) x1, y1, x2, y2 in pixels of any one frame of reference; taken as float32.
        scores: (K,) scores, taken as float32.
        labels: (K,) integer labels.
        score_threshold: lowest score, exclusive.
        iou_threshold: highest overlap of two kept boxes of one label, inclusive.
        max_detections: greatest number of boxes kept over all labels.
        class_agnostic: let a box suppress boxes of other labels, too.
        wanted: mask (labels,) of the labels that count; others are dropped beforehand. None for
            all.

    Returns:
        Kept boxes (N, 4) float32, scores (N,) float32 and labels (N,) int64, best first.

    Raises:
        LzuError: the arrays' shapes do not fit together.
    """
    box = np.asarray(boxes, np.float32)
    score = np.asarray(scores, np.float32)
    label = np.asarray(labels, np.int64)
    count = len(score) if score.ndim == 1 else -1
    if box.shape != (count, 4) or label.shape != (count,):
        raise LzuError(
            f"boxes {box.shape}, scores {score.shape} and labels {label.shape} do not fit "
            "together; pass (K, 4), (K,) and (K,) of one image"
        )
    sound = (
        (score > np.float32(score_threshold))
        & np.isfinite(score)
        & np.isfinite(box).all(axis=1)
        & (box[:, 2] > box[:, 0])
        & (box[:, 3] > box[:, 1])
    )
    if wanted is not None:
        known = (label >= 0) & (label < len(wanted))
        sound &= known & wanted[np.where(known, label, 0)]
    candidates = np.flatnonzero(sound)
    order = candidates[np.argsort(-score[candidates], kind="stable")]
    group = np.zeros_like(label) if class_agnostic else label
    edges, group = np.ascontiguousarray(box[order].T), group[order]
    above = partial(_overlaps, edges, group, np.float32(iou_threshold))
    order = order[keep_greedily(len(order), max_detections, above)]
    return box[order], score[order], label[order]


def keep_greedily(count: int, limit: int, overlap: Overlap) -> NDArray[np.int64]:
    """Return the positions kept among candidates in order of preference, in one pass by chunks.

    Args:
        count: number of candidates, the best first.
        limit: greatest number that is kept.
        overlap: test of two lists of positions, see `Overlap`.
    """
    kept = np.empty(0, np.int64)
    for start in range(0, count, CHUNK):
        if len(kept) >= limit:
            break
        chunk = np.arange(start, min(start + CHUNK, count))
        chunk = chunk[~overlap(kept, chunk).any(axis=0)]
        within = np.triu(overlap(chunk, chunk), k=1)
        alive = np.ones(len(chunk), bool)
        for row in np.flatnonzero(within.any(axis=1)):
            if alive[row]:
                alive &= ~within[row]
        kept = np.concatenate([kept, chunk[alive]])
    return kept[:limit]


def _overlaps(
    edges: NDArray[np.float32],
    labels: NDArray[np.int64],
    iou_threshold: np.float32,
    first: NDArray[np.int64],
    second: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """Return (len(first), len(second)) whether boxes of one label overlap above the threshold."""
    left, top, right, bottom = edges[:, first, None]
    left_b, top_b, right_b, bottom_b = edges[:, second]
    with np.errstate(over="ignore", invalid="ignore"):  # areas of absurdly large boxes
        width = np.maximum(np.minimum(right, right_b) - np.maximum(left, left_b), 0)
        height = np.maximum(np.minimum(bottom, bottom_b) - np.maximum(top, top_b), 0)
        intersection = width * height
        area = (right - left) * (bottom - top)
        area_b = (right_b - left_b) * (bottom_b - top_b)
        above = intersection > iou_threshold * (area + area_b - intersection)
    same: NDArray[np.bool_] = above & (labels[first, None] == labels[second])
    return same
