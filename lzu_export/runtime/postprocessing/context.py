"""What a post-processing knows of its bundle, and what every kind of boxes does at the end."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lzu_export.runtime.choice import Choice
from lzu_export.runtime.detector import Kept
from lzu_export.runtime.postprocess import suppress
from lzu_export.runtime.postprocessing.geometry import CanvasGeometry
from lzu_export.warp.geometry import Level

Outputs = Mapping[str, NDArray[Any]]
"""One frame's outputs by name, without the batch's axis."""

Postprocessing = Callable[[Outputs], Any]
"""Function from one frame's outputs to its result."""


@dataclass(frozen=True)
class Thresholds:
    """Settings of a suppression, see `runtime.postprocess.suppress`."""

    score_threshold: float = 0.05
    iou_threshold: float | None = 0.5
    """None suppresses nothing."""
    max_detections: int = 100
    class_agnostic: bool = False


@dataclass(frozen=True)
class Context:
    """A bundle, as far as its post-processing depends on it."""

    settings: Any
    """The recipe's section `postprocess`, see `recipes.postprocessing`."""
    geometry: CanvasGeometry
    classes: tuple[str, ...]
    """Names of the classes; empty if the recipe has none."""
    levels: tuple[Level, ...]
    """Stride and size of the levels that are unzoomed."""
    thresholds: Thresholds = Thresholds()
    """The recipe's thresholds, with the changes that the user chose on opening the bundle."""
    chosen: tuple[str, ...] | None = None
    """Names of the only classes that the user wants; None for all."""

    @classmethod
    def of(cls, recipe: Any, choice: Choice) -> "Context":
        """Return the context of a recipe and the user's choice of results."""
        settings = recipe.postprocess
        thresholds = Thresholds(class_agnostic=choice.class_agnostic)
        if settings.returns == "boxes":
            thresholds = replace(thresholds, **choice.settings(recipe))
        return cls(
            settings,
            CanvasGeometry.of(recipe),
            tuple(recipe.classes),
            tuple(recipe.levels),
            thresholds,
            None if choice.classes is None else tuple(choice.classes),
        )

    @property
    def options(self) -> Mapping[str, Any]:
        """The recipe's `postprocess.options` of a custom post-processing; empty for others."""
        options: Mapping[str, Any] = getattr(self.settings, "options", {})
        return options

    def wanted(self, count: int) -> NDArray[np.bool_]:
        """Return the mask (count,) of the labels below `count` whose classes the user wants."""
        if self.chosen is None:
            return np.ones(count, bool)
        names = class_names(self.classes, count)
        return np.array([name in self.chosen for name in names], bool)

    def detections(self, boxes: ArrayLike, scores: ArrayLike, labels: ArrayLike) -> Kept:
        """Make detections of candidates: map them to the frame, suppress, and clip to the view.

        Candidates are suppressed as `runtime.postprocess.suppress` does, by the context's
        thresholds, before they are clipped. Those wholly outside of the view are dropped first, and
        so are those with infinite or undefined coordinates.

        Args:
            boxes: (n, 4) x1, y1, x2, y2 in pixels of the canvas; 0 is the first pixel's outer edge.
            scores: (n,) in 0..1.
            labels: (n,) integers, indices of classes.
        """
        frame = self.geometry.to_frame(boxes)
        inside = np.nan_to_num(self.geometry.within_view(frame))
        visible = (inside[:, 2:] > inside[:, :2]).all(axis=1)
        label = np.asarray(labels, np.int64)[visible]
        limits = self.thresholds
        kept = suppress(
            frame[visible],
            np.asarray(scores)[visible],
            label,
            score_threshold=limits.score_threshold,
            iou_threshold=1.0 if limits.iou_threshold is None else limits.iou_threshold,
            max_detections=limits.max_detections,
            class_agnostic=limits.class_agnostic,
            wanted=self.wanted(int(label.max(initial=-1)) + 1),
        )
        return Kept(self.geometry.within_view(kept[0]).astype(np.float32), kept[1], kept[2])


def class_names(classes: tuple[str, ...], count: int) -> tuple[str, ...]:
    """Return the names of classes, or of `count` classes without names, which are numbers."""
    return classes or tuple(str(number) for number in range(count))
