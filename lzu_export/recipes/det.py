"""Recipes of 2-D detection."""

from typing import ClassVar, Literal

from pydantic import Field

from lzu_export.recipes.boxes import BoxRecipe, CandidateSettings
from lzu_export.recipes.networks import RetinaNetConfig


class DetPostprocess(CandidateSettings):
    """From raw head outputs to detections."""

    iou_threshold: float = Field(0.5, gt=0, le=1)
    """Highest overlap (IoU) of two detections of a class, inclusive."""
    max_detections: int = Field(100, gt=0)
    """Largest number of detections of a frame."""


class DetRecipe(BoxRecipe):
    """2-D detection: RetinaNet."""

    zooms_by_boxes: ClassVar[bool] = True

    task: Literal["det"]
    model: RetinaNetConfig
    postprocess: DetPostprocess = Field(default_factory=DetPostprocess)

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
