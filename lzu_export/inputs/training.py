"""Find the training annotations that a saliency is made from, in any known layout."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from lzu_export.errors import LzuError
from lzu_export.inputs import camvid, cityscapes
from lzu_export.inputs.classes import plain
from lzu_export.inputs.coco import ARGOVERSE
from lzu_export.inputs.label_maps import Labels, check_numbers, read_numbers
from lzu_export.inputs.label_sets import (
    CLASSES_FILE,
    LABELS_FOLDER,
    maps_below,
    named_numbers,
)

SPLITS = camvid.SPLITS[::-1]
"""Splits in order of preference in a root that holds several: training annotations first."""


class TrainingMaps(NamedTuple):
    """Label maps of a training set, not read yet."""

    files: list[Path]
    read: Callable[[Path], Labels]
    """Reader of a label map (H, W), whose values are places in the recipe's classes or IGNORED."""


def training_boxes(path: Path) -> Path | None:
    """Find a path's COCO annotations: the file itself, or Argoverse-HD's in a folder; else None."""
    if path.is_dir():
        inside = path / ARGOVERSE / "train.json"
        return inside if inside.is_file() else None
    return path if path.suffix.lower() == ".json" else None


def training_maps(path: Path, classes: Sequence[str]) -> TrainingMaps:
    """List the label maps of a folder in any known layout.

    Known layouts are those of evaluation sets: the root of Cityscapes, of CamVid or of a folder
    with `classes.txt`, where the training split counts; and a folder of their label maps alone. In
    any other folder all PNG files in it and below are maps whose numbers are places in the recipe's
    classes.txt`, where the training split counts; and a folder of their label maps alone. In any
    other folder all PNG files in it and below are maps whose numbers are places in the recipe's
    classes.

    Args:
        path: the folder.
        classes: the recipe's classes.

    Raises:
        LzuError: there are no label maps, or they have other classes.
    """
    found = _layout(path, f"the saliency {path}", classes)
    if not found.files:
        raise LzuError(f"saliency {path} holds no label maps (.png); give a folder that does")
    return found


def _layout(path: Path, called: str, classes: Sequence[str]) -> TrainingMaps:
    for find in (_cityscapes, _named, _camvid):
        found = find(path, called, classes)
        if found is not None:
            return found
    inside = path / LABELS_FOLDER
    return TrainingMaps(maps_below(inside if inside.is_dir() else path), _numbers(classes))


def _cityscapes(path: Path, called: str, classes: Sequence[str]) -> TrainingMaps | None:
    """List Cityscapes' maps of ids or trainIds; trainIds may be converted to other classes."""
    is_root = cityscapes.is_cityscapes(path) or (path / cityscapes.TRUTH).is_dir()
    if is_root or _are(classes, tuple(cityscapes.CLASSES)):
        files = cityscapes.training_maps(path)
        if files or is_root:
            return TrainingMaps(files, cityscapes.ids(called, classes)[1])
    own = maps_below(path, f"*{cityscapes.TRAIN_IDS}.png")
    return TrainingMaps(own, _numbers(classes)) if own else None


def _named(path: Path, called: str, classes: Sequence[str]) -> TrainingMaps | None:
    """List the maps of a folder with `classes.txt`, or of the folder `labels` in such a folder."""
    for folder in (path, *(path / split for split in SPLITS)):
        if (folder / CLASSES_FILE).is_file():
            read = named_numbers(folder, called, classes)[1]
            return TrainingMaps(maps_below(folder / LABELS_FOLDER), read)
    if path.name == LABELS_FOLDER and (path.parent / CLASSES_FILE).is_file():
        return TrainingMaps(maps_below(path), named_numbers(path.parent, called, classes)[1])
    return None


def _camvid(path: Path, called: str, classes: Sequence[str]) -> TrainingMaps | None:
    """List the maps of CamVid in one of its layouts, or of a folder of its label maps alone."""
    place = camvid.find_place(path, SPLITS) if camvid.is_camvid(path) else None
    folder = path if place is None else place.labels
    files = maps_below(folder)
    if not files or not camvid.FILE.match(files[0].name):
        return None
    if place is None and not _are(camvid.as_own(classes), tuple(camvid.GROUPS)):
        return None  # converted to other classes
    folders = (folder, path, path.parent, folder.parent)
    return TrainingMaps(files, camvid.numbers_or_colours(called, folders, classes)[1])


def _numbers(classes: Sequence[str]) -> Callable[[Path], Labels]:
    return lambda file: check_numbers(file, read_numbers(file), classes)


def _are(classes: Sequence[str], own: Sequence[str]) -> bool:
    """Whether a recipe has the classes of a set, in any order."""
    return sorted(map(plain, classes)) == sorted(map(plain, own))
