"""Boxes of objects from the connected components of label maps.

Objects that touch each other in the image are one component, and an object behind a pole is two.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from lzu_benchmarks.train.camvid.frames import CLASSES

OBJECTS = ("car", "pedestrian", "sign", "bicyclist")
"""Classes whose components are objects."""
LEAST = 8
"""Smallest side in pixels of an object's box. Smaller components are ignored."""


class Objects(NamedTuple):
    """Objects of one frame."""

    boxes: NDArray[np.float64]
    """(n, 4) x1, y1, x2, y2 in pixels of the frame."""
    classes: NDArray[np.int64]
    """(n,) indices of `OBJECTS`."""
    ignore: NDArray[np.bool_]
    """(n,) whether a detection of it is neither right nor wrong."""


def find_objects(labels: NDArray[np.uint8]) -> Objects:
    """Find the objects of a label map (H, W) of indices of `CLASSES`."""
    boxes: list[list[float]] = []
    classes: list[int] = []
    for kind, name in enumerate(OBJECTS):
        mask = (labels == CLASSES.index(name)).astype(np.uint8)
        _, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
        for x, y, width, height, _area in stats[1:].tolist():  # the first is the background
            boxes.append([x, y, x + width, y + height])
            classes.append(kind)
    found = np.array(boxes, np.float64).reshape(-1, 4)
    sides = (found[:, 2:] - found[:, :2]).min(axis=1, initial=np.inf)
    return Objects(found, np.array(classes, np.int64), sides < LEAST)


def coco_truth(objects: Sequence[Objects], stretches: NDArray[np.int64]) -> dict[str, Any]:
    """Return the objects of frames as a COCO data set, whose `sequence_id` is the stretch."""
    images = [{"id": i, "sequence_id": int(each)} for i, each in enumerate(stretches)]
    annotations: list[dict[str, Any]] = []
    for image, each in enumerate(objects):
        for (x1, y1, x2, y2), kind, ignore in zip(*each, strict=True):
            sides = float(x2 - x1), float(y2 - y1)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": int(kind) + 1,
                    "bbox": [float(x1), float(y1), *sides],
                    "area": sides[0] * sides[1],
                    "iscrowd": int(ignore),
                }
            )
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(OBJECTS)]
    return {"images": images, "annotations": annotations, "categories": categories}


def of_class(data: Mapping[str, Any], number: int) -> dict[str, Any]:
    """Return the part of a COCO data set that has one category."""
    chosen = [each for each in data["annotations"] if each["category_id"] == number]
    categories = [each for each in data["categories"] if each["id"] == number]
    return {**data, "annotations": chosen, "categories": categories}
