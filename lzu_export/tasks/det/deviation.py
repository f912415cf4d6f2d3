"""Measure how far the candidates of a 2-D detector deviate from PyTorch's. No torch."""

from collections.abc import Sequence

import numpy as np

from lzu_export.tasks.base import Outputs
from lzu_export.tasks.candidates import Cut, Side, alike, largest, pairs_both_ways

OUTPUTS = ("boxes", "scores", "labels")


def candidate_difference(
    value: Outputs, reference: Outputs, levels: Sequence[Cut], *, floor: float
) -> dict[str, float]:
    """Compare the fixed-size candidates (boxes K x 4, scores K, labels K) of one frame.

    Candidates are compared with their partners of the same label, see `tasks.candidates`.

    Args:
        value: the engine's candidates.
        reference: PyTorch's candidates.
        levels: numbers of candidates and entries of each level, in order; candidates add up to K.
        floor: lowest score of candidates that are compared.

    Returns:
        For `boxes` and `scores` max|a - b| / max|b|, for `labels` 0; infinite for all if candidates
        have no partners.
    """
    infinite = dict.fromkeys(OUTPUTS, float("inf"))
    if not alike(value, reference, OUTPUTS):
        return infinite
    mine, theirs = (
        Side(each["boxes"], each["scores"], each["labels"]) for each in (value, reference)
    )
    pairs = pairs_both_ways(mine, theirs, levels, floor)
    if pairs is None:
        return infinite
    boxes = scores = 0.0
    for a, b in pairs:
        boxes = max(boxes, largest(mine.boxes[a] - theirs.boxes[b]))
        scores = max(scores, largest(mine.ranks[a] - theirs.ranks[b]))
    kept = theirs.ranks >= floor
    if not kept.any():
        return dict.fromkeys(OUTPUTS, 0.0)
    size, best = float(np.abs(theirs.boxes[kept]).max()) or 1.0, float(theirs.ranks[kept].max())
    return {"boxes": boxes / size, "scores": scores / best, "labels": 0.0}
