"""Define the task `det`: boxes on the frame."""

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from lzu_export.recipes import Recipe
from lzu_export.recipes.det import DetRecipe
from lzu_export.tasks.base import Outputs, Sums, Task

if TYPE_CHECKING:
    from lzu_export.runtime.detector import Detections, Detector
    from lzu_export.tasks.assemble import Parts
    from lzu_export.tasks.det.presenter import BoxPresenter


class Detection(Task):
    """Task of 2-D detection."""

    name: ClassVar[str] = "det"
    title: ClassVar[str] = "2-D detection, as the paper's table 1"
    recipe: ClassVar[type[Recipe]] = DetRecipe
    default_recipe: ClassVar[str | Path] = "det-demo"
    head: ClassVar[str | None] = "bbox_head.retina_cls."
    layouts: ClassVar[tuple[str, ...]] = (
        "lzu_export.evaluation.layouts.boxes:COCO_FILE",
        "lzu_export.evaluation.layouts.boxes:ARGOVERSE_HD",
        "lzu_export.evaluation.layouts.boxes:COCO_FOLDER",
    )
    demonstration: ClassVar[str | None] = "lzu_benchmarks.demo.evaluation:BOXES"

    def parts(self, recipe: DetRecipe) -> "Parts":
        """Make a RetinaNet and its decode."""
        from lzu_export.tasks.det.parts import parts

        return parts(recipe)

    @property
    def predictor(self) -> type["Detector"]:
        """Class of the detectors."""
        from lzu_export.runtime.detector import Detector

        return Detector

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

    def presenter(self, recipe: DetRecipe, folder: Path, lowest: float) -> "BoxPresenter":
        """Make the presenter that draws boxes and collects a COCO results list."""
        from lzu_export.tasks.det.presenter import BoxPresenter

        return BoxPresenter(recipe, folder, lowest)


TASK = Detection()
