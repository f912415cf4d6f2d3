"""CamVid in its common layouts, with colour or number labels, as 11 classes.

[Brostow et al. 2009] has 32 names. The 11 groups come from SegNet [Badrinarayanan et al. 2017];
MathWorks' example on SegNet lists their members. Files are named after the four videos.
"""

import csv
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lzu_export.errors import LzuError
from lzu_export.inputs.classes import listed, match_classes
from lzu_export.inputs.label_maps import Labels, read_label_map
from lzu_export.inputs.label_sets import LabelFiles, Pair, images_in, label_table, names_in
from lzu_export.support.files import read_text
from lzu_export.support.limits import IGNORED

GROUPS = {
    "sky": ("Sky",),
    "building": ("Building", "Archway", "Bridge", "Tunnel", "Wall"),
    "pole": ("Column_Pole", "TrafficCone"),
    "road": ("Road", "LaneMkgsDriv", "LaneMkgsNonDriv"),
    "pavement": ("Sidewalk", "ParkingBlock", "RoadShoulder"),
    "tree": ("Tree", "VegetationMisc"),
    "sign": ("SignSymbol", "Misc_Text", "TrafficLight"),
    "fence": ("Fence",),
    "car": ("Car", "OtherMoving", "SUVPickupTruck", "Train", "Truck_Bus"),
    "pedestrian": ("Pedestrian", "Animal", "CartLuggagePram", "Child"),
    "bicyclist": ("Bicyclist", "MotorcycleScooter"),
}
"""CamVid names grouped by class, in the order of SegNet's labels; `Void` (label 11) is ignored."""

COLOURS = {
    "Animal": (64, 128, 64),
    "Archway": (192, 0, 128),
    "Bicyclist": (0, 128, 192),
    "Bridge": (0, 128, 64),
    "Building": (128, 0, 0),
    "Car": (64, 0, 128),
    "CartLuggagePram": (64, 0, 192),
    "Child": (192, 128, 64),
    "Column_Pole": (192, 192, 128),
    "Fence": (64, 64, 128),
    "LaneMkgsDriv": (128, 0, 192),
    "LaneMkgsNonDriv": (192, 0, 64),
    "Misc_Text": (128, 128, 64),
    "MotorcycleScooter": (192, 0, 192),
    "OtherMoving": (128, 64, 64),
    "ParkingBlock": (64, 192, 128),
    "Pedestrian": (64, 64, 0),
    "Road": (128, 64, 128),
    "RoadShoulder": (128, 128, 192),
    "Sidewalk": (0, 0, 192),
    "SignSymbol": (192, 128, 128),
    "Sky": (128, 128, 128),
    "SUVPickupTruck": (64, 128, 192),
    "TrafficCone": (0, 0, 64),
    "TrafficLight": (0, 64, 64),
    "Train": (192, 64, 128),
    "Tree": (128, 128, 0),
    "Truck_Bus": (192, 128, 192),
    "Tunnel": (64, 0, 64),
    "VegetationMisc": (192, 192, 0),
    "Void": (0, 0, 0),
    "Wall": (64, 192, 0),
}
"""Red, green and blue of each CamVid name, from CamVid's `label_colors.txt`."""

SYNONYMS = {"signsymbol": "sign", "sign_symbol": "sign", "sidewalk": "pavement",
            "column_pole": "pole"}  # fmt: skip
"""Keys of `GROUPS` by other names that recipes give to these classes."""

SPLITS = ("val", "test", "train")
"""Splits in order of preference for accuracy; saliency maps prefer them in the reverse order."""

FILE = re.compile(r"(0001TP|0006R0|0016E5|Seq05VD)_f?(\d+)")
TABLES = ("class_dict.csv", "label_colors.txt", "codes.txt")


class Place(NamedTuple):
    """A folder of images and the folder of their label maps."""

    images: Path
    labels: Path


def is_camvid(path: Path) -> bool:
    """Whether a folder holds CamVid's files in one of its layouts."""
    place = find_place(path)
    return place is not None and any(FILE.match(each.name) for each in images_in(place.images))


def find_place(path: Path, splits: Sequence[str] = SPLITS) -> Place | None:
    """Find the folders of images and label maps of a split or of the whole set.

    Known pairs of folders: `images` and `labels`; `val` and `valannot` [SegNet]; `val` and
    `val_labels`; `701_StillsRaw_full` and `LabeledApproved_full` [the original]. The path may be a
    root of splits, or a split.
    """
    for folder in (path, *(path / split for split in splits)):
        for images, labels in (
            (folder / "images", folder / "labels"),
            (folder, folder.with_name(f"{folder.name}annot")),
            (folder, folder.with_name(f"{folder.name}_labels")),
            (folder / "701_StillsRaw_full", folder / "LabeledApproved_full"),
        ):
            if images.is_dir() and labels.is_dir():
                return Place(images, labels)
    return None


def camvid(path: Path, classes: Sequence[str] | None = None) -> LabelFiles:
    """List CamVid's files in the order of its videos.

    In a root with several splits, `val` is read, else `test`, else `train`.

    Raises:
        LzuError: a table of colours is damaged, or the recipe has other classes.
    """
    place = find_place(path)
    assert place is not None, "asked before"
    split = place.images.name if place.images.name != "images" else place.images.parent.name
    name = f"{path.name}" if split == path.name else f"{path.name} {split}"
    ordered, read = numbers_or_colours(
        f"the evaluation set {name}",
        (place.labels, path, path.parent, place.images.parent),
        classes,
    )
    pairs = [_pair(each, place.labels) for each in images_in(place.images)]
    return LabelFiles(name, ordered, pairs, read)


