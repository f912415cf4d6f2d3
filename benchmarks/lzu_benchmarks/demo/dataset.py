"""The demonstration data set: frames with COCO annotations, rendered on demand."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lzu_benchmarks.demo.frame_cache import frames
from lzu_benchmarks.scenes import CLASSES, LENGTH, Frame, Sequence, render
from lzu_benchmarks.scenes.camera import SOURCE_SIZE
from lzu_benchmarks.scenes.motion import MOVING
from lzu_export.errors import LzuError
from lzu_export.evaluation.layouts.choose import evenly, whole_sequences

SPLITS = {
    "val": (0, 64),
    "train": (10_000, 1000),
    "moving-val": (MOVING, 64),
    "moving-train": (MOVING + 10_000, 1000),
}
"""First seed and number of sequences of each split.

The ranges do not overlap, so that training uses other streets.
"""
EVERY = 5  # validation frames are half a second apart

Annotation = dict[str, Any]


@dataclass(frozen=True)
class Sample:
    """One frame: its image (H, W, 3) uint8 BGR and its COCO annotations."""

    frame_id: int
    sequence_id: int
    image: NDArray[np.uint8]
    annotations: list[Annotation]

    def __iter__(self) -> Iterator[Any]:
        """Unpack as frame_id, sequence_id, image, annotations."""
        return iter((self.frame_id, self.sequence_id, self.image, self.annotations))


class DemoDataset:
    """Rendered street scenes, sequence after sequence, with the frames of each in temporal order.

    Args:
        sequences: seeds of the sequences.
        frames: indices of the frames within each sequence.
        limit: largest number of frames, spread over all sequences (whole set if None).
        whole: whether to take whole sequences, as far as the limit allows.
    """

    classes = CLASSES
    size = SOURCE_SIZE

    def __init__(
        self, sequences: range, frames: range, limit: int | None = None, *, whole: bool = False
    ) -> None:
        keys = [(seed, index) for seed in sequences for index in frames]
        by_sequence = whole_sequences(keys, limit, lambda key: key[0]) if whole else None
        self.keys = evenly(keys, limit) if by_sequence is None else by_sequence
        self._truth: dict[str, Any] | None = None

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.keys)

    def __iter__(self) -> Iterator[Sample]:
        """Yield the samples of the frames in order."""
        for number, seed, frame in self.rendered():
            yield Sample(number, seed, frame.image, annotate(frame, number))

    def rendered(self, start: int = 0) -> Iterator[tuple[int, int, Frame]]:
        """Yield the identifier, the sequence and the `Frame` of every frame from `start` on."""
        keys = self.keys[start:]
        for (seed, index), frame in zip(keys, frames(keys), strict=True):
            yield frame_number(seed, index), seed, frame

    def coco_ground_truth(self) -> dict[str, Any]:
        """Return images, annotations and categories in COCO's format, computed once."""
        if self._truth is None:
            images, annotations = [], []
            for each in self:
                images.append(image_entry(each.frame_id, each.sequence_id))
                annotations += each.annotations
            self._truth = coco_dict(images, annotations)
        return self._truth


def open_demo(
    split: str = "val", limit: int | None = None, every: int = EVERY, *, whole: bool = False
) -> DemoDataset:
    """Open the demonstration data set.

    Args:
        split: key of `SPLITS`: `val` (64 held-out sequences) or `train`; `moving-val` or
            `moving-train` of the camera that moves.
        limit: largest number of frames, taken evenly from the whole split.
        every: step in frames between samples of a sequence, which has 10 frames per second.
        whole: whether to take whole sequences, as far as the limit allows.

    Raises:
        LzuError: the split is unknown, or limit or every is not positive.
    """
    if split not in SPLITS:
        raise LzuError(f"demo split is {split!r}; choose one of {', '.join(SPLITS)}")
    if every < 1 or (limit is not None and limit < 1):
        raise LzuError(f"demo limit is {limit} and every is {every}; give positive numbers")
    first, count = SPLITS[split]
    return DemoDataset(range(first, first + count), range(0, LENGTH, every), limit, whole=whole)


def frame_number(seed: int, index: int) -> int:
    """Return the identifier of a frame, unique over all sequences."""
    return seed * LENGTH + index


def sample(sequence: Sequence, index: int) -> Sample:
    """Render one frame with its COCO annotations."""
    frame = render(sequence, index)
    number = frame_number(sequence.seed, index)
    return Sample(number, sequence.seed, frame.image, annotate(frame, number))


def annotate(frame: Frame, image_id: int) -> list[Annotation]:
    """Return the COCO annotations of a frame. Objects to ignore are marked iscrowd."""
    found = []
    rows = zip(
        frame.boxes, frame.classes, frame.tracks, frame.visibility, frame.ignore, strict=True
    )
    for i, (box, label, track, visibility, ignore) in enumerate(rows):
        x1, y1, x2, y2 = (round(float(v), 3) for v in box)
        width, height = round(x2 - x1, 3), round(y2 - y1, 3)
        found.append(
            {
                "id": image_id * 1000 + i + 1,
                "image_id": image_id,
                "category_id": int(label) + 1,
                "bbox": [x1, y1, width, height],
                "area": round(width * height, 3),
                "iscrowd": int(ignore),
                "track_id": int(track),
                "visibility": round(float(visibility), 3),
            }
        )
    return found


def image_entry(frame_id: int, sequence_id: int, name: str = "") -> dict[str, Any]:
    """Return COCO's entry of an image."""
    height, width = SOURCE_SIZE
    return {
        "id": frame_id,
        "file_name": name or f"{frame_id:08d}.png",
        "height": height,
        "width": width,
        "sequence_id": sequence_id,
    }


def coco_dict(images: list[dict[str, Any]], annotations: list[Annotation]) -> dict[str, Any]:
    """Return a COCO data set with the demonstration classes; category ids start at 1."""
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(CLASSES)]
    return {
        "info": {"description": "rendered street scenes"},
        "licenses": [],
        "images": images,
        "annotations": annotations,
        "categories": categories,
    }


def write_coco(folder: str | Path, dataset: DemoDataset, *, suffix: str = ".png") -> Path:
    """Write a data set as files: images/NUMBER.png (or .jpg) and annotations.json.

    Returns:
        The path of annotations.json.

    Raises:
        LzuError: the suffix is unknown or an image cannot be written.
    """
    if suffix not in (".png", ".jpg"):
        raise LzuError(f"image suffix is {suffix!r}; choose .png or .jpg")
    target = Path(folder)
    (target / "images").mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    for each in dataset:
        name = f"{each.frame_id:08d}{suffix}"
        if not cv2.imwrite(str(target / "images" / name), each.image):
            raise LzuError(f"image {target / 'images' / name} cannot be written; check the folder")
        images.append(image_entry(each.frame_id, each.sequence_id, name))
        annotations += each.annotations
    path = target / "annotations.json"
    path.write_text(json.dumps(coco_dict(images, annotations)))
    return path
