"""Images with label maps: what all their layouts share, and the plain folder."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lzu_benchmarks.layouts.choose import evenly
from lzu_benchmarks.scorers import LabelScorer
from lzu_export.datasets import Sample
from lzu_export.errors import LzuError
from lzu_export.inputs.classes import match_classes
from lzu_export.limits import IGNORED
from lzu_export.runtime import images as image_files
from lzu_export.runtime.images import read_image
from lzu_export.runtime.predictor import Shot
from lzu_export.runtime.sources import read_labels

Labels = NDArray[np.uint8]


class Pair(NamedTuple):
    """An image and its label map."""

    image: Path
    labels: Path
    sequence: int | str = 0


class LabelSet:
    """Images and label maps, read in the layout's own way."""

    note = "boundary: within 3 pixels of one; upper, middle, lower: thirds of the image"
    metric = "mIoU"

    def __init__(
        self,
        name: str,
        pairs: Sequence[Pair],
        classes: tuple[str, ...],
        read: Callable[[Path], Labels],
        frames: int | None,
    ) -> None:
        """Take at most `frames` pairs, evenly.

        Args:
            name: of the set.
            pairs: in the order of time.
            classes: what labels count.
            read: a label map (H, W) of places in `classes`, or IGNORED.
            frames: at most so many.

        Raises:
            LzuError: a label map is missing.
        """
        self.name, self.classes = name, classes
        self._pairs, self._read = evenly(pairs, frames), read
        for each in self._pairs:
            if not each.labels.is_file():
                raise LzuError(
                    f"{each.labels.parent} has no {each.labels.name} for {each.image.name}; add it"
                )

    def __len__(self) -> int:
        """Number of frames."""
        return len(self._pairs)

    def samples(self, start: int = 0) -> Iterator[Sample]:
        """Images with their label maps, from the one of place `start` on."""
        for number, each in enumerate(self._pairs[start:], start=start + 1):
            frame, labels = read_image(each.image), self._read(each.labels)
            if frame.shape[:2] != labels.shape:
                sizes = ["x".join(map(str, shape[:2])) for shape in (labels.shape, frame.shape)]
                raise LzuError(
                    f"label map {each.labels} has {sizes[0]} pixels but {each.image.name} "
                    f"{sizes[1]}; give them one size"
                )
            yield Sample(number, Shot(frame), labels, str(each.image), each.sequence)

    def scorer(self) -> LabelScorer:
        """Cityscapes' metrics, with nothing counted."""
        return LabelScorer(self.classes)


def label_folder(path: Path, frames: int | None, classes: Sequence[str] | None = None) -> LabelSet:
    """A folder of `images` and label maps of the same names in `labels` (.png).

    The classes' names are the lines of `classes.txt`, in the order of their labels.

    Raises:
        LzuError: there are no images, label maps or names are missing, or the recipe has others.
    """
    file = path / "classes.txt"
    if not file.is_file():
        raise LzuError(
            f"{path} has no classes.txt; give one with the classes' names, one a line in the "
            "order of their labels"
        )
    lines = (line.strip() for line in file.read_text(encoding="utf-8").split("\n"))
    own = tuple(line for line in lines if line)
    ordered, places = match_classes(f"the evaluation set {path.name}", own, classes)
    table = label_table({label: place for label, place in enumerate(places)})
    images = images_in(path / "images")
    if not images:
        raise LzuError(f"{path / 'images'} holds no images to measure on; add some")
    pairs = [Pair(image, path / "labels" / f"{image.stem}.png") for image in images]
    return LabelSet(path.name, pairs, ordered, lambda each: table[read_labels(each, own)], frames)


def label_table(places: dict[int, int]) -> Labels:
    """(256,) places of classes by label; all others are IGNORED."""
    table = np.full(256, IGNORED, np.uint8)
    for label, place in places.items():
        table[label] = place
    return table


def images_in(folder: Path) -> list[Path]:
    """A folder's images, by name; none where there is no such folder."""
    if not folder.is_dir():
        return []
    return image_files.images_in(folder)
