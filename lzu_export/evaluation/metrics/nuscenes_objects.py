"""Boxes and classes that nuScenes' detection metrics compare, seen from above."""

from dataclasses import dataclass
from math import pi
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lzu_export.errors import LzuError

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ClassRule:
    """Rule by which one class is evaluated.

    Attributes:
        name: name of the class.
        reach: distance from the ego in metres below which boxes count.
        yaw_period: radians after which a turned box looks the same; None if headings are not
            evaluated.
        moves: whether velocities and attributes are evaluated.
    """

    name: str
    reach: float
    yaw_period: float | None = 2 * pi
    moves: bool = True


NUSCENES = (
    ClassRule("car", 50),
    ClassRule("truck", 50),
    ClassRule("bus", 50),
    ClassRule("trailer", 50),
    ClassRule("construction_vehicle", 50),
    ClassRule("pedestrian", 40),
    ClassRule("motorcycle", 40),
    ClassRule("bicycle", 40),
    ClassRule("traffic_cone", 30, yaw_period=None, moves=False),
    ClassRule("barrier", 30, yaw_period=pi, moves=False),
)
"""Rules of the devkit's configuration detection_cvpr_2019."""

DEMO = (
    ClassRule("car", 50, moves=False),
    ClassRule("truck", 50, moves=False),
    ClassRule("bus", 50, moves=False),
    ClassRule("pedestrian", 40, moves=False),
    ClassRule("bicycle", 40, moves=False),
    ClassRule("traffic_sign", 30, moves=False),
)
"""nuScenes' ranges for the demonstration's classes, which have no velocity and no attributes."""


class Objects(NamedTuple):
    """n boxes of one sample, truth or detections, seen from above.

    Attributes:
        centres: (n, 2) metres from the ego in the ground plane.
        sizes: (n, 3) metres along the box's own axes, in any order that all boxes share.
        yaws: (n,) radians, in either sense of rotation that all boxes share.
        labels: (n,) indices in the table of classes.
        velocities: (n, 2) metres per second; nan where a truth's velocity is unknown.
        attributes: (n,) numbers of attributes; negative for none.
    """

    centres: Array
    sizes: Array
    yaws: Array
    labels: NDArray[np.int64]
    velocities: Array
    attributes: NDArray[np.int64]

    def take(self, chosen: NDArray[Any]) -> "Objects":
        """Return the boxes at given indices, or those marked by a mask (n,)."""
        return Objects(
            self.centres[chosen],
            self.sizes[chosen],
            self.yaws[chosen],
            self.labels[chosen],
            self.velocities[chosen],
            self.attributes[chosen],
        )


class CameraBoxes(NamedTuple):
    """True boxes that count, in a camera's frame, to be drawn beside what a model finds."""

    boxes: Array
    """(n, 7 or 9), see `lzu_export.runtime.postprocess3d`."""
    labels: NDArray[np.int64]
    """(n,) indices in the table of classes."""


def camera_objects(
    boxes: ArrayLike, labels: ArrayLike, attributes: ArrayLike | None = None
) -> Objects:
    """Convert boxes in a camera's frame (n, 7 or 9), see `lzu_export.runtime.postprocess3d`.

    The ground plane is x, z and the ego is at the camera. Missing velocities are set to 0.
    """
    return _objects(boxes, labels, attributes, (0, 2))


def ego_objects(
    boxes: ArrayLike, labels: ArrayLike, attributes: ArrayLike | None = None
) -> Objects:
    """Convert boxes in the ego frame (n, 7 or 9), see `lzu_export.runtime.postprocess3d`.

    The ground plane is x, y. Missing velocities are set to 0.
    """
    return _objects(boxes, labels, attributes, (0, 1))


def _objects(
    boxes: ArrayLike, labels: ArrayLike, attributes: ArrayLike | None, plane: tuple[int, int]
) -> Objects:
    label = np.asarray(labels, np.int64).reshape(-1)
    box = np.asarray(boxes, np.float64)
    if not box.size:
        box = box.reshape(0, 7)
    if box.ndim != 2 or box.shape[1] not in (7, 9):
        raise LzuError(f"boxes have shape {box.shape}; give (n, 7) or, with velocity, (n, 9)")
    velocity = box[:, 7:] if box.shape[1] == 9 else np.zeros((len(box), 2))
    attribute = np.full(len(box), -1) if attributes is None else attributes
    return Objects(
        box[:, plane],
        box[:, 3:6],
        box[:, 6],
        label,
        velocity,
        np.asarray(attribute, np.int64).reshape(-1),
    )


def distance_of(objects: Objects) -> Array:
    """Return the distances (n,) of boxes from the ego in metres."""
    distance: Array = np.hypot(objects.centres[:, 0], objects.centres[:, 1])
    return distance


def distances_between(first: Array, second: Array) -> Array:
    """Return the distances (n, m) of centres (n, 2) from centres (m, 2)."""
    apart: Array = np.linalg.norm(first[:, None] - second[None], axis=2)
    return apart
