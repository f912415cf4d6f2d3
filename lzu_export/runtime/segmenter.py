"""Segmentation: frames in, class maps out."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lzu_export.inputs.frame import Frame
from lzu_export.recipes import Recipe
from lzu_export.recipes.seg import SegRecipe
from lzu_export.runtime.fitting import Fitting
from lzu_export.runtime.predictor import FramePredictor
from lzu_export.support.limits import IGNORED


@dataclass(frozen=True)
class Segmentation:
    """The class of every pixel of one frame."""

    labels: NDArray[np.uint8]
    """(H, W) indices into `classes`; `IGNORED` (255) outside the recipe's crop."""
    classes: tuple[str, ...]
    """Names of the classes."""
    logits: NDArray[np.float32] | None = None
    """(classes, height, width) of the recipe's view, where the bundle was exported with them."""

    def draw(self, frame: Frame, *, opacity: float = 0.5) -> Frame:
        """Draw the classes' colours over the frame, and below it a legend.

        Args:
            frame: (H, W, 3) uint8, BGR; the frame that was segmented.
            opacity: share of the classes' colours, 0 to 1.

        Returns:
            (H + legend, W, 3) uint8, BGR.

        Raises:
            LzuError: the frame has another size, or the opacity is outside of 0 to 1.
        """
        from lzu_export.runtime.draw_labels import draw_labels

        return draw_labels(frame, self.labels, self.classes, opacity=opacity)


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
        import cv2  # here, so that a start without resizing does not wait for it

        nearest = cv2.resize(labels, (size[1], size[0]), interpolation=cv2.INTER_NEAREST_EXACT)
        labels = np.asarray(nearest, np.uint8)
    return labels
