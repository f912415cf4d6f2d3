"""Define the task `det3d`: boxes in the camera's space."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lzu_export.recipes import Recipe
from lzu_export.recipes.det3d import Det3dRecipe
from lzu_export.support.session import TensorSpec
from lzu_export.tasks.base import Outputs, ShippedTask, Sums

if TYPE_CHECKING:
    from lzu_export.runtime.postprocess3d import Detections3d

NEAR = 2.0
"""Largest distance in metres on the ground between the centres of two boxes of one object."""


class Detection3d(ShippedTask):
    """Task of monocular 3-D detection."""

    name = "det3d"
    title = "3-D detection, as the paper's table 5"
    recipe = Det3dRecipe
    default_recipe = "det3d-demo"
    head = "bbox_head.conv_dir_cls."
    layouts = ("lzu_export.evaluation.layouts.nuscenes:NUSCENES_FOLDER",)
    demonstration = "lzu_benchmarks.demo.evaluation:SPACE"
    predictor_class = "lzu_export.runtime.detector3d:Detector3d"
    presenter_class = "lzu_export.tasks.det3d.presenter:SpacePresenter"

    def deviation(
        self, recipe: Det3dRecipe, value: Outputs, reference: Outputs
    ) -> dict[str, float]:
        """Compare candidates that may become detections, see `det3d.deviation.difference_3d`."""
        from lzu_export.tasks.candidates import cuts, floor
        from lzu_export.tasks.det3d.deviation import difference_3d

        least = floor(recipe, reference["scores"])
        return difference_3d(value, reference, cuts(recipe), floor=least)

    def agreement(self, mine: "Detections3d", theirs: "Detections3d") -> Sums:
        """Compare partners: boxes of one class whose centres are near on the ground."""
        from lzu_export.tasks.partners import sums_of_scores

        # x right and z forward span the ground
        ours, others = (np.asarray(each.boxes, np.float64)[:, [0, 2]] for each in (theirs, mine))
        gaps = ours[:, None] - others[None]
        return sums_of_scores(mine, theirs, -np.hypot(gaps[..., 0], gaps[..., 1]), -NEAR)

    def other_inputs(self, recipe: Recipe) -> tuple[TensorSpec, ...]:
        """Return the specs of the camera's matrices."""
        from lzu_export.runtime.detector3d import CAMERA_INPUTS

        return tuple(TensorSpec(name, "float32", (recipe.batch, 4, 4)) for name in CAMERA_INPUTS)

    def made_up_camera(
        self, source: tuple[int, int], focal: float = 1.0
    ) -> NDArray[np.float64] | None:
        """Make a camera whose axis goes through the middle of the frame."""
        height, width = source
        length = focal * width
        return np.array([[length, 0, width / 2], [0, length, height / 2], [0, 0, 1]])


TASK = Detection3d()
