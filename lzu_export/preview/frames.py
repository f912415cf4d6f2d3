"""The frame that a warp is shown on: one of the user's, or a board of squares."""

from pathlib import Path

import numpy as np

from lzu_export.errors import LzuError
from lzu_export.inputs.frame import Frame
from lzu_export.inputs.frame_sources import open_frames
from lzu_export.inputs.images import images_in
from lzu_export.recipes import Recipe
from lzu_export.runtime.fitting import check_fit, fitted
from lzu_export.runtime.sources import open_source

SQUARES = 24
"""Number of squares along the longer side of a board."""
SHADES = (72, 112)
"""Grey values of a board's squares, dark enough for white lines."""


def first_frame(source: str) -> tuple[str, Frame]:
    """Read one frame: the first of an image, a folder of images or a video.

    Other sources, such as a data set's root or `demo`, give one of the frames that a calibration
    would take.

    Returns:
        The name of the frame's file, and the frame (H, W, 3) uint8, BGR.

    Raises:
        LzuError: the source does not exist, holds no frames, or the frame is unreadable.
    """
    path = Path(source)
    if (path.is_dir() and images_in(path)) or (path.is_file() and path.suffix.lower() != ".json"):
        opened = open_source(path)
        try:
            for each in opened:
                return each.name, each.frame
        finally:
            opened.close()
        raise LzuError(f"{source} holds no frames; give a source that does")
    name, frame = next(open_frames(source, count=2, seed=0).frames())
    return Path(name).name, frame


def fitted_frame(name: str, frame: Frame, recipe: Recipe, fit: str) -> Frame:
    """Return a frame at the recipe's source size.

    Args:
        name: name of the frame in messages.
        frame: (H, W, 3) uint8, BGR.
        recipe: the recipe.
        fit: `exact`, `stretch` or `pad`, see `runtime.fitting`.

    Raises:
        LzuError: the frame has another size and `fit` is `exact`, or there is no such fit.
    """
    if check_fit(fit) == "exact" and frame.shape[:2] != recipe.source:
        height, width = recipe.source
        raise LzuError(
            f"{name} is {frame.shape[0]}x{frame.shape[1]} but the recipe's source "
            f"{height}x{width}; give frames of that size, --set source=[HEIGHT,WIDTH], or "
            "--fit stretch"
        )
    return fitted(frame, recipe, fit)


def board(size: tuple[int, int]) -> Frame:
    """Draw a board of grey squares (H, W, 3) of a size, for a warp without frames."""
    side = max(1, max(size) // SQUARES)
    rows, columns = (np.arange(n) // side for n in size)
    grey = np.array(SHADES, np.uint8)[(rows[:, None] + columns) % 2]
    return np.repeat(grey[..., None], 3, axis=2)
