"""Pair the candidates of a detector with PyTorch's. No torch."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lzu_export.recipes.boxes import BoxRecipe
from lzu_export.tasks.base import Outputs

TIE = 1e-4
"""Largest difference of two scores whose order rounding may swap; boxes relative to the largest
coordinate."""


class Cut(NamedTuple):
    """Number of candidates that a level gave, and number of entries of which they are the best."""

    taken: int
    entries: int


def cuts(recipe: BoxRecipe) -> list[Cut]:
    """Return the numbers of candidates and entries of every level."""
    return [Cut(*pair) for pair in zip(recipe.candidates, recipe.entries, strict=True)]


def floor(recipe: BoxRecipe, scores: NDArray[Any]) -> float:
    """Return the lowest score of PyTorch's candidates that are compared.

    If no candidate would become a detection, the best ones are compared anyway.
    """
    return min(recipe.postprocess.score_threshold, float(np.max(scores)) / 2)


def alike(value: Outputs, reference: Outputs, names: Iterable[str]) -> bool:
    """Return whether the outputs of these names have the same shapes on both sides."""
    return all(value[name].shape == reference[name].shape for name in names)


class Side(NamedTuple):
    """Values by which one side's candidates are paired."""

    boxes: NDArray[Any]
    ranks: NDArray[Any]
    labels: NDArray[Any]


def pairs_both_ways(
    value: Side, reference: Side, levels: Sequence[Cut], floor: float
) -> list[tuple[int, int]] | None:
    """Return pairs (index in value, index in reference); None if a candidate has no partner."""
    for side in (value, reference):  # comparisons with NaN would let it pass
        if not (np.isfinite(side.boxes).all() and np.isfinite(side.ranks).all()):
            return None
    there = _partners(reference, value, levels, floor)
    back = _partners(value, reference, levels, floor)
    if there is None or back is None:
        return None
    return [(b, a) for a, b in there] + back


def _partners(
    wanted: Side, given: Side, levels: Sequence[Cut], floor: float
) -> list[tuple[int, int]] | None:
    """Return pairs (index in `wanted`, index of its partner in `given`); None if one lacks one.

    Rounding swaps candidates with nearly equal scores, and may let another candidate in at a
    level's cut. So every candidate with a score of at least `floor` is compared with the closest
    box and score among the other side's candidates of the same level and label whose scores are
    within TIE of its own. (Candidates below `floor` never become detections.) A candidate without
    such a partner makes the result None, unless its level was cut and its score is below the other
    side's last score there, or within TIE of it. If that excuses all candidates, nothing was
    compared, and the result is None, too.
    """
    pairs: list[tuple[int, int]] = []
    kept = wanted.ranks >= floor
    if not kept.any():
        return pairs
    box_size = float(np.abs(wanted.boxes[kept]).max()) or 1.0
    start = 0
    for taken, entries in levels:
        level = slice(start, start + taken)
        start += taken
        ranks = given.ranks[level]
        cut = float(ranks.min()) if taken < entries else -float("inf")
        for i in np.flatnonzero(kept[level]) + level.start:
            score = float(wanted.ranks[i])
            near = np.abs(ranks - score) <= TIE
            near &= given.labels[level] == wanted.labels[i]
            if not near.any():
                if score - cut > TIE:
                    return None
                continue
            boxes = given.boxes[level][near].astype(np.float64)
            gaps = np.abs(boxes - wanted.boxes[i]).max(axis=1)
            if gaps.min() / box_size > TIE and score - cut <= TIE:
                continue  # another candidate came in at the cut
            # Boxes clipped at one edge can coincide, so the score also identifies the partner.
            best = int(np.maximum(gaps / box_size, np.abs(ranks[near] - score)).argmin())
            pairs.append((int(i), level.start + int(np.flatnonzero(near)[best])))
    return pairs or None


def largest(values: NDArray[Any]) -> float:
    """Return the largest magnitude; 0 if there are no values."""
    return float(np.abs(values.astype(np.float64)).max()) if values.size else 0.0
