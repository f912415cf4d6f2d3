"""Scorers of each task: count predictions frame by frame, then compute the metrics.

Memory grows with objects and detections, not with pixels: 24 bytes per detected box, 56 per
annotated one, and some 200 MB for COCO's matches; label maps are counted and discarded. `state` and
`restore` let a scorer continue after an interruption. `merge` adds the counts of a scorer of the
frames that come next, with the same results, to the bit, as one scorer of all frames.
"""

from collections.abc import Hashable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lzu_export.evaluation.datasets import Sample, State
from lzu_export.evaluation.metrics.coco import AREAS, PartedEvaluation, average
from lzu_export.evaluation.metrics.nuscenes import NuScenesEvaluation
from lzu_export.evaluation.metrics.nuscenes_objects import (
    DEMO,
    CameraBoxes,
    Objects,
    camera_objects,
)
from lzu_export.evaluation.metrics.segmentation import (
    Counts,
    SegmentationEvaluation,
    mean_iou,
)
from lzu_export.runtime.detector import Detections
from lzu_export.runtime.postprocess3d import Detections3d
from lzu_export.runtime.segmenter import Segmentation
from lzu_export.support.limits import IGNORED

PART = 64
"""Number of images that are matched at once."""
AS_THEY_COME = 2048
"""Number of images up to which boxes are matched as they come; the library's matches of an image
take some 75 kB with 8 classes. With more images, matching is done at the end, class by class."""


class BoxTruth(NamedTuple):
    """COCO's truth for an image."""

    image: dict[str, Any]
    annotations: list[dict[str, Any]]


class SpaceTruth(NamedTuple):
    """Truth for a camera's view."""

    sequence: int
    objects: Objects
    ignore: NDArray[np.bool_]
    seen: CameraBoxes | None = None


class _Rows:
    """Rows of an array, with the class in column 0 and several rows per image.

    Rows of the images added since the last `close` are kept in `last`, image by image.
    """

    def __init__(self, width: int, kind: type[np.floating[Any]]) -> None:
        self.nothing = np.empty((0, width), kind)
        self._joined: list[NDArray[Any]] = [self.nothing]
        self._counts: list[int] = []
        self.last: list[NDArray[Any]] = []

    def add(self, rows: NDArray[Any]) -> None:
        self.last.append(rows.astype(self.nothing.dtype).reshape(-1, self.nothing.shape[1]))
        self._counts.append(len(rows))

    def close(self) -> None:
        self._joined.append(np.concatenate([self.nothing, *self.last]))
        self.last = []

    def of_class(self, label: int) -> dict[int, NDArray[Any]]:
        """Return the rows of a class by their image's index, for images that have some."""
        rows = np.concatenate(self._joined)
        of_class = rows[:, 0] == label
        owners = np.repeat(np.arange(len(self._counts)), self._counts)[of_class]
        places, starts = np.unique(owners, return_index=True)
        parts = np.split(rows[of_class], starts[1:])
        return dict(zip(places.tolist(), parts, strict=False))

    def state(self, name: str) -> State:
        rows = np.concatenate([*self._joined, *self.last])
        return {name: rows, f"{name} an image": np.array(self._counts, int)}

    def merge(self, state: Mapping[str, NDArray[Any]], name: str) -> None:
        """Add the rows of further images, that `state` returned."""
        counts = state[f"{name} an image"]
        self._counts += counts.tolist()
        self.last += np.split(state[name], np.cumsum(counts))[:-1]


