"""Compute knots from the training boxes, whose kernel density is the saliency."""

from pathlib import Path

from lzu_export.errors import LzuError
from lzu_export.inputs.training import training_boxes
from lzu_export.inputs.training_boxes import read_training_boxes
from lzu_export.recipes import Recipe
from lzu_export.recipes.schema import BoxWarpSettings
from lzu_export.tasks.warps.sources import KnotSource, Prepared
from lzu_export.warp.box_saliency import box_saliency, boxes_in_view
from lzu_export.warp.saliency import Array


class TrainingBoxes(KnotSource):
    """Source that takes the kernel density of boxes from COCO, Argoverse-HD or nuScenes."""

    key = "warp.saliency"
    tuned = ("bandwidth",)

    def applies(self, recipe: Recipe) -> bool:
        """Return whether the path holds annotations or is a folder, and the task has boxes."""
        path = recipe.warp.saliency
        if not isinstance(recipe.warp, BoxWarpSettings) or path is None:
            return False
        return training_boxes(path) is not None or path.is_dir()

    def saliency(self, recipe: Recipe) -> Array:
        """Read the boxes and sum their kernels.

        Raises:
            LzuError: annotations cannot be used, or hold no box.
        """
        return self.prepared(recipe).saliency(recipe)

    def prepared(self, recipe: Recipe) -> Prepared:
        """Read the boxes, see `training_boxes_of`."""
        assert recipe.warp.saliency is not None, "asked by `applies`"
        boxes = training_boxes_of(recipe.warp.saliency, recipe)
        return Prepared(lambda changed: recipe_box_saliency(changed, boxes), boxes)


SOURCE = TrainingBoxes()


def recipe_box_saliency(recipe: Recipe, boxes: Array) -> Array:
    """Return the density (h, w) of boxes (n, 4) in pixels of the view, by the recipe's settings."""
    settings = recipe.warp
    assert isinstance(settings, BoxWarpSettings), "the task has boxes"
    return box_saliency(
        boxes,
        recipe.view,
        settings.lattice,
        amplitude=settings.amplitude,
        bandwidth=settings.bandwidth,
    )


def training_boxes_of(path: Path, recipe: Recipe) -> Array:
    """Read boxes (n, 4) of the recipe's classes, x1, y1, x2, y2 in pixels of its view.

    Crowds and boxes outside of the view are left out. Each box has the same mass, so a box outside
    would draw the zoom to the nearest edge.

    Raises:
        LzuError: annotations cannot be used, or a folder holds none.
    """
    boxes = read_training_boxes(path, recipe.source, recipe.classes)
    boxes = boxes_in_view(boxes, recipe.corner, recipe.view)
    if not len(boxes):
        seen = "" if recipe.crop is None else " within the recipe's crop"
        raise LzuError(f"saliency {path} holds no boxes{seen}; give the training annotations")
    return boxes
