"""Merge the results of several views of one frame: windows beside the view of the warp."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lzu_export.recipes.generic import GenericRecipe
from lzu_export.recipes.sections import Window
from lzu_export.runtime.choice import Choice
from lzu_export.runtime.detector import Kept
from lzu_export.runtime.postprocess import suppress
from lzu_export.runtime.postprocessing.context import Context, Outputs
from lzu_export.runtime.postprocessing.geometry import CanvasGeometry
from lzu_export.runtime.postprocessing.make import make_view
from lzu_export.warp.geometry import canvas_to_source
from lzu_export.warp.magnification import density
from lzu_export.warp.warp import Knots

INNER_EDGE = 2.0
"""Distance in pixels of the frame from an inner edge of a window within which a box counts as cut
by it, at least."""
INNER_SHARE = 0.1
"""The same distance in sides of the box: the larger a box, the less exactly its ends are found."""


class Views:
    """Post-processing of a frame's views, of which the first is that of the warp.

    Boxes of all views are suppressed together, after boxes of a window that its inner edges cut.
    Label maps take each pixel from the view that samples it most densely.
    """

    def __init__(self, recipe: GenericRecipe, choice: Choice, knots: Knots) -> None:
        """Make each view's post-processing.

        Args:
            recipe: recipe with `views`.
            choice: the user's settings in place of the recipe's.
            knots: knots of the warp, by name.

        Raises:
            LzuError: the settings do not fit the recipe's levels.
        """
        self._context = Context.of(recipe, choice)
        self._windows = recipe.views
        places = [self._context.geometry, *(window_geometry(recipe, w) for w in recipe.views)]
        self._views = [
            make_view(replace(self._context, geometry=each), recipe.postprocess.kind)
            for each in places
        ]
        self._finest = _finest(recipe, knots) if recipe.postprocess.returns == "labels" else None

    def __call__(self, views: Sequence[Outputs]) -> Any:
        """Return the result of one frame from the outputs of its views.

        Returns:
            `Kept` boxes in pixels of the source; a label map (height, width) of the view; or raw
            outputs by name, with an axis of views in front.
        """
        returns = self._context.settings.returns
        if returns == "outputs":
            return {name: np.stack([each[name] for each in views]) for name in views[0]}
        found = [make(outputs) for make, outputs in zip(self._views, views, strict=True)]
        return self._boxes(found) if returns == "boxes" else self._labels(found)

    def _boxes(self, found: Sequence[Kept]) -> Kept:
        """Suppress the boxes of all views together."""
        limits = self._context.thresholds
        return merge_boxes(
            found,
            (None, *self._windows),
            self._context.geometry.source,
            score_threshold=limits.score_threshold,
            iou_threshold=1.0 if limits.iou_threshold is None else limits.iou_threshold,
            max_detections=limits.max_detections,
            class_agnostic=limits.class_agnostic,
        )

    def _labels(self, found: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
        """Take each pixel's label from its finest view."""
        assert self._finest is not None, "made for label maps"
        labels = found[0].copy()
        (top, left) = self._context.geometry.corner
        for number, (each, window) in enumerate(zip(found[1:], self._windows, strict=True), 1):
            rows = slice(window.y - top, window.y - top + window.height)
            columns = slice(window.x - left, window.x - left + window.width)
            chosen = self._finest[rows, columns] == number
            labels[rows, columns][chosen] = each[chosen]
        return labels


def merge_boxes(
    found: Sequence[Kept],
    windows: Sequence[Window | None],
    source: tuple[int, int],
    **limits: Any,
) -> Kept:
    """Suppress the boxes of several views of a frame together, after those that inner edges cut.

    Args:
        found: detections of each view, in pixels of the frame.
        windows: window that each view shows; None is the whole frame.
        source: (height, width) of the frame.
        limits: keyword arguments of `suppress`.
    """
    whole = []
    for kept, window in zip(found, windows, strict=True):
        inside = np.ones(len(kept.boxes), bool)
        if window is not None:
            inside = ~cut_boxes(kept.boxes, window, source)
        whole.append(Kept(kept.boxes[inside], kept.scores[inside], kept.labels[inside]))
    boxes, scores, labels = (np.concatenate([each[i] for each in whole]) for i in range(3))
    return Kept(*suppress(boxes, scores, labels, **limits))


def window_geometry(recipe: GenericRecipe, window: Window) -> CanvasGeometry:
    """Return how the canvas of a window shows the frame."""
    size = (window.height, window.width)
    return CanvasGeometry(
        canvas=recipe.canvas,
        network_input=recipe.network_input,
        step=canvas_to_source(recipe.canvas, size),
        corner=(window.y, window.x),
        view=size,
        source=recipe.source,
    )


def cut_boxes(boxes: NDArray[Any], window: Window, source: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the mask (n,) of boxes that an inner edge of a window cuts.

    An edge is inner if the frame continues beyond it.

    Args:
        boxes: (n, 4) x1, y1, x2, y2 in pixels of the frame.
        window: the window.
        source: (height, width) of the frame.
    """
    ends = (window.x + window.width, window.y + window.height)
    cut = np.zeros(len(boxes), bool)
    for axis, (first, last, whole) in enumerate(
        zip((window.x, window.y), ends, source[::-1], strict=True)
    ):
        starts, stops = boxes[:, axis], boxes[:, axis + 2]
        near = np.maximum(INNER_EDGE, INNER_SHARE * (stops - starts))
        if first > 0:
            cut |= starts < first + near
        if last < whole:
            cut |= stops > last - near
    return cut


def _finest(recipe: GenericRecipe, knots: Knots) -> NDArray[np.uint8]:
    """Return the number of the view that samples each pixel of the recipe's view most densely."""
    best = density(knots, recipe.view, recipe.canvas)
    number = np.zeros(recipe.view, np.uint8)
    top, left = recipe.corner
    for i, window in enumerate(recipe.views, 1):
        area = recipe.canvas[0] * recipe.canvas[1] / (window.height * window.width)
        rows = slice(window.y - top, window.y - top + window.height)
        columns = slice(window.x - left, window.x - left + window.width)
        finer = best[rows, columns] < area
        number[rows, columns][finer] = i
        best[rows, columns][finer] = area
    return number


def split_views(
    outputs: Mapping[str, NDArray[Any]], frame: int, frames: int, views: int
) -> list[dict[str, NDArray[Any]]]:
    """Return the outputs of one frame's views from those of a batch, view after view."""
    return [
        {name: value[view * frames + frame] for name, value in outputs.items()}
        for view in range(views)
    ]
