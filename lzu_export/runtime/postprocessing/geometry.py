"""Places of the frame on the network's input, for boxes and label maps of unzoomed features."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Boxes = NDArray[np.float64]


@dataclass(frozen=True)
class CanvasGeometry:
    """How the canvas, without a zoom, shows the frame.

    A network whose features were unzoomed sees the frame as if the canvas were uniform. Boxes are
    x1, y1, x2, y2 in pixels, and 0 is the left or upper edge of the first pixel, as in COCO. Pixel
    i of the canvas, at 0-based index i, shows the frame's pixel at index `step * i + corner`, so
    that an edge e of the canvas lies at `(e - 0.5) * step + 0.5 + corner` in the frame.
    """

    canvas: tuple[int, int]
    """(height, width) of the zoomed image before padding, in pixels."""
    network_input: tuple[int, int]
    """(height, width) of the canvas after padding at the bottom and right."""
    step: tuple[float, float]
    """(y, x) pixels of the frame per pixel of the canvas, from centre to centre."""
    corner: tuple[int, int]
    """(row, column) of the view's first pixel in the frame."""
    view: tuple[int, int]
    """(height, width) of the part of the frame that the canvas shows, in pixels of the frame."""
    source: tuple[int, int]
    """(height, width) of the frame in pixels."""

    @classmethod
    def of(cls, recipe: Any) -> "CanvasGeometry":
        """Return the geometry of a recipe."""
        return cls(
            canvas=recipe.canvas,
            network_input=recipe.network_input,
            step=recipe.canvas_step,
            corner=recipe.corner,
            view=recipe.view,
            source=recipe.source,
        )

    def to_frame(self, boxes: ArrayLike) -> Boxes:
        """Convert boxes (..., 4) from pixels of the canvas to pixels of the frame, float64."""
        (step_y, step_x), (top, left) = self.step, self.corner
        with np.errstate(invalid="ignore"):  # infinite boxes, where a step is 0
            moved = (np.asarray(boxes, np.float64) - 0.5) * ([step_x, step_y] * 2) + 0.5
        return np.asarray(moved + [left, top] * 2)

    def within_canvas(self, boxes: ArrayLike) -> Boxes:
        """Clip boxes (..., 4) in pixels of the canvas to it, float64."""
        height, width = self.canvas
        return np.clip(np.asarray(boxes, np.float64), 0.0, [width, height] * 2)

    def within_view(self, boxes: ArrayLike) -> Boxes:
        """Clip boxes (..., 4) in pixels of the frame to the view, float64."""
        (top, left), (height, width) = self.corner, self.view
        edges = np.asarray(boxes, np.float64)
        return np.clip(edges, [left, top] * 2, [left + width, top + height] * 2)
