"""Define the task `seg`: a class for every pixel."""

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from lzu_export.recipes import Recipe
from lzu_export.recipes.seg import SegRecipe
from lzu_export.support.limits import IGNORED
from lzu_export.tasks.base import Outputs, Sums, Task

if TYPE_CHECKING:
    from lzu_export.runtime.segmenter import Segmentation, Segmenter
    from lzu_export.tasks.assemble import Parts
    from lzu_export.tasks.seg.presenter import LabelPresenter


class SemanticSegmentation(Task):
    """Task of semantic segmentation."""

    name: ClassVar[str] = "seg"
    title: ClassVar[str] = "Segmentation, as the paper's table 3"
    recipe: ClassVar[type[Recipe]] = SegRecipe
    default_recipe: ClassVar[str | Path] = "seg-demo"
    head: ClassVar[str | None] = "decode_head.conv_seg."
    compared: ClassVar[Literal["scores", "pixels"]] = "pixels"
    layouts: ClassVar[tuple[str, ...]] = (
        "lzu_export.evaluation.layouts.labels:CITYSCAPES",
        "lzu_export.evaluation.layouts.labels:CAMVID",
        "lzu_export.evaluation.layouts.labels:LABEL_FOLDER",
    )
    demonstration: ClassVar[str | None] = "lzu_benchmarks.demo.evaluation:LABEL_MAPS"

    def parts(self, recipe: SegRecipe) -> "Parts":
        """Make a PSPNet and its decode."""
        from lzu_export.tasks.seg.parts import parts

        return parts(recipe)

    @property
    def predictor(self) -> type["Segmenter"]:
        """Class of the segmenters."""
        from lzu_export.runtime.segmenter import Segmenter

        return Segmenter

    def deviation(self, recipe: SegRecipe, value: Outputs, reference: Outputs) -> dict[str, float]:
        """Compare labels by the logit change that flips them, see `compare.choice_difference`."""
        from lzu_export.runtime.compare import choice_difference, relative_difference

        found = {
            "labels": choice_difference(value["labels"], reference["labels"], reference["margins"])
        }
        if recipe.postprocess.logits:
            found["logits"] = relative_difference(value["logits"], reference["logits"])
        return found

    def agreement(self, mine: "Segmentation", theirs: "Segmentation") -> Sums:
        """Count the pixels with the reference's class; pixels that it ignores are left out."""
        known = theirs.labels != IGNORED
        equal = int(np.count_nonzero((mine.labels == theirs.labels) & known))
        pixels = int(np.count_nonzero(known))
        return Sums(equal, pixels, pixels, pixels)

    def presenter(self, recipe: SegRecipe, folder: Path, lowest: float) -> "LabelPresenter":
        """Make the presenter that draws classes and writes label maps."""
        from lzu_export.tasks.seg.presenter import LabelPresenter

        return LabelPresenter(recipe, folder, lowest)

    def training_notes(self, recipe: SegRecipe) -> dict[str, str]:
        """Return the way that logits were resized to the frame."""
        return {"upsampling": recipe.postprocess.upsampling}


TASK = SemanticSegmentation()
