"""Read all boxes of a training set, whatever its layout, in pixels of one frame size."""

import logging
import math
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from lzu_export.errors import LzuError
from lzu_export.inputs.classes import listed, plain
from lzu_export.inputs.coco import CocoData, check_frame_size, read_coco
from lzu_export.inputs.images import read_image
from lzu_export.inputs.nuscenes import is_nuscenes
from lzu_export.inputs.nuscenes import training_boxes as nuscenes_boxes
from lzu_export.inputs.training import training_boxes

log = logging.getLogger(__name__)

MANY_BOXES, QUARTER = 50, 0.52
"""Number of boxes of which at least one should reach beyond this share of the frame; otherwise
their scale may be wrong."""
FRAMES_TRIED = 16
"""Number of annotated images whose size is checked, if the files exist."""


def read_training_boxes(
    path: Path,
    source: tuple[int, int],
    classes: Sequence[str] | None = None,
    *,
    called: str = "saliency",
    image: str | None = None,
    others: bool = False,
) -> NDArray[np.float64]:
    """Read boxes (n, 4) x1, y1, x2, y2, without crowds, in pixels of frames of the source's size.

    Args:
        path: COCO annotations (.json), or the folder of Argoverse-HD or nuScenes.
        source: (height, width) to which the boxes of other frame sizes are scaled.
        classes: names of the classes that count; all by default. nuScenes needs them.
        called: option or use of the path, which names it in messages.
        image: file name of the only image whose boxes are read; all images by default.
        others: whether COCO annotations may have other classes besides, whose boxes are left out.

    Raises:
        LzuError: annotations cannot be used, the classes differ, a folder holds no annotations, or
            there is no such image.
    """
    name = f"{called} {path}"
    annotations = training_boxes(path)
    if annotations is not None and others and classes is not None:
        data = _only(read_coco(annotations, None, f"the {name}"), classes, f"the {name}")
        return _coco_boxes(data, source, name, image)
    if annotations is not None:
        data = read_coco(annotations, classes, f"the {name}")
        return _coco_boxes(data, source, name, image)
    if image is not None:
        raise LzuError(f"{name} does not list boxes by image; give COCO annotations (.json)")
    if is_nuscenes(path) and classes is not None:
        found = nuscenes_boxes(path, classes, f"the {name}")
        steps = ((source[0] / size[0], source[1] / size[1], b) for size, b in found)
        return np.concatenate([b * [across, down, across, down] for down, across, b in steps])
    if is_nuscenes(path):
        raise LzuError(f"{name} is nuScenes, whose boxes need the names of the classes")
    what = "is a folder without training boxes" if path.is_dir() else "is no file of boxes"
    raise LzuError(
        f"{name} {what}; give COCO annotations (.json), the folder of Argoverse-HD or nuScenes, or "
        "a map (.npy)"
    )


def _only(data: CocoData, classes: Sequence[str], called: str) -> CocoData:
    """Return annotations with the objects of some classes alone.

    Raises:
        LzuError: there is no such class.
    """
    own = [plain(each) for each in data.classes]
    unknown = [each for each in classes if plain(each) not in own]
    if unknown:
        its = listed(data.classes)
        raise LzuError(f"{called} has no class {unknown[0]}; its classes are {its}")
    wanted = {plain(each) for each in classes}
    return data._replace(objects=[each for each in data.objects if own[each.label] in wanted])


def _coco_boxes(
    data: CocoData, source: tuple[int, int], called: str, only: str | None
) -> NDArray[np.float64]:
    """Scale boxes (n, 4), without crowds, to pixels of the source."""
    steps = {}
    for image in data.images:
        if only is not None and PurePosixPath(image.key).name != only:
            continue
        if image.size is None:
            raise LzuError(
                f"{called} has no height and width for {image.key}; give them, so that its "
                "boxes can be scaled to the recipe's source"
            )
        steps[image.id] = source[1] / image.size[1], source[0] / image.size[0]
    if only is not None and not steps:
        raise LzuError(f"{called} lists no image {only}; give annotations of the frames")
    _check_frames(data, source, called)
    rows = [
        (x * across, y * down, (x + width) * across, (y + height) * down)
        for each in data.objects
        if each.image in steps and not each.crowd and not each.is_empty
        for x, y, width, height in [each.box]
        for across, down in [steps[each.image]]
    ]
    return np.array(rows, np.float64).reshape(-1, 4)


def _check_frames(data: CocoData, source: tuple[int, int], called: str) -> None:
    """Check the sizes in annotations against the source, and against the images that exist.

    Raises:
        LzuError: height and width are exchanged, or a file has another size.
    """
    sizes = {image.size for image in data.images if image.size is not None}
    if sizes == {source[::-1]} and source[0] != source[1]:
        raise LzuError(
            f"{called} says that its images are {source[0]} wide and "
            f"{source[1]} high, where the recipe's source is {source[1]} wide and "
            f"{source[0]} high; exchange them where they are wrong"
        )
    for height, width in sorted(sizes):
        if not math.isclose(height * source[1], width * source[0], rel_tol=0.02):
            log.warning(
                "%s has images %d wide and %d high, of another shape than the recipe's "
                "source, %d wide and %d high: their boxes are stretched to it",
                called, width, height, source[1], source[0],
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
        _check_reach(data, called)


def _check_reach(data: CocoData, called: str) -> None:
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
            "%s: none of its %d boxes reaches the right or the lower half of the images; "
            "check that their height and width are those of the images that were annotated",
            called, len(ends),
        )  # fmt: skip
