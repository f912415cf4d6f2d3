"""Read Cityscapes, in `leftImg8bit/<split>/<city>` and `gtFine/<split>/<city>`.

Source: [Cordts et al. 2016].
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from lzu_export.errors import LzuError
from lzu_export.inputs.classes import listed, match_classes
from lzu_export.inputs.label_maps import Labels, read_numbers
from lzu_export.inputs.label_sets import LabelFiles, Pair, images_in, label_table, maps_below
from lzu_export.support.limits import IGNORED

IMAGES, TRUTH = "leftImg8bit", "gtFine"
IDS, TRAIN_IDS = "_labelIds", "_labelTrainIds"
"""Endings of label maps' names; the files that end in `_color` or `_instanceIds` are renderings."""

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
"""Ids of the 19 evaluated classes, in the order of their trainIds; all other ids are ignored.
Source: cityscapesscripts' `labels`."""
LAST = 33
"""Greatest id of a Cityscapes class."""


def is_cityscapes(path: Path) -> bool:
    """Whether a folder is the root of Cityscapes, its folder of images, or a split of those."""
    return IMAGES in (path.name, path.parent.name) or (path / IMAGES).is_dir()


def cityscapes(path: Path, classes: Sequence[str] | None = None) -> LabelFiles:
    """List Cityscapes' validation split, or the split whose folder of images is given.

    A sequence is named by the city and number in the file names.

    Raises:
        LzuError: there are no images, or the recipe has other classes.
    """
    root, split = _root(path, "val")
    name = f"{root.name} {split}"
    ordered, read = ids(f"the evaluation set {name}", classes)
    folder = root / IMAGES / split
    cities = sorted(each for each in folder.glob("*") if each.is_dir())
    images = [image for city in cities for image in images_in(city)]
    if not images:
        raise LzuError(
            f"{folder} holds no <city>/*_{IMAGES}.png; unpack {IMAGES}_trainvaltest.zip there"
        )
    return LabelFiles(name, ordered, [_pair(each, root / TRUTH / split) for each in images], read)


def training_maps(path: Path) -> list[Path]:
    """List the label maps below a folder: ids, or trainIds for an image that has no ids.

    For the root, the folder of images or the folder of label maps, only the split `train` counts.
    """
    if is_cityscapes(path):
        root, split = _root(path, "train")
        path = root / TRUTH / split
    elif (path / TRUTH).is_dir():
        path = path / TRUTH / "train"
    elif path.name == TRUTH and (path / "train").is_dir():
        path = path / "train"
    there = {each.name: each for each in maps_below(path, f"*{IDS}.png")}
    train_ids = maps_below(path, f"*{TRAIN_IDS}.png")
    others = [each for each in train_ids if each.name.replace(TRAIN_IDS, IDS) not in there]
    return sorted([*there.values(), *others])


def ids(
    called: str, classes: Sequence[str] | None
) -> tuple[tuple[str, ...], Callable[[Path], Labels]]:
    """Return the classes in the recipe's order and a reader of label maps of ids or trainIds.

    Args:
        called: name of the set in error messages about classes.
        classes: the recipe's classes; Cityscapes' own if None.

    Raises:
        LzuError: the recipe has other classes.
    """
    ordered, places = match_classes(called, tuple(CLASSES), classes)
    by_id = label_table(dict(zip(CLASSES.values(), places, strict=True)))
    by_train_id = label_table(dict(enumerate(places)))

    def read(file: Path) -> Labels:
        if file.stem.endswith(TRAIN_IDS):
            return _mapped(file, by_train_id, len(CLASSES) - 1)
        return _mapped(file, by_id, LAST)

    return ordered, read


def _root(path: Path, split: str) -> tuple[Path, str]:
    """Return the root and the split that a path names; `split` if it names none."""
    if path.parent.name == IMAGES:
        return path.parent.parent, path.name
    return (path.parent if path.name == IMAGES else path), split


def _pair(image: Path, truth: Path) -> Pair:
    """Pair an image with its map of ids, or of trainIds if there is no map of ids."""
    stem = image.stem.removesuffix(f"_{IMAGES}")
    by_id, by_train_id = (
        truth / image.parent.name / f"{stem}_{TRUTH}{end}.png" for end in (IDS, TRAIN_IDS)
    )
    sequence = stem.rpartition("_")[0]  # city and number; the last number counts frames
    only = by_train_id.is_file() and not by_id.is_file()
    return Pair(image, by_train_id if only else by_id, sequence)


def _mapped(file: Path, table: Labels, last: int) -> Labels:
    labels = read_numbers(file)
    unknown = np.unique(labels[(labels > last) & (labels != IGNORED)])
    if unknown.size:
        raise LzuError(
            f"label map {file} holds the label {listed(unknown)}, which Cityscapes does not have; "
            f"unpack {TRUTH} again"
        )
    return np.asarray(table[labels])
