"""Read COCO annotations, and check images and boxes before anything uses them.

A wrong box shows in no picture: it lowers a metric, or moves a saliency into a corner. So each box
is checked against its frame, and a contradiction is refused with the number of the annotation.
Irregularities of COCO's own files are accepted: boxes a fraction of a pixel beyond the frame and,
up to 1 in 1000, boxes without width or height.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from lzu_export.errors import LzuError
from lzu_export.inputs.classes import match_classes, plain
from lzu_export.inputs.coco_boxes import (
    CocoImage,
    CocoObject,
    Id,
    _number,
    check_boxes,
    check_numbers,
    extent_of,
    shown,
)
from lzu_export.support.files import read_json

SEQUENCE = ("sid", "video_id", "sequence_id")
"""Fields of an image that may name its sequence; `sid` is Argoverse-HD's."""
ORDER = ("fid", "frame_id")
"""Fields of an image that may give its number within its sequence; `fid` is Argoverse-HD's."""
ARGOVERSE = "Argoverse-HD/annotations"
"""Folder of Argoverse-HD's annotations, relative to the folder that the set is unpacked into."""
ARGOVERSE_TREES = ("Argoverse-1.1/tracking", "Argoverse-1.1/images")
"""Folders that may hold Argoverse-HD's `seq_dirs`, relative to the parent of its own folder."""

MOST_BYTES = 4 << 30
"""Size limit of an annotation file, in bytes; COCO's files are below 500 MB, LVIS' below 1.2 GB."""
LONGEST_NAME, LONGEST_PATH = 255, 2000
"""Longest file or folder name in bytes, and longest path in characters, that are accepted."""


class CocoData(NamedTuple):
    """Images, classes and objects of a COCO file, checked."""

    path: Path
    classes: tuple[str, ...]
    images: list[CocoImage]
    """Images in the order of the file."""
    objects: list[CocoObject]
    """Annotated objects in the order of the file."""


def read_coco(
    path: Path, classes: Sequence[str] | None = None, called: str | None = None
) -> CocoData:
    """Read and check images, categories and boxes.

    Args:
        path: path of the annotation file.
        classes: the recipe's classes in its order; by default the file's own, in the order of ids.
        called: name of the set in error messages about classes; by default made of the file's name.

    Raises:
        LzuError: the file is not a COCO data set; ids are missing, of several types, repeated or
            unknown; the recipe has other classes; or a box contradicts itself or its frame.
    """
    data = _sections(path, ("images", "annotations", "categories"))
    images = _images(path, data)
    by_id = _by_id(path, images)
    annotations = [
        (_called(entry, i), entry) for i, entry in enumerate(_entries(path, data, "annotations"), 1)
    ]
    own = _categories(path, data, annotations, classes)
    found, places = match_classes(
        called or f"the evaluation set {path.name}", list(own.values()), classes
    )
    labels = dict(zip(own, places, strict=True))
    objects = [
        CocoObject(
            name,
            _reference(path, name, entry, "image_id", "image", by_id),
            labels[_reference(path, name, entry, "category_id", "category", labels)],
            *extent_of(path, name, entry),
        )
        for name, entry in annotations
    ]
    check_numbers(path, annotations)
    check_boxes(path, objects, by_id)
    return CocoData(path, found, images, objects)


def read_coco_images(path: Path) -> list[CocoImage]:
    """Read only the images of a file, which may lack annotations and categories.

    Raises:
        LzuError: the file is not a COCO data set, or an image has no name.
    """
    return _images(path, _sections(path, ("images",)))


def in_time(data: CocoData) -> list[tuple[CocoImage, str]]:
    """List images with the names of their sequences, ordered by sequence and time.

    Sequences are ordered by the id of their first image. Images that name no sequence are ordered
    by id, and their folder is the sequence.

    Raises:
        LzuError: numbers within a sequence cannot be ordered.
    """
    rows = []
    first: dict[Any, int] = {}
    try:
        for place, image in enumerate(_by_number(data.images)):
            if image.sequence is None:
                rows.append((place, 0, image, str(PurePosixPath(image.key).parent)))
            else:
                begin = first.setdefault(image.sequence, place)
                rows.append((begin, image.order, image, str(image.sequence)))
        rows.sort(key=lambda row: row[:2])
    except TypeError as error:
        raise LzuError(
            f"{data.path} is not a COCO data set (TypeError: {error}); number the frames of each "
            f"sequence ({' or '.join(ORDER)})"
        ) from error
    return [(image, sequence) for _, _, image, sequence in rows]


