"""The pinhole camera of the ego vehicle.

Camera axes: x right, y down, z forward. World axes are the same with the ground at y = 0 and the
street along +z. Image coordinates measure pixel edges: pixel (row i, column j) covers [j, j+1) x
[i, i+1). The camera is always level. A pitch is a vertical shift of the principal point, by the
focal length times the angle, so a box standing on the ground needs no rotation except its yaw.
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
        """(3, 3) camera axes in world axes, one per column."""
        return rotation(self.yaw)

    def to_camera(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Transform world points (..., 3) to camera axes, metres."""
        return (points - self.position) @ self.axes

    def project(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Project camera points (..., 3) with positive z to image coordinates (..., 2), x and y."""
        scale = self.focal / points[..., 2:]
        return points[..., :2] * scale + np.asarray(self.centre)


def rotation(yaw: float) -> NDArray[np.float64]:
    """Return the (3, 3) matrix that turns a column vector on +z towards +x by `yaw` radians."""
    cosine, sine = np.cos(yaw), np.sin(yaw)
    return np.array([[cosine, 0.0, sine], [0.0, 1.0, 0.0], [-sine, 0.0, cosine]])


def clip_near(polygon: NDArray[np.float64], near: float = NEAR) -> NDArray[np.float64]:
    """Return the part of a convex camera-space polygon (k, 3) beyond z = near; (0, 3) if none."""
    return clip_half(polygon, polygon[:, 2] - near)


def clip_half(polygon: NDArray[np.float64], distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the part of a convex polygon (k, d) where linear `distance` (k,) is not negative."""
    if not len(polygon) or distance.min() >= 0:
        return polygon
    kept = []
    for i, (a, da) in enumerate(zip(polygon, distance, strict=True)):
        b, db = polygon[(i + 1) % len(polygon)], distance[(i + 1) % len(polygon)]
        if da >= 0:
            kept.append(a)
        if (da >= 0) != (db >= 0):
            kept.append(a + da / (da - db) * (b - a))
    return np.array(kept).reshape(-1, polygon.shape[1])


def clip_image(polygon: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.float64]:
    """Clip a convex polygon (k, 2) in image coordinates to an image of size (height, width)."""
    for axis, limit in ((0, size[1]), (1, size[0])):
        polygon = clip_half(polygon, polygon[:, axis])
        polygon = clip_half(polygon, limit - polygon[:, axis])
    return polygon
