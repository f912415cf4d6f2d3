"""The type of a camera's frame, which every reader returns and every pre-processing takes."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lzu_export.errors import LzuError

Frame = NDArray[np.uint8]
"""H x W x 3, BGR like OpenCV's."""


def check_frame(frame: Any, source: tuple[int, int] | None, name: str = "frame") -> Frame:
    """Refuse what is not a BGR image of the source size (of any size for None), naming it.

    Raises:
        LzuError: not an array, not uint8, not three channels, or of another size.
    """
    if not isinstance(frame, np.ndarray) or frame.ndim != 3 or frame.shape[2] != 3:
        shape = getattr(frame, "shape", type(frame).__name__)
        raise LzuError(f"{name} is {shape}, not height x width x 3; convert it to a BGR image")
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
