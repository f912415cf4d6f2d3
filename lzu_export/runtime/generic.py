"""Any network: frames in; raw outputs, boxes, label maps or a result of the user's own out."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lzu_export.inputs.pixel_formats import PixelFormat
from lzu_export.recipes.generic import GenericRecipe
from lzu_export.runtime.choice import Choice
from lzu_export.runtime.detector import Detections, Kept, placed_detections
from lzu_export.runtime.fitting import Fit
from lzu_export.runtime.postprocessing.context import class_names
from lzu_export.runtime.postprocessing.custom import Function
from lzu_export.runtime.postprocessing.make import make_postprocess
from lzu_export.runtime.postprocessing.views import Views, split_views
from lzu_export.runtime.predictor import KNOTS, NO_CHOICE, FramePredictor
from lzu_export.runtime.segmenter import Segmentation, placed_labels
from lzu_export.support.session import Session


class GenericPredictor(FramePredictor[Any]):
    """Runs a network of a user's own on frames.

    A prediction is the raw outputs by name without the batch's axis, `Detections`, a
    `Segmentation`, or what the post-processing returns.
    """

    recipe: GenericRecipe

    def __init__(
        self,
        recipe: GenericRecipe,
        session: Session,
        warp: Mapping[str, NDArray[Any]],
        *,
        fit: Fit = "exact",
        choice: Choice = NO_CHOICE,
        pixel_format: PixelFormat = "bgr",
    ) -> None:
        """Use `bundle.load` to make one from a bundle."""
        super().__init__(recipe, session, warp, fit=fit, choice=choice, pixel_format=pixel_format)
        self._postprocess = make_postprocess(recipe, choice)
        self._views: Views | None = None
        if recipe.views:
            knots = {name: warp[name] for name in KNOTS if name in warp}
            self._views = Views(recipe, choice, knots)

    def use(self, function: Function) -> None:
        """Replace the recipe's post-processing by a function of one frame's outputs and a context.

        Raises:
            LzuError: it cannot be called.
        """
        self._postprocess = make_postprocess(self.recipe, self.choice, function)
        self._views = None

    def suppress_all(self, outputs: Mapping[str, NDArray[Any]], frames: int) -> list[Any]:
        """Apply the post-processing to each frame's outputs, of all its views together.

        A function of the user's own takes the outputs of several views with an axis in front.
        """
        views = 1 + len(self.recipe.views)
        if views == 1:
            return super().suppress_all(outputs, frames)
        self._keep_knots(outputs)
        found = []
        for frame in range(frames):
            own = {name: value for name, value in outputs.items() if name not in KNOTS}
            each = split_views(own, frame, self.recipe.batch, views)
            if self._views is not None:
                found.append(self._views(each))
            else:
                stacked = {name: np.stack([one[name] for one in each]) for name in each[0]}
                found.append(self._postprocess(stacked))
        return found

    def suppress(self, outputs: dict[str, NDArray[Any]]) -> Any:
        """Apply the post-processing to one frame's outputs, without a learned warp's knots."""
        return self._postprocess({k: each for k, each in outputs.items() if k not in KNOTS})

    def to_prediction(self, kept: Any, size: tuple[int, ...]) -> Any:
        """Return detections and label maps in pixels of the frame of (height, width) `size`."""
        if isinstance(kept, Kept):
            return self._detections(kept, size)
        if self.recipe.postprocess.returns == "labels" and isinstance(kept, np.ndarray):
            labels = placed_labels(kept, self.recipe, self.place_of(size), size)
            return Segmentation(labels, self.recipe.classes)
        return kept

    def _detections(self, kept: Kept, size: tuple[int, ...]) -> Detections:
        names = class_names(self.recipe.classes, int(kept.labels.max(initial=-1)) + 1)
        place = self.place_of(size)
        return placed_detections(kept, place, size, names, clip=self.fit == "pad")
