"""What the recipes of detection share: candidates, and warps by boxes."""

from abc import abstractmethod
from typing import ClassVar

from pydantic import Field, SerializeAsAny

from lzu_export.recipes.recipe import Recipe
from lzu_export.recipes.sections import Section, WarpSettings
from lzu_export.support.limits import MAX_TOPK


class Feedback(Section):
    """Which detections of a frame set the next frame's zoom."""

    score_threshold: float = Field(0.0, ge=0, lt=1)
    """Lowest score of a detection that is fed back. All are above `postprocess.score_threshold`
    anyway."""
    most: int | None = Field(None, gt=0)
    """Largest number of detections that are fed back, best first; all that fit by default."""


class BoxWarpSettings(WarpSettings):
    """A warp whose saliency is the density of boxes."""

    made_from: ClassVar[str | None] = "the COCO annotations of the training boxes"

    amplitude: float = Field(1.0, gt=0)
    """Mass of a box's Gaussian in the density, against a constant floor."""
    bandwidth: float = Field(64.0, gt=0)
    """Bandwidth in pixels: the variance of a box's Gaussian along an axis is this times the box's
    side."""
    boxes: int = Field(100, gt=0)
    """Largest number of the previous frame's boxes that an adaptive engine takes."""
    min_side: float = Field(1.0, gt=0)
    """Sides of boxes shorter than this count as this many pixels, in adaptive warps."""
    feedback: Feedback = Field(default_factory=Feedback)

    @property
    def most_fed(self) -> int:
        """Largest number of a frame's boxes that are fed back."""
        return min(self.boxes, self.feedback.most or self.boxes)


class CandidateSettings(Section):
    """From raw head outputs to candidates of detections."""

    candidates_per_level: int = Field(1000, gt=0, le=MAX_TOPK)
    """Largest number of candidates that the graph takes from each level."""
    score_threshold: float = Field(0.05, ge=0, lt=1)
    """Lowest score of a detection, exclusive."""


class BoxRecipe(Recipe):
    """Detection of boxes: the graph takes the best entries of each level as candidates."""

    warp: BoxWarpSettings = Field(default_factory=BoxWarpSettings)
    postprocess: SerializeAsAny[CandidateSettings]

    @property
    @abstractmethod
    def entries(self) -> list[int]:
        """Number of entries of each level, from which candidates are taken."""

    @property
    def candidates(self) -> list[int]:
        """Number of candidates that the decode keeps from each level."""
        most = self.postprocess.candidates_per_level
        return [min(most, entries) for entries in self.entries]
