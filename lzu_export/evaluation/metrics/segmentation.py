"""Intersection over union of label maps, by Cityscapes' definition, also by region.

Pixels are counted over the whole set before anything is divided. Pixels whose truth is ignored are
not counted; where a prediction is the ignored label, the true class counts as missed. A class that
is in no truth and in no prediction has no IoU (nan) and is left out of the mean.
"""

from collections.abc import Sequence
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from lzu_export.errors import LzuError

Counts = NDArray[np.int64]
"""Numbers of pixels (..., classes, classes + 1) by true and predicted class; the last column counts
pixels without a predicted class."""

BANDS = ("upper", "middle", "lower")
"""Horizontal thirds of the image, in which a street camera sees far, middle and near."""

REGIONS = ("boundary", *BANDS)

IGNORED = 255


class SegmentationEvaluation:
    """Label maps of one model compared with the truth, image by image, in constant memory.

    `counts` (regions, classes, classes + 1) holds the counts of each region in `REGIONS`. Counts of
    the whole image are the bands' sum. Evaluations of parts of a set add up, see `merge`.
    """

    def __init__(
        self, classes: Sequence[str], *, ignore: int = IGNORED, boundary_width: int = 3
    ) -> None:
        """Start with nothing counted.

        Args:
            classes: names of the classes; their indices are the labels.
            ignore: label of pixels that are not evaluated.
            boundary_width: pixels on each side of a label boundary that count as near it.

        Raises:
            LzuError: there are no classes, a name occurs twice, a class has the ignored label, or
                the width is below 1.
        """
        self.classes = tuple(classes)
        if not self.classes or len(set(self.classes)) < len(self.classes):
            raise LzuError(f"the classes are {list(classes)}; name at least one, and each once")
        if 0 <= ignore < len(self.classes):
            raise LzuError(f"label {ignore} is {self.classes[ignore]}, so it cannot be ignored too")
        if boundary_width < 1:
            raise LzuError(f"the boundary width is {boundary_width}; give at least 1 pixel")
        self.ignore, self.boundary_width = ignore, boundary_width
        self.counts: Counts = np.zeros(
            (len(REGIONS), len(self.classes), len(self.classes) + 1), np.int64
        )

    def add(self, truth: ArrayLike, prediction: ArrayLike, *, name: str) -> None:
        """Count one image.

        Args:
            truth: integer labels (H, W).
            prediction: integer labels of the same size.
            name: name of the image in error messages, such as its file.

        Raises:
            LzuError: a map does not consist of integers (H, W), holds an unknown label, or the
                sizes differ.
        """
        wanted = self._check(truth, f"truth of {name}")
        found = self._check(prediction, f"prediction of {name}")
        if wanted.shape != found.shape:
            raise LzuError(
                f"the prediction of {name} has {found.shape[0]} x {found.shape[1]} pixels and its "
                f"truth {wanted.shape[0]} x {wanted.shape[1]}; predict at the truth's size"
            )
        valid = wanted != self.ignore
        near = boundary_zone(wanted, self.boundary_width, ignore=self.ignore)
        n = len(self.classes)
        found = np.where(found == self.ignore, n, found.astype(np.int64))
        cell = wanted.astype(np.int64) * (n + 1) + found
        edges = [i * len(wanted) // len(BANDS) for i in range(len(BANDS) + 1)]
        rows = [slice(*pair) for pair in pairwise(edges)]
        chosen = [cell[near], *(cell[band][valid[band]] for band in rows)]
        for region, cells in enumerate(chosen):
            self.counts[region] += np.bincount(cells, minlength=n * (n + 1)).reshape(n, n + 1)

    def merge(self, counts: Counts) -> None:
        """Add the `counts` of another evaluation with the same classes."""
        self.counts = self.counts + counts

    def summary(self) -> dict[str, float]:
        """Return mean IoU over the image and by region, see `summarise`."""
        return summarise(self.counts)

    def by_class(self) -> dict[str, float]:
        """Return the IoU of every class over whole images in points (0..100); nan if absent."""
        values = 100 * class_iou(self.counts[1:].sum(axis=0))
        return dict(zip(self.classes, values.tolist(), strict=True))

    def _check(self, labels: ArrayLike, what: str) -> NDArray[np.integer]:
        array = np.asarray(labels)
        if array.ndim != 2 or array.dtype.kind not in "iu" or not array.size:
            raise LzuError(
                f"the {what} is {array.dtype} of shape {array.shape}; give integer labels (H, W)"
            )
        unknown = array[((array < 0) | (array >= len(self.classes))) & (array != self.ignore)]
        if unknown.size:
            values = np.unique(unknown)
            listed = ", ".join(map(str, values[:3].tolist())) + (", ..." if len(values) > 3 else "")
            raise LzuError(
                f"the {what} holds the label {listed} in {unknown.size} pixels, which is neither "
                f"one of the {len(self.classes)} classes (0 to {len(self.classes) - 1}) nor the "
                f"ignored {self.ignore}; map its labels to these"
            )
        return array


def summarise(counts: Counts) -> dict[str, float]:
    """Return mean IoU in points (0..100): mIoU, and by region mIoU_boundary, mIoU_upper, ...

    Args:
        counts: counts (regions, classes, classes + 1) of one evaluation, or the sum of several.
    """
    bands = len(REGIONS) - len(BANDS)
    found = {"mIoU": 100 * mean_iou(counts[bands:].sum(axis=0))}
    for name, region in zip(REGIONS, counts, strict=True):
        found[f"mIoU_{name}"] = 100 * mean_iou(region)
    return found


def class_iou(counts: Counts) -> NDArray[np.float64]:
    """Return IoU (..., classes) in 0..1 from counts (..., classes, classes + 1); nan if undefined.

    The ratio is true positives / (true positives + false negatives + false positives) [Everingham
    et al. 2010].
    """
    hits = np.diagonal(counts, axis1=-2, axis2=-1)
    union = counts.sum(axis=-1) + counts[..., :-1].sum(axis=-2) - hits
    return np.where(union > 0, hits / np.maximum(union, 1), np.nan)


def mean_iou(counts: Counts) -> float:
    """Return the mean of `class_iou` over the classes that have one; nan if none has."""
    values = class_iou(counts)
    present = values[~np.isnan(values)]
    return float(present.mean()) if present.size else float("nan")


def boundary_zone(
    labels: NDArray[np.integer], width: int, *, ignore: int = IGNORED
) -> NDArray[np.bool_]:
    """Return a mask (H, W) of pixels with another class at most `width` rows and columns away.

    A width of 1 gives the boundary of LZU's saliency: pixels that differ from one of 8 neighbours.
    Ignored pixels are neither in the zone nor create one. Labels must be below 65535.
    """
    valid = labels != ignore
    window = np.ones((2 * width + 1, 2 * width + 1), np.uint8)
    # Morphology ignores everything outside of the image. 0 never wins the maximum, and the largest
    # number never wins the minimum.
    highest = cv2.dilate(np.where(valid, labels + 1, 0).astype(np.uint16), window)
    lowest = cv2.erode(np.where(valid, labels, 65535).astype(np.uint16), window)
    return np.asarray(valid & (highest.astype(np.int64) - 1 > lowest))
