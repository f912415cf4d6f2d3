"""Assign anchors to objects by adaptive training sample selection.

In ATSS (Zhang et al., 2020) the anchors nearest to an object's centre are its candidates. Those
with an overlap above the candidates' mean plus standard deviation are positive. Unlike fixed
overlap thresholds, it leaves enough positives for objects smaller than a cell.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

NEAREST = 9  # cells per level
IGNORED_OVERLAP = 0.4


class Assignment(NamedTuple):
    """Sparse targets of one image: positive anchors, their objects, and anchors to ignore."""

    positive: NDArray[np.int64]
    object: NDArray[np.int64]
    ignored: NDArray[np.int64]


def overlap(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.float64]:
    """Compute the intersection over union of boxes (..., 4) with broadcasting."""
    low = np.maximum(a[..., :2], b[..., :2])
    high = np.minimum(a[..., 2:], b[..., 2:])
    shared = np.clip(high - low, 0, None).prod(axis=-1)
    area_a = (a[..., 2:] - a[..., :2]).prod(axis=-1)
    area_b = (b[..., 2:] - b[..., :2]).prod(axis=-1)
    return np.asarray(shared / np.maximum(area_a + area_b - shared, 1e-9), dtype=np.float64)


def candidates(
    boxes: NDArray[np.float64], anchors: list[NDArray[np.float32]], per_cell: int
) -> NDArray[np.int64]:
    """Return indices (n, c) of the anchors in the nearest cells of every level, in any order."""
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    found, start = [], 0
    for level in anchors:
        cells = (level[::per_cell, :2] + level[::per_cell, 2:]) / 2
        distance = ((centres[:, None] - cells[None]) ** 2).sum(axis=-1).astype(np.float32)
        count = min(NEAREST, len(cells))
        nearest = np.argpartition(distance, count - 1, axis=1)[:, :count]
        index = nearest[..., None] * per_cell + np.arange(per_cell) + start
        found.append(index.reshape(len(boxes), -1))
        start += len(level)
    return np.concatenate(found, axis=1)


def assign(
    boxes: NDArray[np.float64],
    ignore: NDArray[np.bool_],
    anchors: list[NDArray[np.float32]],
    per_cell: int,
) -> Assignment:
    """Match anchors with objects.

    Args:
        boxes: (n, 4) in canvas pixels.
        ignore: (n,) objects that are learnt neither as objects nor as background.
        anchors: anchors per level, as from `grid_anchors`.
        per_cell: number of anchors per cell.
    """
    none = np.zeros(0, dtype=np.int64)
    if not len(boxes):
        return Assignment(none, none, none)
    every = np.concatenate(anchors).astype(np.float64)
    index = candidates(boxes, anchors, per_cell)
    near = every[index]
    shared = overlap(near, boxes[:, None])
    centre = (near[..., :2] + near[..., 2:]) / 2
    inside = ((centre > boxes[:, None, :2]) & (centre < boxes[:, None, 2:])).all(axis=-1)
    chosen = (shared >= (shared.mean(axis=1) + shared.std(axis=1))[:, None]) & inside
    chosen[np.arange(len(boxes)), shared.argmax(axis=1)] = True  # no object goes unlearnt
    rows, columns = np.nonzero(chosen & ~ignore[:, None])
    best = np.full(len(every), -1.0)
    owner = np.full(len(every), -1, dtype=np.int64)
    order = np.argsort(shared[rows, columns], kind="stable")  # the largest overlap is written last
    for row, column in zip(rows[order], columns[order], strict=True):
        anchor = index[row, column]
        if shared[row, column] >= best[anchor]:
            best[anchor], owner[anchor] = shared[row, column], row
    positive = np.flatnonzero(owner >= 0)
    rows, columns = np.nonzero((shared > IGNORED_OVERLAP) & ignore[:, None])
    ignored = np.setdiff1d(index[rows, columns], positive)
    return Assignment(positive, owner[positive], ignored)
