"""Recipe keys of warps by boxes, for detection."""

from typing import ClassVar

from pydantic import Field

from lzu_export.recipes.sections import Section, WarpSettings


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
    feedback: Feedback = Feedback()

    @property
    def most_fed(self) -> int:
        """Largest number of a frame's boxes that are fed back."""
        return min(self.boxes, self.feedback.most or self.boxes)
