"""A warp by boxes, as the recipes of detection have it."""

from pydantic import Field

from lzu_export.recipes.sections import Section, WarpSettings


class Feedback(Section):
    """Which detections of a frame say where to look in the next one."""

    score_threshold: float = Field(0.0, ge=0, lt=1)
    """Lowest score that is fed back; detections are above postprocess.score_threshold anyway."""
    most: int | None = Field(None, gt=0)
    """At most so many, the best; all that fit by default."""


class BoxWarpSettings(WarpSettings):
    """A warp whose saliency is the density of boxes."""

    amplitude: float = Field(1.0, gt=0)
    bandwidth: float = Field(64.0, gt=0)
    boxes: int = Field(100, gt=0)
    """Of adaptive warps: most boxes of the previous frame that an engine takes."""
    min_side: float = Field(1.0, gt=0)
    """Of adaptive warps: sides of smaller boxes count as this many pixels."""
    feedback: Feedback = Feedback()

    @property
    def most_fed(self) -> int:
        """Most boxes of a frame that are fed back."""
        return min(self.boxes, self.feedback.most or self.boxes)