class BoxScorer:
    """Scorer of COCO's average precision over the images that were added."""

    def __init__(self, classes: tuple[str, ...], areas: Mapping[str, list[float]] = AREAS) -> None:
        """Start with nothing counted; `areas` are the limits of sizes in square pixels."""
        categories = [{"id": i + 1, "name": name} for i, name in enumerate(classes)]
        self._count, self._areas = len(classes), areas
        self._evaluation: PartedEvaluation | None = PartedEvaluation(categories, areas)
        self._matched = 0
        self._images: list[int] = []
        self._sequences: dict[int, int | str] = {}
        self._truth = _Rows(7, np.float64)  # class, x, y, width, height, area, iscrowd
        self._found = _Rows(6, np.float32)  # class, x1, y1, x2, y2, score

    def add(self, sample: Sample, prediction: Detections) -> None:
        """Count one image."""
        truth: BoxTruth = sample.truth
        self._images.append(sample.number)
        self._sequences[sample.number] = sample.sequence
        objects = [
            [
                each["category_id"],
                *each["bbox"],
                each.get("area", each["bbox"][2] * each["bbox"][3]),
                each.get("iscrowd", 0),
            ]
            for each in truth.annotations
        ]
        self._truth.add(np.array(objects, np.float64).reshape(-1, 7))
        self._found.add(
            np.column_stack([prediction.labels + 1, prediction.boxes, prediction.scores])
        )
        if len(self._images) - self._matched >= PART:
            self._match()

    def summary(self) -> dict[str, float]:
        """Return COCO's AP and its parts, in points."""
        self._match()
        if self._evaluation is not None:
            return self._evaluation.summary()
        precisions = [self._of_class(label).precision() for label in range(1, self._count + 1)]
        return average(np.concatenate(precisions, axis=2))

    def owners(self) -> list[int | str]:
        """Return the sequence of each image; empty for sets too large to be resampled."""
        self._match()
        if self._evaluation is None:
            return []
        return [self._sequences[image] for image in self._in_order()]

    def resampled(self, places: NDArray[np.int64]) -> float:
        """Return AP of the images at these indices of `owners`."""
        assert self._evaluation is not None, "it has owners"
        matched = {image: place for place, image in enumerate(self._evaluation.image_ids)}
        order = np.array([matched[image] for image in self._in_order()])
        return self._evaluation.resampled(order[places])

    def _in_order(self) -> list[int]:
        """Return the images in an order that does not depend on when they were matched.

        It is that of images that are matched as they come, `PART` at once, by their numbers.
        """
        starts = range(0, len(self._images), PART)
        return [image for i in starts for image in sorted(self._images[i : i + PART])]

    def state(self) -> State:
        """Return the counts."""
        images = np.array(self._images, np.int64)
        owners = np.array([self._sequences[image] for image in self._images])
        return {
            "images": images,
            "sequences": owners,
            **self._truth.state("truth"),
            **self._found.state("found"),
        }

    def merge(self, state: State) -> None:
        """Count what another scorer counted over the images that come next."""
        images = state["images"].tolist()
        self._images += images
        self._sequences |= zip(images, state["sequences"].tolist(), strict=True)
        self._truth.merge(state, "truth")
        self._found.merge(state, "found")
        self._match()

    restore = merge

    def _match(self) -> None:
        """Match the images added since the last call, unless matching is left to the end."""
        if len(self._images) > AS_THEY_COME:
            self._evaluation = None
        if self._evaluation is not None:
            images = self._images[self._matched :]
            _add(self._evaluation, images, self._truth.last, self._found.last)
        self._matched = len(self._images)
        self._truth.close()
        self._found.close()

    def _of_class(self, label: int) -> PartedEvaluation:
        """Match all boxes of one class."""
        truth, found = (rows.of_class(label) for rows in (self._truth, self._found))
        places = sorted(truth.keys() | found.keys())
        evaluation = PartedEvaluation([{"id": label, "name": str(label)}], self._areas)
        _add(
            evaluation,
            [self._images[i] for i in places],
            [truth.get(i, self._truth.nothing) for i in places],
            [found.get(i, self._found.nothing) for i in places],
        )
        return evaluation


def _add(
    evaluation: PartedEvaluation,
    images: list[int],
    truth: list[NDArray[Any]],
    found: list[NDArray[Any]],
) -> None:
    """Match images, `PART` of them at once."""
    for start in range(0, len(images), PART):
        part = slice(start, start + PART)
        evaluation.add(images[part], *_as_coco(images[part], truth[part], found[part]))


def _as_coco(
    images: list[int], truth: list[NDArray[Any]], found: list[NDArray[Any]]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Convert rows of truth and detections to COCO's annotations and results."""
    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for image, objects, detected in zip(images, truth, found, strict=True):
        for label, x, y, width, height, area, crowd in objects.tolist():
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": int(label),
                    "bbox": [x, y, width, height],
                    "area": area,
                    "iscrowd": int(crowd),
                }
            )
        boxes = detected.copy()
        boxes[:, 3:5] -= boxes[:, 1:3]  # in float32, as `Detections.to_coco`
        results += [
            {"image_id": image, "category_id": int(label), "bbox": box, "score": score}
            for label, *box, score in boxes.tolist()
        ]
    return annotations, results


