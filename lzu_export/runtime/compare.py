"""How far an engine's values are from the reference's."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

OUTPUTS = ("boxes", "scores", "labels")
TIE = 1e-4
"""Scores this close may swap their places."""


class Cut(NamedTuple):
    """How many candidates a level gave, and of how many entries they are the best."""

    taken: int
    entries: int


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
    levels: Sequence[Cut],
    *,
    floor: float,
) -> dict[str, float]:
    """Compare the fixed-size candidates (boxes K x 4, scores K, labels K) of one frame.

    Rounding swaps candidates whose scores are all but equal, and lets another one in at a level's
    cut. So every candidate of a score of at least `floor` (the others never become detections), of
    either side, is held against the closest box and score of the same label among the other side's
    candidates of that level whose scores are within TIE of its own. One without such a partner
    is an infinite difference, unless its level was cut and its score is below the other side's
    last there, or within TIE of it. Where that excuses all of them, nothing was compared, which is
    an infinite difference too.

    Args:
        value: what the engine gave.
        reference: what PyTorch gave.
        levels: how many candidates each level gave, of how many; in order, adding up to K.
        floor: lowest score that matters.

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
    there = _partners(reference, value, levels, floor)
    back = _partners(value, reference, levels, floor)
    if there is None or back is None:
        return infinite
    boxes, scores = (max(pair) for pair in zip(there, back, strict=True))
    return {"boxes": boxes, "scores": scores, "labels": 0.0}


def _partners(
    wanted: Mapping[str, NDArray[Any]],
    given: Mapping[str, NDArray[Any]],
    levels: Sequence[Cut],
    floor: float,
) -> tuple[float, float] | None:
    """Largest relative difference of boxes and scores of `wanted` to their partners in `given`.

    None where one has no partner, or where all are excused.
    """
    box_worst = score_worst = 0.0
    compared = 0
    kept = wanted["scores"] >= floor
    if not kept.any():
        return 0.0, 0.0
    box_size = float(np.abs(wanted["boxes"][kept]).max()) or 1.0
    start = 0
    for taken, entries in levels:
        level = slice(start, start + taken)
        start += taken
        scores = given["scores"][level]
        cut = float(scores.min()) if taken < entries else -float("inf")
        for i in np.flatnonzero(kept[level]) + level.start:
            score = float(wanted["scores"][i])
            near = np.abs(scores - score) <= TIE
            near &= given["labels"][level] == wanted["labels"][i]
            if not near.any():
                if score - cut > TIE:
                    return None
                continue
            boxes = given["boxes"][level][near].astype(np.float64)
            gaps = np.abs(boxes - wanted["boxes"][i]).max(axis=1)
            if gaps.min() / box_size > TIE and score - cut <= TIE:
                continue  # another one came in at the cut
            # Boxes clipped at one edge can coincide, so the score tells the partner as well.
            best = int(np.maximum(gaps / box_size, np.abs(scores[near] - score)).argmin())
            compared += 1
            box_worst = max(box_worst, float(gaps[best]) / box_size)
            score_worst = max(score_worst, abs(float(scores[near][best]) - score))
    if compared == 0:
        return None
    return box_worst, score_worst / float(wanted["scores"][kept].max())
