"""Assign cells to objects in 3-D and compute their targets as in FCOS3D."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lzu_export.warp.geometry import Level

RADIUS = 1.5
"""Largest distance, in strides on each axis, from a cell to the projected centre of its object."""

REACH = 4.0
"""Largest distance, in strides, from a cell of a level to the sides of its object's 2-D box."""

CENTERNESS_FALL = 2.5
"""Decay of FCOS3D's centerness target, exp(-decay * distance / (1.414 * stride))."""

LEARNT_DEPTH = 60.0
"""Largest depth of a learnt object in metres; farther ones are not background either."""

Array = NDArray[np.float64]


class Truth(NamedTuple):
    """Ground truth of one frame.

    Attributes:
        boxes: (n, 4) 2-D boxes in canvas pixel indices.
        boxes3d: (n, 7) centre x, y, z, length, height, width (metres), yaw in the camera's frame.
        classes: (n,) int64.
        ignore: (n,) objects that are learnt neither as objects nor as background.
        cam2img: (3, 3) camera matrix in canvas pixel indices.
    """

    boxes: Array
    boxes3d: Array
    classes: NDArray[np.int64]
    ignore: NDArray[np.bool_]
    cam2img: Array


class Points(NamedTuple):
    """The cells of all levels: their positions, strides and the reach of their level."""

    xy: Array
    """(N, 2) positions in canvas pixel indices."""
    stride: Array
    """(N,) strides in canvas pixels."""
    reach: Array
    """(N, 2) smallest and largest distance to a learnt box's farthest side, in canvas pixels."""


class Targets(NamedTuple):
    """Targets of one frame: p positive cells, and ignored cells."""

    positive: NDArray[np.int64]
    labels: NDArray[np.int64]
    boxes: NDArray[np.float32]
    """(p, 7) offset x, y in strides, depth, length, height, width (metres), local yaw (radians)."""
    direction: NDArray[np.int64]
    """(p,) half of the circle, 0 or 1, that the local yaw lies in."""
    centerness: NDArray[np.float32]
    ignored: NDArray[np.int64]


def make_points(levels: Sequence[Level]) -> Points:
    """Make the cells of levels, finest first, at the positions of `decode3d.level_points`."""
    xy, stride, reach = [], [], []
    low = -math.inf
    for i, level in enumerate(levels):
        high = math.inf if i == len(levels) - 1 else REACH * level.stride
        y, x = np.mgrid[: level.size[0], : level.size[1]]
        cells = np.stack([x.ravel(), y.ravel()], axis=1)
        xy.append(cells * float(level.stride) + level.stride // 2)
        stride.append(np.full(len(cells), float(level.stride)))
        reach.append(np.tile([low, high], (len(cells), 1)))
        low = high
    return Points(np.concatenate(xy), np.concatenate(stride), np.concatenate(reach))


def project(boxes3d: Array, cam2img: Array) -> Array:
    """Project the gravity centres of boxes to pixels (n, 2)."""
    seen = boxes3d[:, :3] @ cam2img.T
    return np.asarray(seen[:, :2] / seen[:, 2:])


def mirror(truth: Truth, width: int) -> Truth:
    """Mirror the ground truth of a canvas of `width` columns."""
    boxes3d = truth.boxes3d.copy()
    boxes3d[:, 0] *= -1
    boxes3d[:, 6] = np.pi - boxes3d[:, 6]
    cam2img = truth.cam2img.copy()
    cam2img[0, 2] = width - 1 - cam2img[0, 2]
    boxes = truth.boxes[:, [2, 1, 0, 3]] * [-1, 1, -1, 1] + [width - 1, 0, width - 1, 0]
    return truth._replace(boxes=boxes, boxes3d=boxes3d, cam2img=cam2img)


def owners(points: Points, truth: Truth, centres: Array) -> NDArray[np.int64]:
    """Return the object (N,) of each cell, -1 for background, -2 for ignored cells."""
    x, y = points.xy.T
    away = points.xy[:, None] - centres
    near = (np.abs(away) <= RADIUS * points.stride[:, None, None]).all(axis=-1)
    x1, y1, x2, y2 = truth.boxes.T
    sides = [x[:, None] - x1, y[:, None] - y1, x2 - x[:, None], y2 - y[:, None]]
    farthest = np.max(sides, axis=0)
    near &= (farthest > points.reach[:, :1]) & (farthest <= points.reach[:, 1:])
    distance = np.hypot(*np.moveaxis(away, -1, 0))
    left_out = truth.ignore | (truth.boxes3d[:, 2] > LEARNT_DEPTH)
    candidates = np.where(near & ~left_out, distance, np.inf)
    owner = candidates.argmin(axis=1)
    rest = np.where((near & left_out).any(axis=1), -2, -1)
    return np.where(np.isfinite(candidates.min(axis=1)), owner, rest)


def make_targets(points: Points, truth: Truth, direction_offset: float) -> Targets:
    """Compute the targets of the cells for one frame.

    A cell learns the object within its reach that has the nearest projected centre.

    Args:
        points: cells of all levels, from `make_points`.
        truth: the frame's ground truth.
        direction_offset: see `Fcos3dConfig.direction_offset`.
    """
    if not len(truth.classes):
        none = np.zeros(0, np.int64)
        empty = np.zeros(0, np.float32)
        return Targets(none, none, empty.reshape(0, 7), none, empty, none)
    centres = project(truth.boxes3d, truth.cam2img)
    owner = owners(points, truth, centres)
    positive = np.flatnonzero(owner >= 0)
    chosen = owner[positive]
    stride = points.stride[positive]
    offset = points.xy[positive] - centres[chosen]
    boxes3d = truth.boxes3d[chosen]
    bearing = np.arctan2(centres[chosen, 0] - truth.cam2img[0, 2], truth.cam2img[0, 0])
    local = boxes3d[:, 6] - bearing
    half = np.floor((local - direction_offset) % (2 * np.pi) / np.pi).astype(np.int64)
    values = [offset / stride[:, None], boxes3d[:, 2:6], local[:, None]]
    distance = np.hypot(offset[:, 0], offset[:, 1]) / (1.414 * stride)
    return Targets(
        positive,
        truth.classes[chosen],
        np.concatenate(values, axis=1).astype(np.float32),
        np.clip(half, 0, 1),
        np.exp(-CENTERNESS_FALL * distance).astype(np.float32),
        np.flatnonzero(owner == -2),
    )
