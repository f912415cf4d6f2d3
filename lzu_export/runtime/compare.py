"""Compare an engine's values with the reference's."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

OUTPUTS = ("boxes", "scores", "labels")
OUTPUTS_3D = ("boxes", "scores", "attributes")
TIE = 1e-4
"""Scores this close may swap their places."""


class Cut(NamedTuple):
    """How many candidates a level gave, and of how many entries they are the best."""

    taken: int
    entries: int


class Scale(NamedTuple):
    """What an array usually reaches, so that a difference is not held against next to nothing."""

    largest: float = 0.0
    """Magnitude."""
    root_mean_square: float = 0.0

    @classmethod
    def over(cls, arrays: Sequence[NDArray[Any]]) -> "Scale":
        """Of arrays of one name."""
        values = np.concatenate([each.astype(np.float64).reshape(-1) for each in arrays])
        values = values[np.isfinite(values)]
        if not values.size:
            return cls()
        return cls(float(np.abs(values).max()), float(np.sqrt(np.square(values).mean())))


NO_SCALE = Scale()


def relative_difference(
    value: NDArray[Any], reference: NDArray[Any], usual: Scale = NO_SCALE
) -> float:
    """max|a - b| / max|b|; infinite where a value on either side is not finite.

    A reference that is smaller than `usual`, as of a covered lens, is taken to be as large.
    """
    a, b = value.astype(np.float64), reference.astype(np.float64)
    if a.shape != b.shape or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return float("inf")
    if a.size == 0:
        return 0.0
    largest = max(float(np.abs(b).max()), usual.largest)
    difference = float(np.abs(a - b).max())
    return difference / largest if largest > 0 else difference


def signal_to_noise(value: NDArray[Any], reference: NDArray[Any], usual: Scale = NO_SCALE) -> float:
    """10 log10(sum b^2 / sum (a - b)^2) in dB; infinite where they are equal.

    A reference that is weaker than `usual`, as of a covered lens, is taken to be as strong. Minus
    infinity where a value on either side is not finite, or there is noise but no signal.
    """
    a, b = value.astype(np.float64), reference.astype(np.float64)
    if a.shape != b.shape or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return -float("inf")
    signal = max(float(np.square(b).sum()), b.size * usual.root_mean_square**2)
    noise = float(np.square(a - b).sum())
    if noise == 0:
        return float("inf")
    return 10 * math.log10(signal / noise) if signal > 0 else -float("inf")


def choice_difference(value: NDArray[Any], reference: NDArray[Any], margins: NDArray[Any]) -> float:
    """How far the logits must have drifted for the choices to differ as they do.

    Args:
        value: choices, such as classes.
        reference: PyTorch's, of the same shape.
        margins: PyTorch's, the relative drift that changes each choice.

    Returns:
        The largest margin among differing choices; 0 where all are equal, infinite where shapes
        differ or a margin is NaN.
    """
    if value.shape != reference.shape or margins.shape != reference.shape:
        return float("inf")
    excuses = margins[value != reference]
    if np.isnan(excuses).any():  # which a comparison would take for small
        return float("inf")
    return float(excuses.max(initial=0.0))


def candidate_difference(
    value: Mapping[str, NDArray[Any]],
    reference: Mapping[str, NDArray[Any]],
    levels: Sequence[Cut],
    *,
    floor: float,
) -> dict[str, float]:
    """Compare the fixed-size candidates (boxes K x 4, scores K, labels K) of one frame.

    Candidates are held against their partners, see `_partners`; only those of one label are.

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
    mine, theirs = (
        _Side(each["boxes"], each["scores"], each["labels"]) for each in (value, reference)
    )
    pairs = _both_ways(mine, theirs, levels, floor)
    if pairs is None:
        return infinite
    boxes = scores = 0.0
    for a, b in pairs:
        boxes = max(boxes, _largest(mine.boxes[a] - theirs.boxes[b]))
        scores = max(scores, _largest(mine.ranks[a] - theirs.ranks[b]))
    kept = theirs.ranks >= floor
    if not kept.any():
        return dict.fromkeys(OUTPUTS, 0.0)
    size, best = float(np.abs(theirs.boxes[kept]).max()) or 1.0, float(theirs.ranks[kept].max())
    return {"boxes": boxes / size, "scores": scores / best, "labels": 0.0}


def difference_3d(
    value: Mapping[str, NDArray[Any]],
    reference: Mapping[str, NDArray[Any]],
    levels: Sequence[Cut],
    *,
    floor: float,
) -> dict[str, float]:
    """Compare candidates in space (boxes K x 9, scores K x classes, attributes K) of one frame.

    Candidates rank by their best class; partners are found by position and score. A heading that is
    half a turn off and another attribute are choices, which count by the margin that PyTorch had
    (`margins` K x 2 of the reference, of attribute and heading).

    Returns:
        `boxes`: the worst of positions, sizes and velocities, each relative to the largest of its
        kind, of the yaw in half turns, and of headings' margins. `scores`: relative to the best.
        `attributes`: the largest margin among differing ones.
    """
    infinite = dict.fromkeys(OUTPUTS_3D, float("inf"))
    for name in OUTPUTS_3D:
        if value[name].shape != reference[name].shape:
            return infinite
    none = np.zeros(len(reference["scores"]), np.int64)
    mine, theirs = (
        _Side(each["boxes"][:, :3], each["scores"].max(axis=1), none) for each in (value, reference)
    )
    if not all(np.isfinite(each[name]).all() for each in (value, reference) for name in OUTPUTS_3D):
        return infinite
    pairs = _both_ways(mine, theirs, levels, floor)
    if pairs is None:
        return infinite
    if not pairs:
        return dict.fromkeys(OUTPUTS_3D, 0.0)
    a, b = np.array(pairs).T
    boxes, wanted = value["boxes"][a].astype(np.float64), reference["boxes"][b].astype(np.float64)
    worst = [
        _largest(boxes[:, part] - wanted[:, part]) / (_largest(wanted[:, part]) or 1.0)
        for part in (slice(0, 3), slice(3, 6), slice(7, 9))
    ]
    turns = (boxes[:, 6] - wanted[:, 6]) / np.pi
    worst.append(_largest(turns - np.round(turns)))
    margins = reference["margins"][b]
    reversed_ = np.round(turns).astype(np.int64) % 2
    worst.append(choice_difference(reversed_, np.zeros_like(reversed_), margins[:, 1]))
    scores = reference["scores"][b].astype(np.float64)
    attributes = value["attributes"][a], reference["attributes"][b]
    return {
        "boxes": max(worst),
        "scores": _largest(value["scores"][a] - scores) / (_largest(scores) or 1.0),
        "attributes": choice_difference(*attributes, margins[:, 0]),
    }


class _Side(NamedTuple):
    """What candidates are paired by."""

    boxes: NDArray[Any]
    ranks: NDArray[Any]
    labels: NDArray[Any]


def _both_ways(
    value: _Side, reference: _Side, levels: Sequence[Cut], floor: float
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
    wanted: _Side, given: _Side, levels: Sequence[Cut], floor: float
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


def _largest(values: NDArray[Any]) -> float:
    return float(np.abs(values.astype(np.float64)).max()) if values.size else 0.0
