"""COCO annotations, with sequences as Argoverse-HD and video sets have them."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from lzu_benchmarks.accuracy import COCO_AREAS
from lzu_benchmarks.layouts.choose import evenly
from lzu_benchmarks.scorers import BoxScorer, BoxTruth
from lzu_calibration.layouts import CocoFrame, coco_frame
from lzu_export.datasets import Sample, match_classes
from lzu_export.errors import LzuError
from lzu_export.runtime.predictor import Shot
from lzu_export.runtime.sources import read_image

ARGOVERSE = "Argoverse-HD/annotations/val.json"
"""Annotations of Argoverse-HD's validation split, in the folder that it is unpacked into."""


class CocoSet:
    """Any data set of COCO annotations, frames in the order of sequence and time.

    Where images name their sequence (`sid` and `fid`, `video_id` or `sequence_id` and `frame_id`),
    sequences come by their first image's id; else images come by id, and a folder is a sequence.
    Of the marks on objects COCO's evaluation knows `iscrowd` only: such objects neither reward nor
    punish; `ignore` it overwrites, and so it is not read here.
    """

    note = "small below 32x32, medium below 96x96 pixels"
    metric = "AP"

    def __init__(
        self, annotations: Path, frames: int | None, classes: Sequence[str] | None = None
    ) -> None:
        """Read the annotations; at most `frames` images, evenly taken.

        Args:
            annotations: the file.
            frames: at most so many.
            classes: the recipe's, in its order; by default the file's, by their ids.

        Raises:
            LzuError: the file is no COCO data set, has other classes, no images or no objects, or
                an image is missing.
        """
        self.name = annotations.name
        try:
            truth = json.loads(annotations.read_text(encoding="utf-8"))
            categories = sorted(truth["categories"], key=lambda category: category["id"])
            ids = [category["id"] for category in categories]
            own = [str(category["name"]) for category in categories]
            images = _in_time(truth, annotations.parent)
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise _no_coco(annotations, error) from error
        self.classes, places = match_classes(self.name, own, classes)
        # Results count classes from 1 in their order; COCO's own ids may have gaps.
        number = {each: place + 1 for each, place in zip(ids, places, strict=True)}
        self._images = evenly(images, frames)
        self._annotations: dict[Any, list[dict[str, Any]]] = {
            image["id"]: [] for image, _, _ in self._images
        }
        try:
            # Identities from 1: in COCO's matching an identity of 0 means unmatched.
            for i, each in enumerate(truth["annotations"], start=1):
                objects = self._annotations.get(each["image_id"], [])
                objects.append(_object(i, each, number[each["category_id"]]))
        except (ValueError, LookupError, TypeError) as error:
            raise _no_coco(annotations, error) from error
        if not self._images:
            raise LzuError(f"{annotations} holds no images to measure on; give another set")
        if not any(self._annotations.values()):
            raise LzuError(f"{annotations} holds no annotations to measure on; give another set")
        if len(self._annotations) < len(self._images):
            raise LzuError(f"{annotations} has two images of one id; number them apart")
        for _, frame, _ in self._images:
            _ = frame.item.path  # a missing one is said before any work

    def __len__(self) -> int:
        """Number of frames."""
        return len(self._images)

    def samples(self, start: int = 0) -> Iterator[Sample]:
        """Images with their annotations, from the one of place `start` on."""
        for image, frame, sequence in self._images[start:]:
            path = frame.item.path
            truth = BoxTruth(image, self._annotations[image["id"]])
            yield Sample(image["id"], Shot(read_image(path)), truth, str(path), sequence)

    def scorer(self) -> BoxScorer:
        """COCO's metrics, with nothing counted."""
        return BoxScorer(self.classes, COCO_AREAS)


def _in_time(truth: dict[str, Any], root: Path) -> list[tuple[dict[str, Any], CocoFrame, str]]:
    """What is needed of each image, its place and its sequence, in the order of time."""
    rows = []
    first: dict[Any, Any] = {}
    for image in sorted(truth["images"], key=lambda image: image["id"]):
        if type(image["id"]) is not int:
            raise TypeError(f"the id {image['id']!r} is no whole number")
        frame = coco_frame(image, truth, root)
        sequence = frame.sequence
        if sequence is None:
            rows.append((image["id"], 0, image, frame, str(PurePosixPath(frame.item.key).parent)))
        else:
            begin = first.setdefault(sequence, image["id"])
            rows.append((begin, frame.order, image, frame, str(sequence)))
    rows.sort(key=lambda row: row[:2])
    kept = ("id", "height", "width")
    return [
        ({field: image[field] for field in kept if field in image}, frame, sequence)
        for _, _, image, frame, sequence in rows
    ]


def _object(number: int, entry: dict[str, Any], label: int) -> dict[str, Any]:
    """What the metric reads of an annotation: no outlines, which would fill the memory."""
    box = [float(value) for value in entry["bbox"]]
    if len(box) != 4:
        raise ValueError(f"a bbox of {len(box)} values")
    return {
        "id": number,
        "image_id": entry["image_id"],
        "category_id": label,
        "bbox": box,
        "area": float(entry.get("area", box[2] * box[3])),
        "iscrowd": int(entry.get("iscrowd", 0)),
    }


def _no_coco(annotations: Path, error: Exception) -> LzuError:
    return LzuError(
        f"{annotations} is no COCO data set ({type(error).__name__}: {error}); give one with "
        "images, annotations and categories"
    )
