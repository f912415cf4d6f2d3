"""How far an engine's values are from the reference's."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

OUTPUTS = ("boxes", "scores", "labels")


def relative_difference(value: NDArray[Any], reference: NDArray[Any]) -> float:
    """max|a - b| / max|b|; infinite where a value on either side is not finite."""
    a, b = value.astype(np.float64), reference.astype(np.float64)
    if a.shape != b.shape or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return float("inf")
    if a.size == 0:
        return 0.0
    largest = float(np.abs(b).max())
    difference = float(np.abs(a - b).max())
    return difference / largest if largest > 0 else difference


def candidate_difference(
    value: Mapping[str, NDArray[Any]],
    reference: Mapping[str, NDArray[Any]],
    segments: Sequence[int],
    *,
    floor: float,
    tie: float,
) -> dict[str, float]:
    """Compare the fixed-size candidates (boxes K x 4, scores K, labels K) of one frame.

    Rounding swaps candidates whose scores are all but equal, and lets another one in at a level's
    cut. So every candidate of a score of at least `floor` (the others never become detections), of
    either side, is held against the closest box and score of the same label among the other side's
    candidates of that level whose scores are within `tie` of its own. One without such a partner
    is an infinite difference, unless its score is below the other side's last of that level, or
    within `tie` of it.

    Args:
        value: what the engine gave.
        reference: what PyTorch gave.
        segments: number of candidates of each level, in order; they add up to K.
        floor: lowest score that matters.
        tie: scores this close may swap.

    Returns:
        For `boxes` and `scores` max|a - b| / max|b|; for `labels` 0, or infinite.
    """
    infinite = dict.fromkeys(OUTPUTS, float("inf"))
    for name in OUTPUTS:
        if value[name].shape != reference[name].shape:
            return infinite
    for side in (value, reference):  # comparisons with NaN would let them pass
        if not (np.isfinite(side["boxes"]).all() and np.isfinite(side["scores"]).all()):
            return infinite
    there = _partners(reference, value, segments, floor=floor, tie=tie)
    back = _partners(value, reference, segments, floor=floor, tie=tie)
    if there is None or back is None:
        return infinite
    boxes, scores = (max(pair) for pair in zip(there, back, strict=True))
    return {"boxes": boxes, "scores": scores, "labels": 0.0}


def _partners(
    wanted: Mapping[str, NDArray[Any]],
    given: Mapping[str, NDArray[Any]],
    segments: Sequence[int],
    *,
    floor: float,
    tie: float,
) -> tuple[float, float] | None:
    """Largest relative difference of boxes and scores of `wanted` to their partners in `given`.

    None where one has no partner.
    """
    box_worst = score_worst = 0.0
    kept = wanted["scores"] >= floor
    if not kept.any():
        return 0.0, 0.0
    box_size = float(np.abs(wanted["boxes"][kept]).max()) or 1.0
    start = 0
    for length in segments:
        level = slice(start, start + length)
        start += length
        scores = given["scores"][level]
        cut = float(scores.min())
        for i in np.flatnonzero(kept[level]) + level.start:
            score = float(wanted["scores"][i])
            near = np.abs(scores - score) <= tie
            near &= given["labels"][level] == wanted["labels"][i]
            if not near.any():
                if score - cut > tie:
                    return None
                continue
            boxes = given["boxes"][level][near].astype(np.float64)
            gaps = np.abs(boxes - wanted["boxes"][i]).max(axis=1)
            if gaps.min() / box_size > tie and score - cut <= tie:
                continue  # another one came in at the cut
            # Boxes clipped at one edge can coincide, so the score tells the partner as well.
            best = int(np.maximum(gaps / box_size, np.abs(scores[near] - score)).argmin())
            box_worst = max(box_worst, float(gaps[best]) / box_size)
            score_worst = max(score_worst, abs(float(scores[near][best]) - score))
    return box_worst, score_worst / float(wanted["scores"][kept].max())
