"""Recipes of semantic segmentation."""

from typing import ClassVar, Literal

from pydantic import Field

from lzu_export.recipes.networks import PSPNetConfig
from lzu_export.recipes.recipe import Recipe
from lzu_export.recipes.sections import Section, WarpSettings


class LabelWarpSettings(WarpSettings):
    """A warp whose saliency is high at the boundaries between labels."""

    made_from: ClassVar[str | None] = "the folder of the training label maps"

    boundary: float = Field(1.0, gt=0)
    """Saliency of pixels at a boundary, if it is made from label maps."""
    background: float = Field(0.1, gt=0)
    """Saliency of all other pixels, if it is made from label maps."""
    unzoom_scale: int = Field(1, ge=1, le=8)
    """Cells of the unzoomed map per cell of the level, on each axis. The zoom brings in detail
    that a grid of the level's own size cannot hold where the warp magnifies. The uniform variant is
    then upsampled alike, so that both heads work at one resolution."""


class SegPostprocess(Section):
    """From logits to a class map at the source's resolution."""

    upsampling: Literal["half-pixel", "in-phase"] = "half-pixel"
    """How the cells of the logits lie on the canvas while they are resized: edge on edge, as
    mmseg's align_corners=False (`half-pixel`), or cell i on pixel stride * i, as the `consistent`
    geometry has it (`in-phase`). Take the one of training."""
    logits: bool = False
    """Whether the engine also returns the resized logits."""


class SegRecipe(Recipe):
    """Semantic segmentation: PSPNet."""

    task: Literal["seg"]
    warp: LabelWarpSettings = Field(default_factory=LabelWarpSettings)
    model: PSPNetConfig
    postprocess: SegPostprocess = Field(default_factory=SegPostprocess)

    @property
    def unzoom_scale(self) -> int:
        """Number of cells of the unzoomed map per cell of its level, see `LabelWarpSettings`."""
        return self.warp.unzoom_scale
