"""Define the task `det`: boxes on the frame."""

from typing import TYPE_CHECKING

import numpy as np

from lzu_export.recipes.det import DetRecipe
from lzu_export.tasks.base import Outputs, ShippedTask, Sums

if TYPE_CHECKING:
    from lzu_export.runtime.detector import Detections


class Detection(ShippedTask):
    """Task of 2-D detection."""

    name = "det"
    title = "2-D detection, as the paper's table 1"
    recipe = DetRecipe
    default_recipe = "det-demo"
    head = "bbox_head.retina_cls."
    layouts = (
        "lzu_export.evaluation.layouts.boxes:COCO_FILE",
        "lzu_export.evaluation.layouts.boxes:ARGOVERSE_HD",
        "lzu_export.evaluation.layouts.boxes:COCO_FOLDER",
    )
    demonstration = "lzu_benchmarks.demo.evaluation:BOXES"
    predictor_class = "lzu_export.runtime.detector:Detector"
    presenter_class = "lzu_export.tasks.det.presenter:BoxPresenter"

    def deviation(self, recipe: DetRecipe, value: Outputs, reference: Outputs) -> dict[str, float]:
        """Compare candidates that may become detections, see
        `det.deviation.candidate_difference`.
        """
        from lzu_export.tasks.candidates import cuts, floor
        from lzu_export.tasks.det.deviation import candidate_difference

        least = floor(recipe, reference["scores"])
        return candidate_difference(value, reference, cuts(recipe), floor=least)

    def agreement(self, mine: "Detections", theirs: "Detections") -> Sums:
        """Compare partners: boxes of one class that overlap by half or more."""
        from lzu_export.tasks.partners import OVERLAP, overlaps, sums_of_scores

        ours, others = (np.asarray(each.boxes, np.float64) for each in (theirs, mine))
        return sums_of_scores(mine, theirs, overlaps(ours, others), OVERLAP)


TASK = Detection()
