"""Compute knots from the training boxes, whose kernel density is the saliency."""

import logging
import math
from pathlib import Path

import numpy as np

from lzu_export.errors import LzuError
from lzu_export.inputs.coco import CocoData, check_frame_size, read_coco
from lzu_export.inputs.images import read_image
from lzu_export.inputs.nuscenes import is_nuscenes
from lzu_export.inputs.nuscenes import training_boxes as nuscenes_boxes
from lzu_export.inputs.training import training_boxes
from lzu_export.recipes import Recipe
from lzu_export.recipes.schema import BoxWarpSettings
from lzu_export.tasks.warps.sources import KnotSource
from lzu_export.warp.box_saliency import box_saliency
from lzu_export.warp.saliency import Array

log = logging.getLogger(__name__)

MANY_BOXES, QUARTER = 50, 0.52
"""Number of boxes of which at least one should reach beyond this share of the frame; otherwise
their scale may be wrong."""
FRAMES_TRIED = 16
"""Number of annotated images whose size is checked, if the files exist."""


class TrainingBoxes(KnotSource):
    """Source that takes the kernel density of boxes from COCO, Argoverse-HD or nuScenes."""

    key = "warp.saliency"

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
        settings = recipe.warp
        assert isinstance(settings, BoxWarpSettings), "asked by `applies`"
        assert settings.saliency is not None, "asked by `applies`"
        return box_saliency(
            _training_boxes(settings.saliency, recipe),
            recipe.view,
            settings.lattice,
            amplitude=settings.amplitude,
            bandwidth=settings.bandwidth,
        )


SOURCE = TrainingBoxes()


def _training_boxes(path: Path, recipe: Recipe) -> Array:
    """Read boxes (n, 4) of the recipe's classes, x1, y1, x2, y2 in pixels of its view.

    Crowds and boxes outside of the view are left out. Each box has the same mass, so a box outside
    would draw the zoom to the nearest edge.

    Raises:
        LzuError: annotations cannot be used, or a folder holds none.
    """
    annotations = training_boxes(path)
    if annotations is not None:
        boxes = _coco_boxes(annotations, recipe)
    elif is_nuscenes(path):
        found = nuscenes_boxes(path, recipe.classes, f"the saliency {path}")
        steps = ((recipe.source[0] / size[0], recipe.source[1] / size[1], b) for size, b in found)
        boxes = np.concatenate([b * [across, down, across, down] for down, across, b in steps])
    else:
        raise LzuError(
            f"saliency {path} is a folder without training boxes; give COCO annotations (.json), "
            "the folder of Argoverse-HD or nuScenes, or a map (.npy)"
        )
    top, left = recipe.corner
    height, width = recipe.view
    boxes = boxes - [left, top, left, top]
    boxes = boxes[((boxes[:, :2] < [width, height]) & (boxes[:, 2:] > 0)).all(axis=1)]
    if not len(boxes):
        seen = "" if recipe.crop is None else " within the recipe's crop"
        raise LzuError(f"saliency {path} holds no boxes{seen}; give the training annotations")
    return np.asarray(boxes)


def _coco_boxes(path: Path, recipe: Recipe) -> Array:
    """Read boxes (n, 4), without crowds, in pixels of the recipe's source."""
    data = read_coco(path, recipe.classes, f"the saliency {path}")
    steps = {}
    for image in data.images:
        if image.size is None:
            raise LzuError(
                f"saliency {path} has no height and width for {image.key}; give them, so that its "
                "boxes can be scaled to the recipe's source"
            )
        steps[image.id] = recipe.source[1] / image.size[1], recipe.source[0] / image.size[0]
    _check_frames(data, recipe)
    rows = [
        (x * across, y * down, (x + width) * across, (y + height) * down)
        for each in data.objects
        if not each.crowd and not each.is_empty
        for x, y, width, height in [each.box]
        for across, down in [steps[each.image]]
    ]
    return np.array(rows, np.float64).reshape(-1, 4)


def _check_frames(data: CocoData, recipe: Recipe) -> None:
    """Check the sizes in annotations against the source, and against the images that exist.

    Raises:
        LzuError: height and width are exchanged, or a file has another size.
    """
    sizes = {image.size for image in data.images if image.size is not None}
    if sizes == {recipe.source[::-1]} and recipe.source[0] != recipe.source[1]:
        raise LzuError(
            f"saliency {data.path} says that its images are {recipe.source[0]} wide and "
            f"{recipe.source[1]} high, where the recipe's source is {recipe.source[1]} wide and "
            f"{recipe.source[0]} high; exchange them where they are wrong"
        )
    for height, width in sorted(sizes):
        if not math.isclose(height * recipe.source[1], width * recipe.source[0], rel_tol=0.02):
            log.warning(
                "saliency %s has images %d wide and %d high, of another shape than the recipe's "
                "source, %d wide and %d high: their boxes are stretched to it",
                data.path, width, height, recipe.source[1], recipe.source[0],
            )  # fmt: skip
            break
    there = [
        (image, place)
        for image in data.images[:: max(1, len(data.images) // FRAMES_TRIED)]
        for place in image.places
        if place.is_file()
    ]
    for image, place in there[:FRAMES_TRIED]:
        height, width = read_image(place).shape[:2]
        check_frame_size(data.path, image, (), (height, width))
    if not there:
        _check_reach(data)


def _check_reach(data: CocoData) -> None:
    """Warn if all boxes lie in the upper left quarter, as they do if the sizes are too large."""
    size_of = {image.id: image.size for image in data.images}
    ends = [
        max((each.box[0] + each.box[2]) / size[1], (each.box[1] + each.box[3]) / size[0])
        for each in data.objects
        for size in [size_of[each.image]]
        if size is not None
    ]
    if len(ends) >= MANY_BOXES and max(ends) <= QUARTER:
        log.warning(
            "saliency %s: none of its %d boxes reaches the right or the lower half of the images; "
            "check that their height and width are those of the images that were annotated",
            data.path, len(ends),
        )  # fmt: skip
