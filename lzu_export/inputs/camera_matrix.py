"""Check camera matrices and convert them to an engine's inputs. NumPy only."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lzu_export.errors import LzuError

Array = NDArray[np.float64]

WORST_CONDITION = 1e7
"""Ratio of the largest to the smallest singular value from which a matrix counts as singular:
float32 pixels then no longer determine a ray."""
ZERO = 1e-3
MOST_SKEW = 0.05
"""Largest skew of a plausible camera matrix, divided by its focal length in x."""
LEAST_VIEW = 0.5
MOST_VIEW = 172.0
"""Bounds of a plausible field of view, across or down, in degrees."""
OFF_CENTRE = 0.15
SAME_RATIO = 0.12
"""Bounds that detect a matrix of another resolution: its principal point is off the centre by more
than the ratio OFF_CENTRE, and the ratios of both axes differ by less than SAME_RATIO of their
mean."""


def camera_matrices(
    cam2img: ArrayLike,
    batch: int,
    *,
    scale: tuple[float, float] = (1.0, 1.0),
    corner: tuple[float, float] = (0.0, 0.0),
    size: tuple[int, int] | None = None,
    name: str = "cam2img",
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Convert the source's camera matrices to the engine's inputs: the canvas's and their inverses.

    Args:
        cam2img: (3, 3), (3, 4) or (4, 4) matrix, or a batch of them, from points of the camera's
            frame to homogeneous pixels of the source.
        batch: number of images; a single matrix serves them all.
        scale: canvas pixels per source pixel as (y, x).
        corner: source pixel (y, x) at which the canvas begins.
        size: (height, width) of the source's frames, for a check of plausibility; None for no such
            check.
        name: name of the matrix in error messages.

    Returns:
        cam2img and its inverse, (batch, 4, 4) float32, for pixels of the canvas; computed in
        float64.

    Raises:
        LzuError: the shape is none of these, the number of matrices is not `batch`, an entry is not
            finite, the focal length is not positive, or a matrix is singular, is not a camera
            matrix (transposed, in other units), or is implausible for frames of `size`.
    """
    try:
        given = np.asarray(cam2img, np.float64)
    except (TypeError, ValueError) as error:
        raise LzuError(f"{name} is not a matrix of numbers; give 3 x 3, 3 x 4 or 4 x 4") from error
    if given.ndim not in (2, 3) or given.shape[-2:] not in ((3, 3), (3, 4), (4, 4)):
        raise LzuError(f"{name} has shape {given.shape}; give 3 x 3, 3 x 4 or 4 x 4, one an image")
    if given.ndim == 2:
        given = np.broadcast_to(given, (batch, *given.shape))
    if len(given) != batch:
        raise LzuError(f"{name} holds {len(given)} matrices for {batch} images; give one an image")
    matrix = np.tile(np.eye(4), (batch, 1, 1))
    matrix[:, : given.shape[1], : given.shape[2]] = given
    if not np.isfinite(matrix).all():
        raise LzuError(f"{name} has an entry that is not finite; give the calibrated matrix")
    singular = np.linalg.svd(matrix, compute_uv=False)
    for i in range(batch):
        which = f"{name} of image {i}" if batch > 1 else name
        if singular[i, -1] * WORST_CONDITION <= singular[i, 0]:
            raise LzuError(
                f"{which} is singular, so no pixel has a ray; give the calibrated matrix"
            )
        if matrix[i, 0, 0] <= 0 or matrix[i, 1, 1] <= 0:
            raise LzuError(
                f"{which} has a focal length that is not positive; give pixels on its diagonal"
            )
        fault = implausible(matrix[i], size)
        if fault is not None:
            raise LzuError(f"{which} {fault}")
    matrix[:, 0] = scale[1] * (matrix[:, 0] - corner[1] * matrix[:, 2])
    matrix[:, 1] = scale[0] * (matrix[:, 1] - corner[0] * matrix[:, 2])
    return matrix.astype(np.float32), np.linalg.inv(matrix).astype(np.float32)


def implausible(matrix: Array, size: tuple[int, int] | None) -> str | None:
    """Reason that a matrix is no camera matrix, as the end of a sentence; None if it is plausible.

    Args:
        matrix: (3 or 4, 3 or 4), points of the camera's frame to homogeneous pixels.
        size: (height, width) of the camera's frames; None if it is not known.
    """
    if np.abs(matrix[2, :3] - [0, 0, 1]).max() > ZERO:
        row = " ".join(f"{value:g}" for value in matrix[2, :3])
        return (
            f"has the last row {row}, not 0 0 1; give K with the principal point in its last "
            "column (it may be transposed)"
        )
    if abs(matrix[1, 0]) > ZERO * matrix[1, 1] or abs(matrix[0, 1]) > MOST_SKEW * matrix[0, 0]:
        return (
            f"has {matrix[0, 1]:g} and {matrix[1, 0]:g} beside its focal lengths, where a camera "
            "has (almost) zero; give K with the focal lengths on its diagonal"
        )
    return None if size is None else _of_another_frame(matrix, size)


def _of_another_frame(matrix: Array, size: tuple[int, int]) -> str | None:
    """Reason that a camera cannot take frames of this (height, width), as the end of a sentence."""
    height, width = size
    frame = f"{height}x{width}"
    for focal, pixels, axis in ((matrix[0, 0], width, "across"), (matrix[1, 1], height, "down")):
        view = 2 * np.degrees(np.arctan(pixels / 2 / focal))
        if not LEAST_VIEW <= view <= MOST_VIEW:
            return (
                f"has a focal length of {focal:g} pixels, by which a frame of {frame} sees "
                f"{view:.3g} degrees {axis}; give pixels of that frame, not units of 0..1 or "
                "millimetres"
            )
    x, y = matrix[0, 2], matrix[1, 2]
    if not (-0.5 <= x <= width - 0.5 and -0.5 <= y <= height - 0.5):
        return (
            f"has its principal point at x {x:g}, y {y:g}, outside of the frame of {frame}; give "
            "the matrix for that frame, scaled and shifted as the frame was"
        )
    # Another resolution scales the principal point's distances from the corner by the same ratio.
    ratio_x, ratio_y = (x + 0.5) * 2 / width, (y + 0.5) * 2 / height
    ratio = (ratio_x + ratio_y) / 2
    if abs(ratio - 1) > OFF_CENTRE and abs(ratio_x - ratio_y) < SAME_RATIO * ratio:
        return (
            f"has its principal point at x {x:g}, y {y:g}, the centre of a frame of about "
            f"{round(ratio * height)}x{round(ratio * width)}, but this one is {frame}; scale the "
            "matrix to it"
        )
    return None
