"""Type of camera frames, as readers return and preprocessing takes them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lzu_export.errors import LzuError

Frame = NDArray[np.uint8]
"""Frame of H x W x 3 uint8, in OpenCV's channel order BGR."""


def check_frame(frame: Any, source: tuple[int, int] | None, name: str = "frame") -> Frame:
    """Return a frame after checking that it is a BGR image of the size `source`.

    Any size is accepted if `source` is None. Messages call the frame `name`.

    Raises:
        LzuError: it is not an array, not uint8, has not three channels, is empty, or has another
            size.
    """
    if not isinstance(frame, np.ndarray):
        kind = type(frame).__name__
        raise LzuError(f"{name} is of type {kind}; give a NumPy array of height x width x 3, BGR")
    if frame.ndim != 3 or frame.shape[2] != 3:
        raise LzuError(
            f"{name} is {frame.shape}, not height x width x 3; convert it to a BGR image"
        )
    if frame.dtype != np.uint8:
        raise LzuError(f"{name} is {frame.dtype}; give the camera's bytes as uint8")
    if frame.size == 0:
        raise LzuError(f"{name} is {frame.shape[0]}x{frame.shape[1]}, without a pixel; drop it")
    if source is not None and frame.shape[:2] != source:
        raise LzuError(
            f"{name} is {frame.shape[0]}x{frame.shape[1]} but this bundle takes "
            f"{source[0]}x{source[1]}; bring it to that size (load and run do with resize), or "
            "export for its size"
        )
    return frame
