"""Convert camera frames to an engine's input, in NumPy and OpenCV."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lzu_export.inputs.frame import Frame
from lzu_export.recipes import Recipe
from lzu_export.warp.grids import GridTable, Sampling, coverage, grid_taps
from lzu_export.warp.tables import Table, table_matrix


def cut(recipe: Recipe) -> tuple[slice, slice]:
    """Return the rows and columns of the frame that form the picture which the zoom samples."""
    (top, left), (height, width) = recipe.corner, recipe.view
    return slice(top, top + height, recipe.reduce), slice(left, left + width, recipe.reduce)


class ZoomedInput:
    """Zoom, normalise and pad on the host, for engines whose input is the zoomed image.

    A separable warp is applied to the rows, then to the columns, as a short sum of gathered and
    weighted lines: exact to float32, where OpenCV's remap rounds positions to 1/32 pixel before
    release 5.
    """

    def __init__(self, recipe: Recipe, zoom: Sampling) -> None:
        """Take the warp's tables as `zoom`; recipes with sampler `opencv` resize instead."""
        self.recipe = recipe
        norm = recipe.normalisation
        self._scale = (1 / np.array(norm.std, np.float64)).astype(np.float32)
        shift = -np.array(norm.mean, np.float64) / np.array(norm.std)
        covered = coverage(zoom, recipe.picture)
        self._shift = (shift[:, None, None] * covered).astype(np.float32)
        self._cut = cut(recipe)
        self._sample = sampler(zoom, recipe.picture)

    def __call__(self, frames: Sequence[Frame] | Frame) -> NDArray[np.float32]:
        """Convert frames (H x W x 3, source size) to B x 3 x network input, float32, normalised."""
        height, width = self.recipe.network_input
        result = np.zeros((len(frames), 3, height, width), np.float32)
        for image, frame in zip(result, frames, strict=True):
            canvas = self._resize(frame)
            if self.recipe.normalisation.order == "rgb":
                canvas = canvas[:, :, ::-1]
            for channel in range(3):
                plane = image[channel, : canvas.shape[0], : canvas.shape[1]]
                np.multiply(canvas[:, :, channel], self._scale[channel], out=plane)
                plane += self._shift[channel]
        return result

    def _resize(self, frame: Frame) -> NDArray[Any]:
        frame = frame[self._cut]
        if self.recipe.sampler == "opencv":
            import cv2  # here, so that a start without it does not wait for it

            height, width = self.recipe.canvas
            picture = np.ascontiguousarray(frame)
            return cv2.resize(picture, (width, height), interpolation=cv2.INTER_LINEAR)
        return self._sample(frame)


Sampler = Callable[[NDArray[Any]], NDArray[np.float32]]
"""Function from a picture H x W x 3 to the image that a warp samples from it, in the same units."""


def sampler(zoom: Sampling, picture: tuple[int, int]) -> Sampler:
    """Make the sampler that zooms pictures of (height, width), for both kinds of warp."""
    if isinstance(zoom, GridTable):
        return partial(_weighted_pixels, *grid_taps(zoom, picture))
    height, width = picture
    return partial(resample, rows=taps(zoom.rows, height), cols=taps(zoom.cols, width))


class Taps(NamedTuple):
    """Resample table as gathered and weighted lines."""

    lines: NDArray[np.intp]
    weights: NDArray[np.float32]


def taps(table: Table, n_in: int) -> Taps:
    """Return the indices (k, n_out) and weights (k, n_out) of the lines that a table sums up.

    k is the largest distance between the first and the last non-zero weight of an output, plus 1.
    """
    matrix = table_matrix(table, n_in)
    used = matrix != 0
    first = np.where(used.any(axis=1), used.argmax(axis=1), 0)
    last = np.where(used.any(axis=1), n_in - 1 - used[:, ::-1].argmax(axis=1), 0)
    count = int((last - first).max()) + 1
    index = np.minimum(first + np.arange(count)[:, None], n_in - 1)
    weights = np.take_along_axis(matrix.T, index, axis=0)
    # Near the end several taps fall on the last line, which must count only once.
    weights[1:][index[1:] == index[:-1]] = 0
    return Taps(index.astype(np.intp), weights.astype(np.float32))


def resample(image: NDArray[Any], rows: Taps, cols: Taps) -> NDArray[np.float32]:
    """Sample an image H x W x 3 at a separable warp: rows first, then columns."""
    return _weighted_lines(_weighted_lines(image, rows, axis=0), cols, axis=1)


def _weighted_lines(image: NDArray[Any], table: Taps, axis: int) -> NDArray[np.float32]:
    shape = (-1, 1, 1) if axis == 0 else (1, -1, 1)
    total: NDArray[np.float32] | None = None
    for lines, weight in zip(table.lines, table.weights, strict=True):
        part = image.take(lines, axis=axis).astype(np.float32, copy=False)
        part *= weight.reshape(shape)
        total = part if total is None else np.add(total, part, out=total)
    assert total is not None, "a table has at least one tap"
    return total


def _weighted_pixels(
    index: NDArray[np.int64], weights: NDArray[np.float32], image: NDArray[Any]
) -> NDArray[np.float32]:
    pixels = image.reshape(-1, image.shape[2])
    total: NDArray[np.float32] | None = None
    for numbers, weight in zip(index, weights, strict=True):
        part = pixels.take(numbers, axis=0).astype(np.float32, copy=False)
        part *= weight[..., None]
        total = part if total is None else np.add(total, part, out=total)
    assert total is not None, "there are four taps"
    return total
