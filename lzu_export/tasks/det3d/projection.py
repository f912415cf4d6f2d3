"""Project boxes in space into a camera: corners, edges, visible parts. NumPy only.

The camera's frame is x right, y down, z forward, in metres; pixels are (x, y), whole numbers at
their centres. Boxes are those of `lzu_export.runtime.postprocess3d`.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lzu_export.errors import LzuError
from lzu_export.inputs.camera_matrix import camera_matrices

Array = NDArray[np.float64]

NEAR = 0.1
"""Metres in front of the camera nearer than which nothing is drawn."""

FRONT = (0, 1, 2, 3)
"""Corners of the face that looks along the heading: around it, from its upper left one."""

EDGES = (
    *((0, 1), (1, 2), (2, 3), (3, 0)),
    *((4, 5), (5, 6), (6, 7), (7, 4)),
    *((0, 4), (1, 5), (2, 6), (3, 7)),
)
"""Pairs of corners: around the front, around the back, from front to back."""

# Shares of length, height and width from the centre: ahead, down, to the right of the heading.
_SIGNS = np.array(
    [
        [1, -1, -1],
        [1, -1, 1],
        [1, 1, 1],
        [1, 1, -1],
        [-1, -1, -1],
        [-1, -1, 1],
        [-1, 1, 1],
        [-1, 1, -1],
    ],
    np.float64,
)


def checked_boxes(boxes: ArrayLike, what: str = "boxes") -> Array:
    """Boxes (n, 7 or more) as float64; an empty list is (0, 7).

    Raises:
        LzuError: they are not rows of at least 7 numbers.
    """
    try:
        box = np.asarray(boxes, np.float64)
    except (TypeError, ValueError) as error:
        raise LzuError(f"{what} are no numbers; give rows of at least 7") from error
    if not box.size:
        return np.empty((0, 7))
    if box.ndim != 2 or box.shape[1] < 7:
        raise LzuError(f"{what} have shape {box.shape}; give rows of at least 7 numbers, one a box")
    return box


def camera_matrix(cam2img: ArrayLike, *, name: str = "cam2img") -> Array:
    """One camera's matrix as (3, 4) float64, points to homogeneous pixels.

    Raises:
        LzuError: see `postprocess3d.camera_matrices`, which takes the same forms.
    """
    return camera_matrices(cam2img, 1, name=name)[0][0, :3].astype(np.float64)


def corners(boxes: ArrayLike) -> Array:
    """Corners (n, 8, 3) of camera boxes (n, 7 or more), in the order of `FRONT` and `EDGES`."""
    box = checked_boxes(boxes)
    cos, sin = np.cos(box[:, 6]), np.sin(box[:, 6])
    zero, one = np.zeros(len(box)), np.ones(len(box))
    # Rows: the heading, down, and what is right of the heading.
    axes = np.stack(
        [
            np.stack([cos, zero, -sin], axis=1),
            np.stack([zero, one, zero], axis=1),
            np.stack([-sin, zero, -cos], axis=1),
        ],
        axis=1,
    )
    offsets = _SIGNS * box[:, None, 3:6] / 2
    found: Array = box[:, None, :3] + offsets @ axes
    return found


def project(points: ArrayLike, matrix: Array) -> tuple[Array, Array]:
    """Pixels (..., 2) and depths (...) of points (..., 3) in front of the camera.

    Args:
        points: in the camera's frame; behind it, pixels are nan.
        matrix: (3, 4), see `camera_matrix`.
    """
    homogeneous = np.asarray(points, np.float64) @ matrix[:, :3].T + matrix[:, 3]
    depth = homogeneous[..., 2]
    ahead = depth > 0
    pixels = homogeneous[..., :2] / np.where(ahead, depth, 1)[..., None]
    return np.where(ahead[..., None], pixels, np.nan), depth


def clip_segments(
    starts: Array, ends: Array, planes: Array
) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Parts of segments on the positive side of every plane.

    Args:
        starts: (n, 3).
        ends: (n, 3).
        planes: (p, 4): a point lies on the positive side where plane[:3] @ point + plane[3] >= 0.

    Returns:
        Starts (n, 3), ends (n, 3), and whether anything is left of each.
    """
    first = starts @ planes[:, :3].T + planes[:, 3]
    last = ends @ planes[:, :3].T + planes[:, 3]
    crossing = first / np.where(first == last, 1, first - last)
    enters = np.where((first < 0) & (last >= 0), crossing, 0).max(axis=1, initial=0)
    leaves = np.where((first >= 0) & (last < 0), crossing, 1).min(axis=1, initial=1)
    left = ~((first < 0) & (last < 0)).any(axis=1) & (enters <= leaves)
    step = ends - starts
    return starts + enters[:, None] * step, starts + leaves[:, None] * step, left


def view_planes(matrix: Array, size: tuple[int, int], margin: float = 0.0) -> Array:
    """Planes (5, 4) of what a camera sees, see `clip_segments`: near, left, right, top, bottom.

    Args:
        matrix: (3, 4), see `camera_matrix`.
        size: (height, width) of the image in pixels.
        margin: pixels that are added on every side.
    """
    x, y, depth = matrix
    height, width = size
    return np.stack(
        [
            depth - [0, 0, 0, NEAR],
            x + (0.5 + margin) * depth,
            (width - 0.5 + margin) * depth - x,
            y + (0.5 + margin) * depth,
            (height - 0.5 + margin) * depth - y,
        ]
    )


def image_boxes(boxes: ArrayLike, matrix: Array, size: tuple[int, int]) -> Array:
    """Rectangles (n, 4) x1, y1, x2, y2 in pixels around camera boxes, cut at the image's border.

    Only what lies in front of the camera by more than `NEAR` counts. nan where nothing is left.

    Args:
        boxes: (n, 7 or more).
        matrix: (3, 4), see `camera_matrix`.
        size: (height, width) of the image.
    """
    points = corners(boxes)
    first, last = np.array(EDGES).T
    near = view_planes(matrix, size)[:1]
    starts, ends, left = clip_segments(
        points[:, first].reshape(-1, 3), points[:, last].reshape(-1, 3), near
    )
    pixels = project(np.stack([starts, ends], axis=1), matrix)[0]
    pixels = np.where(left[:, None, None], pixels, np.nan).reshape(len(points), 2 * len(EDGES), 2)
    low = np.where(np.isnan(pixels), np.inf, pixels).min(axis=1, initial=np.inf)
    high = np.where(np.isnan(pixels), -np.inf, pixels).max(axis=1, initial=-np.inf)
    border = np.array([size[1], size[0]]) - 0.5
    found = np.concatenate([np.clip(low, -0.5, border), np.clip(high, -0.5, border)], axis=1)
    empty = (found[:, 2:] <= found[:, :2]).any(axis=1)
    found[empty] = np.nan
    return found
