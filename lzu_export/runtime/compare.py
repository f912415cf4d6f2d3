"""How far an engine's values are from the reference's."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


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
    cut. So every reference candidate of a score of at least `floor` (the others never become
    detections) is held against the closest box of the same label among the engine's candidates of
    that level whose scores are within `tie` of its own. One without such a partner is an infinite
    difference, unless its own score is within `tie` of the level's last.

    Args:
        value: what the engine gave.
        reference: what PyTorch gave.
        segments: number of candidates of each level, in order; they add up to K.
        floor: lowest score that matters.
        tie: scores this close may swap.

    Returns:
        For `boxes` and `scores` max|a - b| / max|b|; for `labels` 0, or infinite.
    """
    for side in (value, reference):  # comparisons with NaN would let them pass
        if not (np.isfinite(side["boxes"]).all() and np.isfinite(side["scores"]).all()):
            return dict.fromkeys(("boxes", "scores", "labels"), float("inf"))
    box_worst = score_worst = 0.0
    kept = reference["scores"] >= floor
    if not kept.any():
        return {"boxes": 0.0, "scores": 0.0, "labels": 0.0}
    box_size = float(np.abs(reference["boxes"][kept]).max()) or 1.0
    start = 0
    for length in segments:
        level = slice(start, start + length)
        start += length
        scores = value["scores"][level]
        cut = float(reference["scores"][level].min())
        for i in np.flatnonzero(kept[level]) + level.start:
            score = float(reference["scores"][i])
            near = np.abs(scores - score) <= tie
            near &= value["labels"][level] == reference["labels"][i]
            if not near.any():
                if score - cut > tie:
                    return dict.fromkeys(("boxes", "scores", "labels"), float("inf"))
                continue
            there = value["boxes"][level][near].astype(np.float64)
            gaps = np.abs(there - reference["boxes"][i]).max(axis=1)
            if gaps.min() / box_size > tie and score - cut <= tie:
                continue  # another one came in at the cut
            best = int(gaps.argmin())
            box_worst = max(box_worst, float(gaps[best]) / box_size)
            score_worst = max(score_worst, abs(float(scores[near][best]) - score))
    largest = float(reference["scores"][kept].max())
    return {"boxes": box_worst, "scores": score_worst / largest, "labels": 0.0}
