"""Segmentation: frames in, class maps out."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lzu_export.recipes import Recipe
from lzu_export.recipes.schema import SegRecipe
from lzu_export.runtime.fitting import Fitting
from lzu_export.runtime.predictor import FramePredictor
from lzu_export.support.limits import IGNORED


@dataclass(frozen=True)
class Segmentation:
    """The class of every pixel of one frame."""

    labels: NDArray[np.uint8]
    """(H, W) indices into `classes`; `IGNORED` (255) outside the recipe's crop."""
    classes: tuple[str, ...]
    logits: NDArray[np.float32] | None = None
    """(classes, height, width) of the recipe's view, where the bundle was exported with them."""


class Segmenter(FramePredictor[Segmentation]):
    """Classifies every pixel of frames."""

    recipe: SegRecipe

    def to_prediction(self, kept: dict[str, NDArray[Any]], size: tuple[int, ...]) -> Segmentation:
        """Return the class map of one frame of `size`; a resized frame gets the nearest labels."""
        labels = placed_labels(kept["labels"], self.recipe, self.place_of(size), size)
        return Segmentation(labels, self.recipe.classes, kept.get("logits"))


def placed_labels(
    of_view: NDArray[np.uint8], recipe: Recipe, place: Fitting, size: tuple[int, ...]
) -> NDArray[np.uint8]:
    """Return a frame's label map from that of the view; a resized frame gets the nearest labels.

    Args:
        of_view: (height, width) labels of the recipe's view.
        recipe: recipe with the view's place in the source.
        place: place of the frame in the source.
        size: (height, width) of the frame.
    """
    (top, left), (height, width) = recipe.corner, recipe.view
    labels = np.full(recipe.source, IGNORED, np.uint8)
    labels[top : top + height, left : left + width] = of_view
    (top, left), (height, width) = place.offset, place.size
    labels = labels[top : top + height, left : left + width]
    if labels.shape != size:
        nearest = cv2.resize(labels, (size[1], size[0]), interpolation=cv2.INTER_NEAREST_EXACT)
        labels = np.asarray(nearest, np.uint8)
    return labels
