"""Evaluation sets as the compiler looks them up by name: frames in, the task's metric out."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lzu_benchmarks.accuracy import COCO_AREAS, average_precision
from lzu_benchmarks.datasets import DemoDataset, coco_dict, image_entry, open_demo
from lzu_export.errors import LzuError
from lzu_export.runtime.preprocess import Frame
from lzu_export.runtime.sources import read_image


class DemoSet:
    """The held-out demonstration sequences."""

    name = "demo"
    note = "small below 16x16, medium below 48x48 pixels"

    def __init__(self, dataset: DemoDataset) -> None:
        """Wrap the rendered data set."""
        self._dataset = dataset
        self.classes: tuple[str, ...] = tuple(dataset.classes)
        self._truth: dict[str, Any] | None = None

    def __len__(self) -> int:
        """Number of frames."""
        return len(self._dataset)

    def frames(self) -> Iterator[tuple[int, Frame]]:
        """(image id, BGR frame), rendered in order."""
        images, annotations = [], []
        for sample in self._dataset:
            images.append(image_entry(sample.frame_id, sample.sequence_id))
            annotations += sample.annotations
            yield sample.frame_id, sample.image
        self._truth = coco_dict(images, annotations)  # a whole pass spares rendering it again

    def evaluate(self, results: list[dict[str, Any]]) -> dict[str, float]:
        """COCO AP and its parts, in points."""
        if self._truth is None:
            self._truth = self._dataset.coco_ground_truth()
        return average_precision(self._truth, results)


class CocoSet:
    """Any data set of COCO annotations, images beside them or in a folder `images`."""

    note = "small below 32x32, medium below 96x96 pixels"

    def __init__(self, annotations: Path, frames: int | None) -> None:
        """Read the annotations; at most `frames` images, evenly taken.

        Raises:
            LzuError: the file is no COCO data set, or has no images or no objects.
        """
        self.name = annotations.name
        try:
            truth = json.loads(annotations.read_text(encoding="utf-8"))
            images = sorted(truth["images"], key=lambda image: image["id"])
            categories = sorted(truth["categories"], key=lambda category: category["id"])
            self.classes: tuple[str, ...] = tuple(category["name"] for category in categories)
            # Results count classes from 1 in their order; COCO's own ids may have gaps.
            number = {category["id"]: i + 1 for i, category in enumerate(categories)}
            # Identities from 1: in COCO's matching an identity of 0 means unmatched.
            labelled = [
                {
                    **each,
                    "id": i,
                    "category_id": number[each["category_id"]],
                    "bbox": [float(value) for value in each["bbox"]],
                }
                for i, each in enumerate(truth["annotations"], start=1)
            ]
            self._names = {image["id"]: str(image["file_name"]) for image in images}
            if frames is not None and frames < len(images):
                places = np.linspace(0, len(images) - 1, frames).round().astype(int)
                images = [images[i] for i in places]
            kept = {image["id"] for image in images}
            self._truth = {
                "images": images,
                "annotations": [each for each in labelled if each["image_id"] in kept],
                "categories": [{"id": i + 1, "name": name} for i, name in enumerate(self.classes)],
            }
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise LzuError(
                f"{annotations} is no COCO data set ({type(error).__name__}: {error}); give one "
                "with images, annotations and categories"
            ) from error
        for part in ("images", "annotations"):
            if not self._truth[part]:
                raise LzuError(f"{annotations} holds no {part} to measure on; give another set")
        self._folder = annotations.parent

    def __len__(self) -> int:
        """Number of frames."""
        return len(self._truth["images"])

    def frames(self) -> Iterator[tuple[int, Frame]]:
        """(image id, BGR frame) by ascending id."""
        for image in self._truth["images"]:
            yield image["id"], read_image(self._find(self._names[image["id"]]))

    def evaluate(self, results: list[dict[str, Any]]) -> dict[str, float]:
        """COCO AP and its parts, in points."""
        return average_precision(self._truth, results, COCO_AREAS)

    def _find(self, name: str) -> Path:
        for folder in (self._folder, self._folder / "images"):
            if (folder / name).is_file():
                return folder / name
        raise LzuError(
            f"image {name} is neither in {self._folder} nor in its folder images; put it there"
        )


def demo(*, frames: int | None) -> DemoSet:
    """The demonstration set, at most `frames` frames of it."""
    return DemoSet(open_demo("val", limit=frames))


def coco(annotations: str, *, frames: int | None) -> CocoSet:
    """A COCO data set, at most `frames` images of it."""
    return CocoSet(Path(annotations), frames)