def numbers_or_colours(
    called: str, folders: Sequence[Path], classes: Sequence[str] | None
) -> tuple[tuple[str, ...], Callable[[Path], Labels]]:
    """Return the classes in the recipe's order and a reader of label maps of numbers or colours.

    Args:
        called: name of the set in error messages about classes.
        folders: folders that may hold a table of colours or numbers; the last one found counts.
        classes: the recipe's classes; the 11 of SegNet if None.

    Raises:
        LzuError: a table is damaged, or the recipe has other classes.
    """
    wanted = None if classes is None else as_own(classes)
    matched, places = match_classes(called, tuple(GROUPS), wanted)
    group = dict(zip(GROUPS, places, strict=True))
    by_name = {each: group[label] for label, names in GROUPS.items() for each in names}
    tables = {
        file.name: file
        for folder in folders
        for file in (folder / each for each in TABLES)
        if file.is_file()
    }
    numbers = label_table(dict(enumerate(places)))  # SegNet's labels, of which 11 is void
    last = len(GROUPS)
    if "codes.txt" in tables:
        names = names_in(tables["codes.txt"])
        known = _known(names, tables["codes.txt"])
        numbers = label_table({i: by_name.get(each, IGNORED) for i, each in enumerate(known)})
        last = len(names) - 1
    colours = _read_colours(tables)
    table = np.full(1 << 24, IGNORED + 1, np.uint16)
    for each, (red, green, blue) in colours.items():
        table[red << 16 | green << 8 | blue] = by_name.get(each, IGNORED)

    def read(file: Path) -> Labels:
        labels, palette = read_label_map(file)
        if palette is not None:  # indices of classes, unless all colours in use are CamVid's own
            used = palette[: int(labels.max()) + 1]
            seen = np.unique(labels[labels < len(used)])
            if seen.size and (table[_codes(used[seen])] <= IGNORED).all():
                labels = used[:, ::-1][labels]
        if labels.ndim == 2:
            unknown = np.unique(labels[(labels > last) & (labels != IGNORED)])
            found = numbers[labels]
        else:
            code = _codes(labels[..., ::-1])
            found = table[code]
            unknown = np.unique(code[found > IGNORED])
        if unknown.size:
            what = "colour" if labels.ndim == 3 else "label"
            values = [f"#{each:06x}" for each in unknown] if labels.ndim == 3 else unknown
            raise LzuError(
                f"label map {file} holds the {what} {listed(values)}, which is none of CamVid's; "
                f"put its table ({' or '.join(TABLES)}) beside the images' folder"
            )
        return found.astype(np.uint8)

    return (matched if classes is None else tuple(classes)), read


def as_own(classes: Sequence[str]) -> list[str]:
    """Replace synonyms among a recipe's class names with the names in `GROUPS`."""
    return [SYNONYMS.get(each.lower(), each) for each in classes]


def _codes(colours: np.ndarray) -> np.ndarray:
    """Pack red, green and blue of the last axis into one number."""
    return np.asarray(colours.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32))


def _pair(image: Path, folder: Path) -> Pair:
    """Pair an image with its label map, whose name is the same or ends in `_L` or `_P`."""
    names = [f"{image.stem}{end}.png" for end in ("", "_L", "_P")]
    there = (folder / each for each in names if (folder / each).is_file())
    match = FILE.match(image.name)
    return Pair(image, next(there, folder / names[0]), match.group(1) if match else 0)


def _read_colours(tables: dict[str, Path]) -> dict[str, tuple[int, int, int]]:
    """Read colours by name from the table that was found; CamVid's own colours if there is none."""
    if "class_dict.csv" in tables:
        file = tables["class_dict.csv"]
        lines = csv.DictReader(read_text(file).splitlines(), skipinitialspace=True)
        rows = [[str(row.get(each)) for each in ("name", "r", "g", "b")] for row in lines]
    elif "label_colors.txt" in tables:
        file = tables["label_colors.txt"]
        lines_of = [line.split() for line in read_text(file).splitlines()]
        rows = [[line[-1], *line[:-1]] for line in lines_of if line and not line[0].startswith("#")]
    else:
        return COLOURS
    try:
        found = {name: (int(r), int(g), int(b)) for name, r, g, b in rows}
        if not all(0 <= value <= 255 for colour in found.values() for value in colour):
            raise ValueError("a value is not within 0..255")
    except (ValueError, TypeError) as error:
        raise LzuError(
            f"{file} is not a table of names and colours ({error}); give CamVid's, or remove it"
        ) from error
    _known(list(found), file)
    return found


def _known(names: Sequence[str], file: Path) -> Sequence[str]:
    unknown = [each for each in names if each not in COLOURS]
    if unknown:
        raise LzuError(
            f"{file} names {listed(unknown)}, which is none of CamVid's 32 classes; give CamVid's "
            "table, or name the folder's classes in classes.txt"
        )
    return names
