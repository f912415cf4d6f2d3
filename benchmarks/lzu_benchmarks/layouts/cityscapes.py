"""Cityscapes: `leftImg8bit/<split>/<city>` and `gtFine/<split>/<city>` [Cordts et al. 2016]."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lzu_benchmarks.layouts.labels import Labels, LabelSet, Pair, images_in, label_table
from lzu_export.errors import LzuError
from lzu_export.inputs.classes import listed, match_classes
from lzu_export.limits import IGNORED
from lzu_export.runtime.images import read_unchanged

IMAGES, TRUTH = "leftImg8bit", "gtFine"

CLASSES = {
    "road": 7,
    "sidewalk": 8,
    "building": 11,
    "wall": 12,
    "fence": 13,
    "pole": 17,
    "traffic light": 19,
    "traffic sign": 20,
    "vegetation": 21,
    "terrain": 22,
    "sky": 23,
    "person": 24,
    "rider": 25,
    "car": 26,
    "truck": 27,
    "bus": 28,
    "train": 31,
    "motorcycle": 32,
    "bicycle": 33,
}
"""The 19 classes that are evaluated, in the order of their trainIds, and their ids, as in
cityscapesscripts' `labels`; the other ids are ignored."""
LAST = 33
"""The greatest id."""


def is_cityscapes(path: Path) -> bool:
    """Whether a folder is the root of Cityscapes, its images, or a split of them."""
    return IMAGES in (path.name, path.parent.name) or (path / IMAGES).is_dir()


def cityscapes(path: Path, frames: int | None, classes: Sequence[str] | None = None) -> LabelSet:
    """Cityscapes' validation split, or the split whose folder of images is given.

    Sequences are those of a city.

    Raises:
        LzuError: there are no images, a label map is missing, or the recipe has other classes.
    """
    split = "val"
    root = path
    if path.parent.name == IMAGES:
        root, split = path.parent.parent, path.name
    elif path.name == IMAGES:
        root = path.parent
    name = f"{root.name} {split}"
    ordered, places = match_classes(f"the evaluation set {name}", tuple(CLASSES), classes)
    folder = root / IMAGES / split
    cities = sorted(each for each in folder.glob("*") if each.is_dir())
    images = [image for city in cities for image in images_in(city)]
    if not images:
        raise LzuError(
            f"{folder} holds no <city>/*_{IMAGES}.png; unpack {IMAGES}_trainvaltest.zip there"
        )
    by_id = label_table(dict(zip(CLASSES.values(), places, strict=True)))
    by_train_id = label_table(dict(enumerate(places)))

    def read(file: Path) -> Labels:
        if file.stem.endswith("_labelTrainIds"):
            return _mapped(file, by_train_id, len(CLASSES) - 1)
        return _mapped(file, by_id, LAST)

    return LabelSet(
        name, [_pair(each, root / TRUTH / split) for each in images], ordered, read, frames
    )


def _pair(image: Path, truth: Path) -> Pair:
    """An image and its ids, or its trainIds where there are only those."""
    stem = image.stem.removesuffix(f"_{IMAGES}")
    there = truth / image.parent.name
    ids, train_ids = (
        there / f"{stem}_{TRUTH}_{kind}.png" for kind in ("labelIds", "labelTrainIds")
    )
    sequence = stem.rpartition("_")[0]  # city and number; the last number counts frames
    return Pair(image, train_ids if train_ids.is_file() and not ids.is_file() else ids, sequence)


def _mapped(file: Path, table: Labels, last: int) -> Labels:
    labels = read_unchanged(file)
    if labels.ndim != 2 or labels.dtype != np.uint8:
        raise LzuError(f"label map {file} is no 8-bit PNG of one channel; unpack {TRUTH} again")
    unknown = np.unique(labels[(labels > last) & (labels != IGNORED)])
    if unknown.size:
        raise LzuError(
            f"label map {file} holds the label {listed(unknown)}, which Cityscapes does not have; "
            f"unpack {TRUTH} again"
        )
    return np.asarray(table[labels])
