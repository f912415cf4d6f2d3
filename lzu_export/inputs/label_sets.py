"""Find label maps in the layouts of data sets: files, classes, and how to read them.

This module reads the plain folder; Cityscapes and CamVid have modules of their own.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lzu_export.errors import LzuError
from lzu_export.inputs import images as image_files
from lzu_export.inputs.classes import listed, match_classes
from lzu_export.inputs.label_maps import Labels, check_numbers, read_numbers
from lzu_export.support.files import read_text
from lzu_export.support.limits import IGNORED

CLASSES_FILE = "classes.txt"
IMAGES_FOLDER, LABELS_FOLDER = "images", "labels"


class Pair(NamedTuple):
    """An image and its label map."""

    image: Path
    labels: Path
    sequence: int | str = 0


class LabelFiles(NamedTuple):
    """Files and classes of a labelled set; the files are not read yet."""

    name: str
    classes: tuple[str, ...]
    """Names of the classes, in the order of their places in label maps."""
    pairs: list[Pair]
    """Images with their label maps, in time order."""
    read: Callable[[Path], Labels]
    """Reader of a label map (H, W), whose values are places in `classes` or IGNORED."""


def label_folder(path: Path, classes: Sequence[str] | None = None) -> LabelFiles:
    """List a folder of `images` with label maps of the same names in `labels` (.png).

    The classes' names are the lines of `classes.txt`, in the order of their labels.

    Raises:
        LzuError: there are no images or no class names, or the recipe has other classes.
    """
    ordered, read = named_numbers(path, f"the evaluation set {path.name}", classes)
    images = images_in(path / IMAGES_FOLDER)
    if not images:
        raise LzuError(f"{path / IMAGES_FOLDER} holds no images to measure on; add some")
    pairs = [Pair(image, path / LABELS_FOLDER / f"{image.stem}.png") for image in images]
    return LabelFiles(path.name, ordered, pairs, read)


def named_numbers(
    path: Path, called: str, classes: Sequence[str] | None
) -> tuple[tuple[str, ...], Callable[[Path], Labels]]:
    """Return the classes of a folder's `classes.txt` and a reader of label maps of their numbers.

    Raises:
        LzuError: there is no such file, or the recipe has other classes.
    """
    file = path / CLASSES_FILE
    if not file.is_file():
        raise LzuError(
            f"{path} has no {CLASSES_FILE}; give one with the classes' names, one a line in the "
            "order of their labels"
        )
    own = names_in(file)
    ordered, places = match_classes(called, own, classes)
    table = label_table(dict(enumerate(places)))
    return ordered, lambda each: table[check_numbers(each, read_numbers(each), own)]


def names_in(file: Path) -> tuple[str, ...]:
    """Read the lines of a file that are not blank.

    Raises:
        LzuError: the file is unreadable, is not UTF-8, or has only blank lines.
    """
    found = tuple(line.strip() for line in read_text(file).split("\n") if line.strip())
    if not found:
        raise LzuError(f"{file} is empty; write one name a line")
    return found


def check_pairs(pairs: Sequence[Pair]) -> None:
    """Check that every image has a label map of its own.

    Raises:
        LzuError: a label map is missing, or images share one; the message names the files.
    """
    for each in pairs:
        if not each.labels.is_file():
            raise LzuError(
                f"{each.labels.parent} has no {each.labels.name} for {each.image.name}; add it"
            )
    shared = [file for file, count in Counter(each.labels for each in pairs).items() if count > 1]
    if shared:
        names = [each.image.name for each in pairs if each.labels == shared[0]]
        raise LzuError(
            f"{listed(names)} in {pairs[0].image.parent} would share the label map "
            f"{shared[0].name}; keep one of them"
        )


def check_information(name: str, files: Sequence[Path], read: Callable[[Path], Labels],
                      classes: Sequence[str]) -> None:  # fmt: skip
    """Refuse label maps with fewer than two classes, since any prediction would score well.

    Maps are read only until two classes were seen; mostly that is one map.

    Raises:
        LzuError: all maps together hold one class at most, though `classes` has several, or none.
    """
    seen: set[int] = set()
    for file in files:
        seen |= set(np.unique(read(file)).tolist())
        if len(seen - {IGNORED}) >= min(2, len(classes)):
            return
    raise LzuError(f"{name} {without_information(seen, classes)}")


def without_information(seen: set[int], classes: Sequence[str]) -> str:
    """End of an error message about label maps with fewer than two classes."""
    named = [classes[each] for each in sorted(seen - {IGNORED})]
    found = f"no class but {named[0]}" if named else "no class at all"
    remedy = "give label maps of several classes"
    if IGNORED in seen:
        remedy = f"{IGNORED} is ignored: number the classes from 0, 0 and 1 in a mask of two"
    return f"holds {found} in its label maps, so nothing can be measured; {remedy}"


def label_table(places: dict[int, int]) -> Labels:
    """Return the table (256,) of classes' places by label; all other labels are IGNORED.

    Raises:
        LzuError: there are more classes than 8 bits can hold beside the ignored label.
    """
    if max(places, default=0) >= IGNORED:
        raise LzuError(
            f"there are {len(places)} classes, but label maps of 8 bits can have {IGNORED} at "
            f"most, since {IGNORED} is ignored; join some"
        )
    table = np.full(256, IGNORED, np.uint8)
    for label, place in places.items():
        table[label] = place
    return table


def images_in(folder: Path) -> list[Path]:
    """List a folder's images by name, without hidden files; none if there is no such folder."""
    return image_files.images_in(folder) if folder.is_dir() else []


def maps_below(folder: Path, pattern: str = "*.png") -> list[Path]:
    """List label maps in a folder and below by path, without hidden files."""
    return sorted(each for each in folder.rglob(pattern) if not image_files.is_hidden(each))
