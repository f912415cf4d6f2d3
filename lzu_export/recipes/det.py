"""Recipes of 2-D detection."""

from typing import ClassVar, Literal

from pydantic import Field

from lzu_export.recipes.boxes import BoxWarpSettings
from lzu_export.recipes.networks import RetinaNetConfig
from lzu_export.recipes.recipe import Recipe
from lzu_export.recipes.sections import Section
from lzu_export.support.limits import MAX_TOPK


class DetPostprocess(Section):
    """From raw head outputs to detections."""

    candidates_per_level: int = Field(1000, gt=0, le=MAX_TOPK)
    """Largest number of candidates that the graph takes from each level."""
    score_threshold: float = Field(0.05, ge=0, lt=1)
    """Lowest score of a detection, exclusive."""
    iou_threshold: float = Field(0.5, gt=0, le=1)
    """Highest overlap (IoU) of two detections of a class, inclusive."""
    max_detections: int = Field(100, gt=0)
    """Largest number of detections of a frame."""


class DetRecipe(Recipe):
    """2-D detection: RetinaNet."""

    zooms_by_boxes: ClassVar[bool] = True

    task: Literal["det"]
    warp: BoxWarpSettings = BoxWarpSettings()
    model: RetinaNetConfig
    postprocess: DetPostprocess = DetPostprocess()

    @property
    def candidates(self) -> list[int]:
        """Number of candidates that the decode keeps from each level."""
        most = self.postprocess.candidates_per_level
        return [min(most, entries) for entries in self.entries]

    @property
    def entries(self) -> list[int]:
        """Number of (cell, anchor, class) entries of each level, from which candidates are
        taken.
        """
        per_cell = self.model.per_cell * self.model.num_classes
        return [level.size[0] * level.size[1] * per_cell for level in self.levels]

    @property
    def most_detections(self) -> int:
        """Largest number of detections per frame: a candidate has one class."""
        return sum(self.candidates)
