"""Find label maps in the layouts of data sets: files, classes, and how to read them.

The plain folder is here; Cityscapes and CamVid have modules of their own.
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
    """The files of a set, not read yet."""

    name: str
    classes: tuple[str, ...]
    """Names of the classes, in the order of the labels."""
    pairs: list[Pair]
    """In the order of time."""
    read: Callable[[Path], Labels]
    """A label map (H, W) of places in `classes`, or IGNORED."""


def label_folder(path: Path, classes: Sequence[str] | None = None) -> LabelFiles:
    """A folder of `images` and label maps of the same names in `labels` (.png).

    The classes' names are the lines of `classes.txt`, in the order of their labels.

    Raises:
        LzuError: there are no images, names are missing, or the recipe has others.
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
    """Classes of a folder's `classes.txt`, and how to read label maps of their numbers.

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
    """The lines of a file that hold something.

    Raises:
        LzuError: it is unreadable, not in UTF-8, or holds nothing.
    """
    found = tuple(line.strip() for line in read_text(file).split("\n") if line.strip())
    if not found:
        raise LzuError(f"{file} is empty; write one name a line")
    return found


def check_pairs(pairs: Sequence[Pair]) -> None:
    """Refuse images without label maps, and two images that share one.

    Raises:
        LzuError: naming the files.
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
    """Refuse label maps in which no two classes are: any prediction would do.

    Maps are read only until two classes were seen, most often one map.

    Raises:
        LzuError: one class at most is in all of them.
    """
    seen: set[int] = set()
    for file in files:
        seen |= set(np.unique(read(file)).tolist())
        if len(seen - {IGNORED}) >= min(2, len(classes)):
            return
    raise LzuError(f"{name} {without_information(seen, classes)}")


def without_information(seen: set[int], classes: Sequence[str]) -> str:
    """The end of a sentence on label maps with fewer than two classes."""
    named = [classes[each] for each in sorted(seen - {IGNORED})]
    found = f"no class but {named[0]}" if named else "no class at all"
    remedy = "give label maps of several classes"
    if IGNORED in seen:
        remedy = f"{IGNORED} is ignored: number the classes from 0, 0 and 1 in a mask of two"
    return f"holds {found} in its label maps, so nothing can be measured; {remedy}"


def label_table(places: dict[int, int]) -> Labels:
    """(256,) places of classes by label; all others are IGNORED.

    Raises:
        LzuError: there are more classes than 8 bits can tell apart beside the ignored label.
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
    """A folder's images, by name; none where there is no such folder. Hidden files are none."""
    return image_files.images_in(folder) if folder.is_dir() else []


def maps_below(folder: Path, pattern: str = "*.png") -> list[Path]:
    """Label maps in a folder and below, by path; hidden files are none."""
    return sorted(each for each in folder.rglob(pattern) if not image_files.is_hidden(each))
