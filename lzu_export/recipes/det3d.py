"""Recipes of monocular 3-D detection."""

from typing import Literal

from pydantic import Field, model_validator

from lzu_export.recipes.boxes import BoxRecipe, CandidateSettings
from lzu_export.recipes.networks import Fcos3dConfig
from lzu_export.recipes.sections import check_distinct


class Det3dPostprocess(CandidateSettings):
    """From raw head outputs to boxes in the camera's frame, and the merge of a rig's cameras."""

    iou_threshold: float = Field(0.8, gt=0, le=1)
    """Highest overlap (IoU seen from above) of two detections of a class, inclusive."""
    max_detections: int = Field(200, gt=0)
    """Largest number of detections of a frame."""
    rig_score_threshold: float = Field(0.01, ge=0, lt=1)
    """Lowest score when the cameras of a rig are merged, exclusive."""
    rig_iou_threshold: float = Field(0.05, gt=0, le=1)
    """Highest overlap (IoU seen from above) when the cameras of a rig are merged, inclusive."""
    rig_max_detections: int = Field(500, gt=0)
    """Largest number of detections of a rig."""


class Det3dRecipe(BoxRecipe):
    """Monocular 3-D detection: FCOS3D."""

    task: Literal["det3d"]
    model: Fcos3dConfig
    postprocess: Det3dPostprocess = Field(default_factory=Det3dPostprocess)
    attributes: tuple[str, ...] = ()
    """Names of the model's attributes. Numbers stand for attributes without a name."""

    @model_validator(mode="after")
    def _named(self) -> "Det3dRecipe":
        check_distinct("attributes", self.attributes)
        if self.attributes and len(self.attributes) != self.model.num_attributes:
            raise ValueError(
                f"attributes lists {len(self.attributes)} names but model.num_attributes is "
                f"{self.model.num_attributes}; make them equal, or leave the names out"
            )
        return self

    @property
    def entries(self) -> list[int]:
        """Number of cells of each level, from which candidates are taken."""
        return [level.size[0] * level.size[1] for level in self.levels]

    @property
    def most_detections(self) -> int:
        """Largest number of detections per frame: a candidate has a score for each class."""
        return sum(self.candidates) * len(self.classes)
