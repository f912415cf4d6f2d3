"""Pair the candidates of a detector with PyTorch's. No torch."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lzu_export.recipes.det import DetRecipe
from lzu_export.recipes.det3d import Det3dRecipe

TIE = 1e-4
"""Scores this close may swap their places."""


class Cut(NamedTuple):
    """How many candidates a level gave, and of how many entries they are the best."""

    taken: int
    entries: int


def cuts(recipe: DetRecipe | Det3dRecipe) -> list[Cut]:
    """How many candidates of how many entries the decode keeps of every level."""
    return [Cut(*pair) for pair in zip(recipe.candidates, recipe.entries, strict=True)]


def floor(recipe: DetRecipe | Det3dRecipe, scores: NDArray[Any]) -> float:
    """The score from which on PyTorch's candidates are compared.

    Where no candidate would become a detection, the best ones are compared all the same.
    """
    return min(recipe.postprocess.score_threshold, float(np.max(scores)) / 2)


class Side(NamedTuple):
    """What candidates are paired by."""

    boxes: NDArray[Any]
    ranks: NDArray[Any]
    labels: NDArray[Any]


def pairs_both_ways(
    value: Side, reference: Side, levels: Sequence[Cut], floor: float
) -> list[tuple[int, int]] | None:
    """Pairs (value's index, reference's), or None where one on either side has no partner."""
    for side in (value, reference):  # comparisons with NaN would let them pass
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
    """Pairs (index in `wanted`, index of its partner in `given`); None where one has none.

    Rounding swaps candidates whose scores are all but equal, and lets another one in at a level's
    cut. So every candidate of a score of at least `floor` (the others never become detections) is
    held against the closest box and score of the same label among the other side's candidates of
    that level whose scores are within TIE of its own. One without such a partner makes the result
    None, unless its level was cut and its score is below the other side's last there, or within TIE
    of it. Where that excuses all of them, nothing was compared, and the result is None too.
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
                continue  # another one came in at the cut
            # Boxes clipped at one edge can coincide, so the score tells the partner as well.
            best = int(np.maximum(gaps / box_size, np.abs(ranks[near] - score)).argmin())
            pairs.append((int(i), level.start + int(np.flatnonzero(near)[best])))
    return pairs or None


def largest(values: NDArray[Any]) -> float:
    """The largest magnitude; 0 of no values."""
    return float(np.abs(values.astype(np.float64)).max()) if values.size else 0.0
