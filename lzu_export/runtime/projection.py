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
"""Smallest distance in metres in front of the camera at which anything is drawn."""

FRONT = (0, 1, 2, 3)
"""Corners of the face in the direction of the heading, in order from the upper left one."""

EDGES = (
    *((0, 1), (1, 2), (2, 3), (3, 0)),
    *((4, 5), (5, 6), (6, 7), (7, 4)),
    *((0, 4), (1, 5), (2, 6), (3, 7)),
)
"""Pairs of corners that edges join: around the front, around the back, from front to back."""

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
    """Return boxes (n, 7 or more) as float64; an empty list becomes (0, 7).

    Raises:
        LzuError: the boxes are not rows of at least 7 numbers.
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
    """Return one camera's matrix as (3, 4) float64, from points to homogeneous pixels.

    Raises:
        LzuError: see `inputs.camera_matrix.camera_matrices`, which takes the same forms.
    """
    return camera_matrices(cam2img, 1, name=name)[0][0, :3].astype(np.float64)


def corners(boxes: ArrayLike) -> Array:
    """Return the corners (n, 8, 3) of camera boxes (n, 7 or more), ordered for `FRONT` and
    `EDGES`.
    """
    box = checked_boxes(boxes)
    cos, sin = np.cos(box[:, 6]), np.sin(box[:, 6])
    zero, one = np.zeros(len(box)), np.ones(len(box))
    # Rows: the heading, down, and right of the heading.
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
    """Project points (..., 3) to pixels (..., 2) and depths (...).

    Args:
        points: points in the camera's frame; pixels of points behind the camera are NaN.
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
    """Clip segments to their parts on the positive side of every plane.

    Args:
        starts: (n, 3) first points of the segments.
        ends: (n, 3) last points of the segments.
        planes: (p, 4); a point is on the positive side if plane[:3] @ point + plane[3] >= 0.

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
    """Return the planes (5, 4) around a camera's view: near, left, right, top, bottom.

    The view is on their positive sides, see `clip_segments`.

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
    """Return rectangles (n, 4) x1, y1, x2, y2 in pixels around camera boxes, cut at the border.

    Only parts in front of the camera by more than `NEAR` count. Rows are NaN if nothing is left.

    Args:
        boxes: (n, 7 or more) camera boxes.
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
