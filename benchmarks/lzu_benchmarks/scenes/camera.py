"""The pinhole camera of the ego vehicle.

Camera axes: x right, y down, z forward. World axes are the same with the ground at y = 0 and the street
along +z. Image coordinates measure pixel edges: pixel (row i, column j) covers [j, j+1) x [i, i+1).
The camera is always level: small pitch is a vertical shift of the principal point, so that a box standing
on the ground needs no rotation but its yaw.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

SOURCE_SIZE = (360, 640)
FOCAL = 520.0  # pixels: about 63 degrees across 640 columns
NEAR = 0.5  # metres: geometry nearer than this is clipped


@dataclass(frozen=True)
class Camera:
    """Pose and intrinsics of one frame.

    Attributes:
        position: (3,) float64, metres, world.
        yaw: radians, positive turns to the right.
        centre: principal point (cx, cy), pixels.
        focal: pixels, both axes.
        size: (height, width) of the image, pixels.
    """

    position: NDArray[np.float64]
    yaw: float
    centre: tuple[float, float]
    focal: float = FOCAL
    size: tuple[int, int] = SOURCE_SIZE

    @property
    def intrinsics(self) -> NDArray[np.float64]:
        """(3, 3) float64 matrix K: image = K @ camera / z."""
        return np.array(
            [[self.focal, 0, self.centre[0]], [0, self.focal, self.centre[1]], [0, 0, 1.0]]
        )

    @cached_property
    def axes(self) -> NDArray[np.float64]:
        """(3, 3) camera axes in world axes, one a column."""
        return rotation(self.yaw)

    def to_camera(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """World points (..., 3) in camera axes, metres."""
        return (points - self.position) @ self.axes

    def project(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Camera points (..., 3) with positive z in image coordinates (..., 2), pixels (x, y)."""
        scale = self.focal / points[..., 2:]
        return points[..., :2] * scale + np.asarray(self.centre)


def rotation(yaw: float) -> NDArray[np.float64]:
    """(3, 3) matrix that turns the +z axis towards +x by `yaw` radians: turned = rotation @ column."""
    cosine, sine = np.cos(yaw), np.sin(yaw)
    return np.array([[cosine, 0.0, sine], [0.0, 1.0, 0.0], [-sine, 0.0, cosine]])


def clip_near(polygon: NDArray[np.float64], near: float = NEAR) -> NDArray[np.float64]:
    """The part of a convex camera-space polygon (k, 3) beyond z = near; (0, 3) if there is none."""
    z = polygon[:, 2]
    if z.min() >= near:
        return polygon
    following = np.roll(polygon, -1, axis=0)
    kept = []
    for a, b in zip(polygon, following, strict=True):
        if a[2] >= near:
            kept.append(a)
        if (a[2] >= near) != (b[2] >= near):
            kept.append(a + (near - a[2]) / (b[2] - a[2]) * (b - a))
    return np.array(kept).reshape(-1, 3)