class LabelScorer:
    """Scorer of mean IoU and its parts; pixels outside of a recipe's crop are not evaluated."""

    def __init__(self, classes: tuple[str, ...]) -> None:
        """Start with nothing counted."""
        self._evaluation = SegmentationEvaluation(classes)
        self._sequences: list[int | str] = []
        self._images: list[NDArray[np.int64]] = []  # (2, n) cells that are not 0, and their counts

    def add(self, sample: Sample, prediction: Segmentation) -> None:
        """Count one image."""
        before = self._whole
        name = f"frame {sample.number}"
        truth = np.where(prediction.labels == IGNORED, IGNORED, sample.truth)
        self._evaluation.add(truth, prediction.labels, name=name)
        counts = (self._whole - before).ravel()
        cells = np.flatnonzero(counts)
        self._images.append(np.stack([cells, counts[cells]]))
        self._sequences.append(sample.sequence)

    @property
    def _whole(self) -> Counts:
        """Counts of whole images: the sum over the bands."""
        found: Counts = self._evaluation.counts[1:].sum(axis=0)
        return found

    def owners(self) -> list[int | str]:
        """Return the sequence of each image."""
        return self._sequences

    def resampled(self, places: NDArray[np.int64]) -> float:
        """Return mIoU of the images at these indices of `owners`."""
        shape = self._evaluation.counts.shape[1:]
        cells, counts = np.concatenate([self._images[i] for i in places.tolist()], axis=1)
        total = np.bincount(cells, weights=counts, minlength=shape[0] * shape[1])
        return 100 * mean_iou(total.astype(np.int64).reshape(shape))

    def summary(self) -> dict[str, float]:
        """Return mIoU, mIoU near boundaries and by band, and the IoU of every class, in points."""
        by_class = self._evaluation.by_class()
        return {
            **self._evaluation.summary(),
            **{f"IoU {name}": value for name, value in by_class.items()},
        }

    def state(self) -> State:
        """Return the counts."""
        return {
            "counts": self._evaluation.counts,
            "sequences": np.array(self._sequences),
            "cells": np.concatenate([np.empty((2, 0), np.int64), *self._images], axis=1),
            "cells an image": np.array([each.shape[1] for each in self._images], int),
        }

    def merge(self, state: State) -> None:
        """Count what another scorer counted over the images that come next."""
        self._evaluation.merge(state["counts"])
        self._sequences += state["sequences"].tolist()
        self._images += np.split(state["cells"], np.cumsum(state["cells an image"]), axis=1)[:-1]

    restore = merge


class SpaceScorer:
    """Scorer of nuScenes' detection metrics on single cameras' views."""

    def __init__(self) -> None:
        """Start with nothing counted, with the demonstration's table of classes."""
        self._evaluation = NuScenesEvaluation(DEMO, keep=False)

    def add(self, sample: Sample, prediction: Detections3d) -> None:
        """Match one frame."""
        truth: SpaceTruth = sample.truth
        found = camera_objects(prediction.boxes[:, :7], prediction.labels)
        self._evaluation.add(
            sample.number, truth.sequence, truth.objects, found, prediction.scores, truth.ignore
        )

    def summary(self) -> dict[str, float]:
        """Return NDS without velocity and attribute (NDS*), mAP, mATE, mASE and mAOE."""
        summary = self._evaluation.summary()
        return {name: summary[name] for name in ("NDS*", "mAP", "mATE", "mASE", "mAOE")}

    def owners(self) -> list[Hashable]:
        """Return the sequences, an entry each."""
        return self._evaluation.sequence_ids

    def resampled(self, places: NDArray[np.int64]) -> float:
        """Return NDS* of the sequences at these indices of `owners`."""
        times = np.bincount(places, minlength=len(self._evaluation.sequence_ids))
        return self._evaluation.resampled(times)["NDS*"]

    def state(self) -> State:
        """Return the matches."""
        return self._evaluation.state()

    def merge(self, state: State) -> None:
        """Count what another scorer matched in the frames that come next."""
        self._evaluation.merge(state)

    restore = merge