def check_frame_size(
    path: Path, image: CocoImage, objects: Sequence[CocoObject], size: tuple[int, int]
) -> None:
    """Check an image's entry against its file; if the entry gives no size, check its boxes instead.

    Args:
        path: path of the annotation file, for messages.
        image: entry of the image.
        objects: all objects annotated in the image.
        size: (height, width) of the decoded file.

    Raises:
        LzuError: the entry or a box contradicts the file.
    """
    if image.size is None:
        check_boxes(path, objects, {image.id: image._replace(size=size)})
    elif image.size != size:
        raise LzuError(
            f"{path} says that {image.key} is {image.size[1]} wide and {image.size[0]} high, "
            f"but the file is {size[1]} wide and {size[0]} high, so its boxes are elsewhere; "
            "annotate the images as they are"
        )


def _sections(path: Path, names: Sequence[str]) -> Mapping[str, Any]:
    data = read_json(path, limit=MOST_BYTES, remedy="give a JSON file")
    for name in names:
        if not isinstance(data, dict) or not isinstance(data.get(name), list):
            raise LzuError(
                f"{path} is not a COCO data set: it has no list of {name}; give one with images, "
                "annotations and categories"
            )
    return dict(data)


def _entries(path: Path, data: Mapping[str, Any], section: str) -> list[dict[str, Any]]:
    for i, entry in enumerate(data[section], 1):
        if not isinstance(entry, dict):
            raise LzuError(
                f"{path} is not a COCO data set: entry {i} of {section} is {shown(entry)}; give "
                "keys with values"
            )
    return list(data[section])


def _images(path: Path, data: Mapping[str, Any]) -> list[CocoImage]:
    found = []
    for i, entry in enumerate(_entries(path, data, "images"), 1):
        called = f"image {shown(entry['id'])}" if "id" in entry else f"entry {i} of images"
        key, places = _places(path, entry, data, called)
        found.append(
            CocoImage(
                entry.get("id"),
                _size(path, entry, called),
                key,
                places,
                next((entry[field] for field in SEQUENCE if field in entry), None),
                next((entry[field] for field in ORDER if field in entry), 0),
            )
        )
        for value, fields in ((found[-1].sequence, SEQUENCE), (found[-1].order, ORDER)):
            if not (value is None or isinstance(value, str) or math.isfinite(_number(value))):
                raise LzuError(
                    f"{path}: {called} has the {' or '.join(fields)} {shown(value)}; give a "
                    "number or a name"
                )
    return found


def _places(
    path: Path, entry: Mapping[str, Any], data: Mapping[str, Any], called: str
) -> tuple[str, tuple[Path, ...]]:
    r"""Return an image's name and the paths at which it may lie.

    These are beside the annotation file, in `images`, or in `seq_dirs`. Argoverse-HD calls the
    file `name` and indexes `seq_dirs` by the sequence's number `sid`. Those folders lie in the tree
    of Argoverse 1.1, which stands beside its own [Li et al. 2020, mtli/sAP]. Programs for Windows
    write `\` between folders.
    """
    root = path.parent
    name = entry.get("file_name", entry.get("name"))
    if not isinstance(name, str) or not name or "\0" in name:
        raise LzuError(
            f"{path} is not a COCO data set: {called} has no file_name; give the image's file name"
        )
    longest = max(len(part.encode("utf-8", "replace")) for part in name.split("/"))
    if longest > LONGEST_NAME or len(name) > LONGEST_PATH:
        raise LzuError(f"{path}: {called} has a file_name of {len(name)} characters; check it")
    spellings = [PurePosixPath(each) for each in dict.fromkeys((name, name.replace("\\", "/")))]
    key = spellings[-1]
    places = [each / spelling for spelling in spellings for each in (root, root / "images")]
    if "seq_dirs" in data and "sid" in entry:
        inside = _directory(path, data["seq_dirs"], entry["sid"], called)
        key = key if key.is_relative_to(inside) else inside / key
        above = (root, root.parent, root.parent.parent)
        trees = [each / tree for each in above for tree in ARGOVERSE_TREES]
        places = [each / key for each in (root, root / "images", *trees)]
    return str(key), tuple(dict.fromkeys(places))


def _directory(path: Path, directories: Any, number: Any, called: str) -> PurePosixPath:
    there = isinstance(directories, list) and type(number) is int
    if not there or not 0 <= number < len(directories):
        raise LzuError(
            f"{path} is not a COCO data set: {called} belongs to sequence {shown(number)}, which "
            "seq_dirs "
            "does not list; give the annotations again"
        )
    return PurePosixPath(str(directories[number]))


