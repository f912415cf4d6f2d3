"""A warp to look at, with the sizes that it maps between and the settings that shape it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lzu_export.inputs.frame import Frame
from lzu_export.recipes import Recipe
from lzu_export.runtime.preprocess import sampler
from lzu_export.warp.grids import AXIS_KNOTS, zoom_at
from lzu_export.warp.saliency import Array
from lzu_export.warp.warp import Knots

IDENTITY: Knots = dict.fromkeys(AXIS_KNOTS, np.array([-1.0, 1.0]))
"""Knots of the uniform canvas."""


class Sizes(NamedTuple):
    """The sizes (height, width) in pixels that a warp maps between."""

    source: tuple[int, int]
    """Size of the camera's frame."""
    corner: tuple[int, int]
    """(row, column) of the view's first pixel in the frame."""
    view: tuple[int, int]
    """Size of the part of the frame that is used, in pixels of the frame."""
    reduce: int
    """Frame pixels per pixel of the picture that the zoom samples."""
    span: tuple[int, int]
    """Size of the picture with its padding, in its own pixels, which the knots span."""
    canvas: tuple[int, int]
    """Size of the zoomed image."""

    @classmethod
    def of(cls, recipe: Recipe) -> "Sizes":
        """Return the sizes of a recipe."""
        return cls(
            recipe.source, recipe.corner, recipe.view, recipe.reduce, recipe.span, recipe.canvas
        )

    @classmethod
    def whole(cls, source: tuple[int, int], scale: float) -> "Sizes":
        """Return the sizes of a warp of the whole frame, with a canvas of `scale` times its size.

        The canvas has at least one pixel on each axis.
        """
        height, width = (max(1, int(n * scale + 1e-6)) for n in source)
        return cls(source, (0, 0), source, 1, source, (height, width))

    def to_view(self, positions: ArrayLike, axis: int) -> Array:
        """Convert positions in [-1, 1] to pixels of the view, along y (axis 0) or x (axis 1)."""
        pixels = (np.asarray(positions, np.float64) + 1.0) / 2.0 * (self.span[axis] - 1)
        return np.asarray(self.reduce * pixels)

    def to_span(self, boxes: Array) -> Array:
        """Clip boxes (n, 4) in pixels of the view to it, and convert them to pixels of the span.

        In boxes, 0 is the left edge of the first pixel; in the span, it is that pixel's centre.
        """
        height, width = self.view
        return np.asarray((boxes.clip(0, [width, height] * 2) - 0.5) / self.reduce)


@dataclass(frozen=True)
class Subject:
    """A warp, the sizes it maps between, and what it was made from."""

    name: str
    """Name of the recipe with its variant, or of the file or folder."""
    sizes: Sizes
    knots: Knots
    antialias: bool = False
    """Whether the zoom is antialiased."""
    boxes: Array | None = None
    """Boxes (n, 4) as x1, y1, x2, y2 in pixels of the view; None if there are none."""
    tunable: Mapping[str, float] = field(default_factory=dict)
    """Recipe keys that shape the warp, such as `warp.fwhm`, with their values."""
    retuned: Callable[[Mapping[str, float]], Knots] | None = None
    """Function that makes the knots of other values of these keys."""

    def view_of(self, frame: Frame) -> Frame:
        """Cut the view (h, w, 3) out of a frame of the source size."""
        (top, left), (height, width) = self.sizes.corner, self.sizes.view
        return frame[top : top + height, left : left + width]

    def zoomed(self, frame: Frame) -> Frame:
        """Zoom a frame of the source size: the image that the network sees, as BGR bytes."""
        return self._zoomed_at(frame, self.knots)

    def unwarped(self, frame: Frame) -> Frame:
        """Shrink a frame of the source size to the canvas of equal size without a warp."""
        return self._zoomed_at(frame, IDENTITY)

    def with_boxes(self, boxes: Array) -> "Subject":
        """Return the same warp with boxes (n, 4) in pixels of the view."""
        return replace(self, boxes=boxes)

    def _zoomed_at(self, frame: Frame, knots: Knots) -> Frame:
        picture = self.view_of(frame)[:: self.sizes.reduce, :: self.sizes.reduce]
        zoom = zoom_at(knots, self.sizes.span, self.sizes.canvas, antialias=self.antialias)
        image: NDArray[Any] = sampler(zoom, (picture.shape[0], picture.shape[1]))(picture)
        return np.clip(np.rint(image), 0, 255).astype(np.uint8)
