"""Match detections to truth by nuScenes' rules, and score one class from its matches."""

from math import pi
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lzu_export.evaluation.metrics.nuscenes_objects import (
    Array,
    Objects,
    distances_between,
)

DISTANCES = (0.5, 1.0, 2.0, 4.0)
"""Distances in metres below which a detection matches."""

ERROR_DISTANCE = 2.0
"""The distance in `DISTANCES` at whose matches the errors are measured."""

RECALLS = np.linspace(0, 1, 101)
FIRST = 11
"""Index of the first of `RECALLS` that counts: the one after the lowest recall, 0.1."""

MIN_PRECISION = 0.1

ERRORS = ("ATE", "ASE", "AOE", "AVE", "AAE")
"""Errors of translation (m), scale (1 - IoU), orientation (rad), velocity (m/s), attribute (share
of wrong ones)."""


class Matches(NamedTuple):
    """Matches of the detections of a class, highest score first.

    Attributes:
        sequences: (n,) indices of the sequences.
        scores: (n,) scores of the detections.
        states: (n, distances) 1 for a match, 0 for none, -1 for a match with ignored truth.
        errors: (n, errors) errors of the match at ERROR_DISTANCE; nan where nothing is measured.
    """

    sequences: NDArray[np.int64]
    scores: Array
    states: NDArray[np.int8]
    errors: Array


def match(found: Array, scores: Array, truth: Array) -> NDArray[np.int64]:
    """Match each detection of one class and sample with a truth at each of `DISTANCES`.

    Detections go by descending score, among equal scores the later one first. Each takes the
    closest free truth (the first of equally close ones) if its distance is strictly below the
    threshold.

    Args:
        found: (n, 2) centres of the detections in metres.
        scores: (n,) scores of the detections.
        truth: (m, 2) centres of the truth in metres.

    Returns:
        (n, distances) index in the truth; -1 for none.
    """
    apart = distances_between(found, truth)
    taken = np.full((len(found), len(DISTANCES)), -1)
    order = np.argsort(scores, kind="stable")[::-1]
    near = apart.min(axis=1, initial=np.inf)
    for column, limit in enumerate(DISTANCES):
        free = apart.copy()
        for i in order[near[order] < limit].tolist():
            closest = int(free[i].argmin())
            if free[i, closest] < limit:
                taken[i, column] = closest
                free[:, closest] = np.inf
    return taken


def box_errors(truth: Objects, found: Objects, yaw_period: float | None) -> Array:
    """Return the errors (n, errors) of n detections paired with their truth.

    The error of scale is 1 - IoU of the boxes after aligning centres and headings. The error of
    velocity is nan where the truth has none. The error of the attribute is 1 where it is wrong and
    nan where the truth has none.
    """
    shared = np.minimum(truth.sizes, found.sizes).prod(axis=1)
    union = truth.sizes.prod(axis=1) + found.sizes.prod(axis=1) - shared
    period = 2 * pi if yaw_period is None else yaw_period
    turn = (truth.yaws - found.yaws + period / 2) % period - period / 2
    wrong = (truth.attributes != found.attributes).astype(np.float64)
    return np.stack(
        [
            np.linalg.norm(found.centres - truth.centres, axis=1),
            1 - shared / union,
            np.abs(turn),
            np.linalg.norm(found.velocities - truth.velocities, axis=1),
            np.where(truth.attributes < 0, np.nan, wrong),
        ],
        axis=1,
    )


def score_class(matches: Matches, times: NDArray[np.int64], positives: int) -> tuple[Array, Array]:
    """Return AP (distances,) and errors (errors,) of one class with `positives` boxes to find."""
    ap, errors = np.zeros(len(DISTANCES)), np.ones(len(ERRORS))
    copies = times[matches.sequences]
    for column, distance in enumerate(DISTANCES):
        state = np.repeat(matches.states[:, column], copies)
        counted = state >= 0
        hits = state[counted] == 1
        if not hits.any():
            continue
        recalled = hits.cumsum()
        recall = recalled / positives
        precision = recalled / np.arange(1, len(recalled) + 1)
        curve = np.interp(RECALLS, recall, precision, right=0)[FIRST:]
        ap[column] = np.maximum(curve - MIN_PRECISION, 0).mean() / (1 - MIN_PRECISION)
        if distance == ERROR_DISTANCE:
            scores = np.repeat(matches.scores, copies)[counted]
            at_recall = np.interp(RECALLS, recall, scores, right=0)
            measured = np.repeat(matches.errors, copies, axis=0)[counted][hits]
            errors = _errors(at_recall, scores[hits], measured)
    return ap, errors


def _errors(at_recall: Array, scores: Array, measured: Array) -> Array:
    """Return the mean errors (errors,) over the recalls reached.

    Args:
        at_recall: (recalls,) score at each of RECALLS; 0 where the recall is not reached.
        scores: (n,) scores of the matches, highest first.
        measured: (n, errors) errors of the matches; nan where nothing is measured.
    """
    last = int(np.flatnonzero(at_recall)[-1]) if at_recall.any() else 0
    if last < FIRST:
        return np.ones(len(ERRORS))
    wanted = at_recall[FIRST : last + 1]
    known = ~np.isnan(measured)
    count = known.cumsum(axis=0)
    # As in the devkit: 0 up to the first match with a value, 1 where no match has one.
    means = np.where(known, measured, 0).cumsum(axis=0) / np.maximum(count, 1)
    means[:, count[-1] == 0] = 1
    return np.array([np.interp(wanted, scores[::-1], column[::-1]).mean() for column in means.T])


def joined(parts: list[Matches]) -> Matches:
    none = np.empty(0)
    nothing = Matches(
        none.astype(np.int64),
        none,
        np.empty((0, len(DISTANCES)), np.int8),
        np.empty((0, len(ERRORS))),
    )
    return Matches(*map(np.concatenate, zip(nothing, *parts, strict=True)))


def best_first(parts: list[Matches]) -> Matches:
    sequences, scores, states, errors = joined(parts)
    # Among equal scores the later one comes first, as in the devkit.
    order = np.argsort(scores, kind="stable")[::-1]
    return Matches(sequences[order], scores[order], states[order], errors[order])
