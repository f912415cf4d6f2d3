"""Segmentation: frames in, class maps out."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lzu_export.recipes.schema import SegRecipe
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
        (top, left), (height, width) = self.recipe.corner, self.recipe.view
        labels = np.full(self.recipe.source, IGNORED, np.uint8)
        labels[top : top + height, left : left + width] = kept["labels"]
        place = self.place_of(size)
        (top, left), (height, width) = place.offset, place.size
        labels = labels[top : top + height, left : left + width]
        if labels.shape != size:
            nearest = cv2.resize(labels, (size[1], size[0]), interpolation=cv2.INTER_NEAREST_EXACT)
            labels = np.asarray(nearest, np.uint8)
        return Segmentation(labels, self.recipe.classes, kept.get("logits"))
