"""Checks of the arguments that the families of warps share."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from lzu_export.errors import LzuError
from lzu_export.warp.saliency import Array, as_real


def check_positive(value: float, name: str) -> float:
    """Return a number after checking it.

    Raises:
        LzuError: it is not finite, or not above 0.
    """
    if not (math.isfinite(value) and value > 0):
        raise LzuError(f"{name} is {value}; give a number above 0")
    return float(value)


def check_share(value: float, name: str) -> float:
    """Return a share after checking it.

    Raises:
        LzuError: it is not above 0 and at most 1.
    """
    if not 0 < value <= 1:
        raise LzuError(f"{name} is {value}; give a share above 0 and at most 1")
    return float(value)


def check_inside(point: ArrayLike, source: Sequence[int], name: str) -> Array:
    """Return a point of the frame as float64 (x, y) in [-1, 1] with align_corners.

    Args:
        point: (x, y) in pixels of the frame; 0 is the centre of the first pixel.
        source: (height, width) of the frame in pixels, at least 2 each.
        name: name of the point in error messages.

    Raises:
        LzuError: the frame is too small, or the point is not two finite numbers within it.
    """
    last = np.array([source[1] - 1, source[0] - 1], np.float64)
    if (last < 1).any():
        raise LzuError(f"source is {tuple(source)}; give (height, width) of at least 2 pixels each")
    place = as_real(point, name)
    if place.shape != (2,) or not ((place >= 0) & (place <= last)).all():
        raise LzuError(
            f"{name} is {point!r}; give x from 0 to {last[0]:g} and y from 0 to {last[1]:g}, in "
            "pixels of the frame"
        )
    return np.asarray(2 * place / last - 1)
