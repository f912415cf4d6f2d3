"""Matches detections to truth by nuScenes' rules, and scores one class from its matches."""

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
"""Metres below which a detection matches."""

ERROR_DISTANCE = 2.0
"""The one of `DISTANCES` whose matches the errors are of."""

RECALLS = np.linspace(0, 1, 101)
FIRST = 11
"""Place of the first of `RECALLS` that counts: the one after the lowest, 0.1."""

MIN_PRECISION = 0.1

ERRORS = ("ATE", "ASE", "AOE", "AVE", "AAE")
"""Of translation (m), scale (1 - IoU), orientation (rad), velocity (m/s), attribute (share)."""


class Matches(NamedTuple):
    """Matches of the detections of a class, best first.

    Attributes:
        sequences: (n,) place of the sequence.
        scores: (n,).
        states: (n, distances) 1 where it matched, 0 where not, -1 where it matched ignored truth.
        errors: (n, errors) of the match at ERROR_DISTANCE; nan where there is none to measure.
    """

    sequences: NDArray[np.int64]
    scores: Array
    states: NDArray[np.int8]
    errors: Array


def match(found: Array, scores: Array, truth: Array) -> NDArray[np.int64]:
    """Match each detection of one class and sample with a truth at each of `DISTANCES`.

    Best score first, of equal scores the later one, each takes the closest truth that is free if
    its distance is strictly below the threshold; of equally close ones the first.

    Args:
        found: (n, 2) centres.
        scores: (n,).
        truth: (m, 2) centres.

    Returns:
        (n, distances) place in the truth; -1: none.
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
    """Errors (n, errors) of n detections paired with their truth.

    The scale's is 1 - IoU of the boxes with centre and heading laid upon each other, that of the
    velocity nan where the truth has none, that of the attribute 1 where it is another one and nan
    where the truth has none.
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
    """AP (distances,) and errors (errors,) of one class with `positives` boxes to find."""
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
    """Mean errors (errors,) over the recalls reached.

    Args:
        at_recall: (recalls,) score at each of RECALLS; 0 where it is not reached.
        scores: (n,) of the matches, best first.
        measured: (n, errors) of the matches; nan where there is nothing to measure.
    """
    last = int(np.flatnonzero(at_recall)[-1]) if at_recall.any() else 0
    if last < FIRST:
        return np.ones(len(ERRORS))
    wanted = at_recall[FIRST : last + 1]
    known = ~np.isnan(measured)
    count = known.cumsum(axis=0)
    # Up to the first match with a value the devkit has 0; without any, 1.
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
    # Of equal scores the later one first, as the devkit has it.
    order = np.argsort(scores, kind="stable")[::-1]
    return Matches(sequences[order], scores[order], states[order], errors[order])
