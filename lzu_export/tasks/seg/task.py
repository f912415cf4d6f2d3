"""Define the task `seg`: a class for every pixel."""

from typing import TYPE_CHECKING

import numpy as np

from lzu_export.recipes.seg import SegRecipe
from lzu_export.support.limits import IGNORED
from lzu_export.tasks.base import Outputs, ShippedTask, Sums

if TYPE_CHECKING:
    from lzu_export.runtime.segmenter import Segmentation


class SemanticSegmentation(ShippedTask):
    """Task of semantic segmentation."""

    name = "seg"
    title = "Segmentation, as the paper's table 3"
    recipe = SegRecipe
    default_recipe = "seg-demo"
    head = "decode_head.conv_seg."
    layouts = (
        "lzu_export.evaluation.layouts.labels:CITYSCAPES",
        "lzu_export.evaluation.layouts.labels:CAMVID",
        "lzu_export.evaluation.layouts.labels:LABEL_FOLDER",
    )
    demonstration = "lzu_benchmarks.demo.evaluation:LABEL_MAPS"
    predictor_class = "lzu_export.runtime.segmenter:Segmenter"
    presenter_class = "lzu_export.tasks.seg.presenter:LabelPresenter"
    compared = "pixels"

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

    def training_notes(self, recipe: SegRecipe) -> dict[str, str]:
        """Return the way that logits were resized to the frame."""
        return {"upsampling": recipe.postprocess.upsampling}


TASK = SemanticSegmentation()
