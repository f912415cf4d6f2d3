"""Fit frames of another size to the source size, and results back to the frame."""

from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lzu_export.errors import LzuError
from lzu_export.inputs.frame import Frame
from lzu_export.recipes import Recipe

Fit = Literal["exact", "stretch", "pad"]
"""Way to fit a frame of another size: `exact` refuses it; `stretch` resizes each axis by itself;
`pad` keeps the aspect, centres the frame and fills bars with the normalisation's mean."""


class Fitting(NamedTuple):
    """Place of a frame in the source: pixel edge e of the frame lies at `scale * e + offset`."""

    frame: tuple[int, int]
    """(height, width) of the frame."""
    size: tuple[int, int]
    """(height, width) of the frame in the source."""
    offset: tuple[int, int]
    """(top, left) of the frame in the source."""

    @property
    def scale(self) -> tuple[float, float]:
        """(y, x) source pixels per pixel of the frame."""
        return self.size[0] / self.frame[0], self.size[1] / self.frame[1]

    def boxes_back(self, boxes: NDArray[np.floating]) -> NDArray[np.float64]:
        """Convert boxes (n, 4) x1, y1, x2, y2 from pixels of the source to pixels of the frame."""
        top, left = self.offset
        # The inverse ratio changes no bit if the source has the frame's own size.
        back = [self.frame[1] / self.size[1], self.frame[0] / self.size[0]] * 2
        return (np.asarray(boxes, np.float64) - [left, top] * 2) * back

    def camera(self, cam2img: ArrayLike) -> NDArray[np.float64]:
        """Convert a camera matrix (3 or 4, 3 or 4) from the frame's pixels to the source's."""
        matrix = np.array(cam2img, np.float64)
        for row, axis in ((1, 0), (0, 1)):
            scale = self.scale[axis]
            shift = (scale - 1) / 2 + self.offset[axis]
            matrix[row] = scale * matrix[row] + shift * matrix[2]
        return matrix


def check_fit(fit: str) -> Fit:
    """Return a name of `Fit` after checking it.

    Raises:
        LzuError: there is no such fit.
    """
    if fit not in get_args(Fit):
        raise LzuError(f"fit is {fit!r}; choose one of {', '.join(get_args(Fit))}")
    return fit  # type: ignore[return-value]


def fit_of(fit: str | None, resize: bool) -> Fit:
    """Return the fit that both arguments of `load` ask for; `resize` alone means `stretch`.

    Raises:
        LzuError: there is no such fit, or the two contradict each other.
    """
    if fit is None:
        return "stretch" if resize else "exact"
    if resize and fit != "stretch":
        raise LzuError(f"resize means fit stretch, but fit {fit} is asked for; leave resize out")
    return check_fit(fit)


def fitting(frame: tuple[int, ...], source: tuple[int, int], fit: str) -> Fitting:
    """Compute the place of a frame of (height, width) in a source of (height, width)."""
    size = (frame[0], frame[1])
    if fit != "pad" or size == source:
        return Fitting(size, source, (0, 0))
    scale = min(source[0] / size[0], source[1] / size[1])
    height, width = (
        min(max(round(scale * pixels), 1), most) for pixels, most in zip(size, source, strict=True)
    )
    return Fitting(size, (height, width), ((source[0] - height) // 2, (source[1] - width) // 2))


def fitted(frame: Frame, recipe: Recipe, fit: str) -> Frame:
    """Return the frame at the recipe's source size, resized bilinearly if it has another size."""
    if frame.shape[:2] == recipe.source:
        return frame
    import cv2  # here, so that a start without resizing does not wait for it

    place = fitting(frame.shape, recipe.source, fit)
    height, width = place.size
    resized = np.asarray(cv2.resize(frame, (width, height)), np.uint8)
    if place.size == recipe.source:
        return resized
    mean = recipe.normalisation.mean
    colour = np.rint(mean if recipe.normalisation.order == "bgr" else mean[::-1])
    canvas = np.empty((*recipe.source, 3), np.uint8)
    canvas[:] = np.clip(colour, 0, 255).astype(np.uint8)
    top, left = place.offset
    canvas[top : top + height, left : left + width] = resized
    return canvas
