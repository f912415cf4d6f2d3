"""Measure how far the candidates of a 3-D detector deviate from PyTorch's. No torch."""

from collections.abc import Sequence

import numpy as np

from lzu_export.runtime.compare import choice_difference
from lzu_export.tasks.base import Outputs
from lzu_export.tasks.candidates import Cut, Side, alike, largest, pairs_both_ways

OUTPUTS = ("boxes", "scores", "attributes")


def difference_3d(
    value: Outputs, reference: Outputs, levels: Sequence[Cut], *, floor: float
) -> dict[str, float]:
    """Compare candidates in space (boxes K x 9, scores K x classes, attributes K) of one frame.

    Candidates rank by their best class, and partners are found by position and score. The
    attribute, and the heading up to half a turn, are choices. A different choice counts by
    PyTorch's margin, in the reference's `margins` (K x 2, attribute and heading).

    Returns:
        `boxes`: the worst of the differences of positions, sizes and velocities, each relative to
        the largest of its kind, of the yaw in half turns, and of the headings' margins. `scores`:
        the largest difference relative to the best score. `attributes`: the largest margin among
        differing attributes.
    """
    infinite = dict.fromkeys(OUTPUTS, float("inf"))
    if not alike(value, reference, OUTPUTS):
        return infinite
    none = np.zeros(len(reference["scores"]), np.int64)
    mine, theirs = (
        Side(each["boxes"][:, :3], each["scores"].max(axis=1), none) for each in (value, reference)
    )
    if not all(np.isfinite(each[name]).all() for each in (value, reference) for name in OUTPUTS):
        return infinite
    pairs = pairs_both_ways(mine, theirs, levels, floor)
    if pairs is None:
        return infinite
    if not pairs:
        return dict.fromkeys(OUTPUTS, 0.0)
    a, b = np.array(pairs).T
    boxes, wanted = value["boxes"][a].astype(np.float64), reference["boxes"][b].astype(np.float64)
    worst = [
        largest(boxes[:, part] - wanted[:, part]) / (largest(wanted[:, part]) or 1.0)
        for part in (slice(0, 3), slice(3, 6), slice(7, 9))
    ]
    turns = (boxes[:, 6] - wanted[:, 6]) / np.pi
    worst.append(largest(turns - np.round(turns)))
    margins = reference["margins"][b]
    reversed_ = np.round(turns).astype(np.int64) % 2
    worst.append(choice_difference(reversed_, np.zeros_like(reversed_), margins[:, 1]))
    scores = reference["scores"][b].astype(np.float64)
    attributes = value["attributes"][a], reference["attributes"][b]
    return {
        "boxes": max(worst),
        "scores": largest(value["scores"][a] - scores) / (largest(scores) or 1.0),
        "attributes": choice_difference(*attributes, margins[:, 0]),
    }