def _size(path: Path, entry: Mapping[str, Any], called: str) -> tuple[int, int] | None:
    if entry.get("height") is None or entry.get("width") is None:
        return None
    height, width = (_number(entry[field]) for field in ("height", "width"))
    if not (height > 0 and width > 0 and height.is_integer() and width.is_integer()):
        raise LzuError(
            f"{path}: {called} has the height {shown(entry['height'])} and the width "
            f"{shown(entry['width'])}; give whole numbers of pixels"
        )
    return int(height), int(width)


def _by_id(path: Path, images: Sequence[CocoImage]) -> dict[Id | None, CocoImage]:
    _check_ids(path, [image.id for image in images], "image")
    found: dict[Id | None, CocoImage] = {}
    for image in images:
        if image.id in found:
            raise LzuError(f"{path} has two images of one id, {shown(image.id)}; number them apart")
        found[image.id] = image
    return found


def _check_ids(path: Path, ids: Sequence[Any], kind: str) -> None:
    """Check that ids are all whole numbers or all texts."""
    for each in ids:
        if type(each) not in (int, str):
            raise LzuError(
                f"{path} is not a COCO data set: the id {shown(each)} of one {kind} is no whole "
                "number and no text; number them"
            )
        if type(each) is not type(ids[0]):
            raise LzuError(
                f"{path}: {kind} ids have two types, such as {shown(ids[0])} and {shown(each)}; "
                "write all as numbers, or all as texts"
            )


def _by_number(images: Sequence[CocoImage]) -> list[CocoImage]:
    """Sort images by id; ids that are texts of digits count as numbers."""
    ids = [str(image.id) for image in images]
    if all(each.isdecimal() for each in ids):
        return [image for _, image in sorted(zip(map(int, ids), images, strict=True))]
    return sorted(images, key=lambda image: image.id)  # type: ignore[arg-type, return-value]


def _categories(
    path: Path,
    data: Mapping[str, Any],
    annotations: Sequence[tuple[str, Mapping[str, Any]]],
    wanted: Sequence[str] | None,
) -> dict[Id, str]:
    """Return category names by id, in the order of ids, without the root that Roboflow adds."""
    entries = _entries(path, data, "categories")
    for entry in entries:
        if not isinstance(entry.get("name"), str) or "id" not in entry:
            raise LzuError(
                f"{path} is not a COCO data set: the category {shown(entry.get('name', entry))} "
                "has "
                "no id or no name; give both"
            )
    _check_ids(path, [entry["id"] for entry in entries], "category")
    found: dict[Id, str] = {}
    for entry in sorted(entries, key=lambda entry: entry["id"]):
        if entry["id"] in found:
            raise LzuError(
                f"{path} has two categories of one id, {shown(entry['id'])}; number them apart"
            )
        found[entry["id"]] = entry["name"]
    tops = [entry for entry in entries if str(entry.get("supercategory", "")).lower() == "none"]
    if len(tops) == 1 < len(entries) and tops[0]["id"] in (0, "0"):
        root = tops[0]["id"]
        used = any(entry.get("category_id") == root for _, entry in annotations)
        others = {plain(name) for number, name in found.items() if number != root}
        missed = plain(found[root]) in {plain(each) for each in wanted or ()} - others
        if not used and not missed:
            del found[root]
    return found


def _called(entry: Mapping[str, Any], place: int) -> str:
    """Name of an annotation in messages: its id, else its position."""
    return f"annotation {shown(entry['id'])}" if "id" in entry else f"entry {place} of annotations"


def _reference(
    path: Path, name: str, entry: Mapping[str, Any], field: str, kind: str, known: Mapping[Any, Any]
) -> Any:
    """Return an id that an annotation refers to, after checking that it is known."""
    if field not in entry:
        raise LzuError(f"{path}: {name} has no {field}; give the id of its {kind}")
    value = entry[field]
    if type(value) in (int, str) and value in known:
        return value
    plural = {"image": "images", "category": "categories"}[kind]
    twins = [each for each in known if str(each) == str(value)]
    if twins:
        raise LzuError(
            f"{path}: {name} has the {field} {shown(value)} where {plural} has the id "
            f"{shown(twins[0])}; write ids as numbers, or as texts, in both"
        )
    raise LzuError(
        f"{path}: {name} has the {field} {shown(value)}, which is in none of {plural}; add the "
        f"{kind}, or remove the annotation"
    )
