"""List frames by sequence in each layout: folders, COCO, Cityscapes, nuScenes.

The only annotations that are read are the sequences of the frames.
"""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from lzu_export.errors import LzuError
from lzu_export.inputs.coco import ORDER, read_coco_images
from lzu_export.inputs.frame_sources.candidates import ImageFile, Listing
from lzu_export.inputs.images import IMAGES, is_hidden
from lzu_export.inputs.tables import kept_rows

CITYSCAPES = "leftImg8bit"
CITYSCAPES_SPLITS = ("train", "train_extra", "val", "test")
"""Splits in order of preference: held-out frames are used only if there are no others."""
NUSCENES = "v1.0-*/sample_data.json"
NUSCENES_VERSIONS = ("v1.0-trainval", "v1.0-mini", "v1.0-test")


def directory(path: Path) -> Listing:
    """List the frames of a directory in any known layout.

    Raises:
        LzuError: it holds no frames, or tables of its layout are missing or damaged.
    """
    if path.name == CITYSCAPES or (path / CITYSCAPES).is_dir():
        return cityscapes(path)
    if any(path.glob(NUSCENES)):
        return nuscenes(path)
    return folder(path)


def folder(path: Path) -> Listing:
    """List images in a folder and below; each folder that holds some is a sequence, by name.

    If a folder has a sub-folder `images`, only that one is read: label maps often lie beside it.

    Raises:
        LzuError: it holds no images, or a folder is unreadable.
    """
    sequences = [
        [ImageFile(each.relative_to(path).as_posix(), (each,)) for each in images]
        for images in _images_below(path, set())
    ]
    if not sequences:
        raise LzuError(f"folder {path} holds no images ({', '.join(sorted(IMAGES))}); add some")
    return Listing(_name(path), sequences)


def coco(annotations: Path) -> Listing:
    """List images of COCO annotations, read by `read_coco_images`.

    Sequences are those that the images name, else their folders, in the order of the file.
    """
    sequences: dict[Any, dict[str, tuple[Any, ImageFile]]] = {}
    for image in read_coco_images(annotations):
        sequence = image.sequence
        if sequence is None:
            sequence = str(PurePosixPath(image.key).parent)
        item = ImageFile(image.key, image.places)
        sequences.setdefault(sequence, {})[item.key] = (image.order, item)
    try:
        ordered = [
            [item for _, item in sorted(each.values(), key=lambda pair: (pair[0], pair[1].key))]
            for each in sequences.values()
        ]
    except TypeError as error:
        raise LzuError(
            f"{annotations} is not a COCO data set (TypeError: {error}); number the frames of each "
            f"sequence ({' or '.join(ORDER)})"
        ) from error
    if not ordered:
        raise LzuError(f"{annotations} holds no images to calibrate on; give another set")
    return Listing(annotations.name, ordered)


def cityscapes(path: Path) -> Listing:
    """List left images of one split; city and first number in the names define a sequence."""
    root = path if path.name == CITYSCAPES else path / CITYSCAPES
    for split in CITYSCAPES_SPLITS:
        images = sorted((root / split).glob(f"*/*_{CITYSCAPES}.*"))
        images = [each for each in images if each.suffix.lower() in IMAGES and not is_hidden(each)]
        if images:
            break
    else:
        raise LzuError(
            f"{root} holds no <split>/<city>/*_{CITYSCAPES}.png with split "
            f"{' or '.join(CITYSCAPES_SPLITS)}; unpack {CITYSCAPES}_trainvaltest.zip there"
        )
    sequences: dict[tuple[str, str], list[ImageFile]] = {}
    for image in images:
        number = image.name.removeprefix(f"{image.parent.name}_").partition("_")[0]
        item = ImageFile(image.relative_to(root).as_posix(), (image,))
        sequences.setdefault((image.parent.name, number), []).append(item)
    return Listing(f"{_name(path)} {split}", list(sequences.values()))


def nuscenes(path: Path) -> Listing:
    """List key frames of the cameras; a sequence is a scene seen by one camera.

    Frames whose files are missing are left out, since the data set comes in parts.
    """
    found = {each.parent.name for each in path.glob(NUSCENES)}
    version = next((each for each in NUSCENES_VERSIONS if each in found), min(found))
    tables = path / version
    scene_names = dict(kept_rows(tables / "scene.json", lambda row: (row["token"], row["name"])))
    scenes = dict(kept_rows(tables / "sample.json", lambda row: (row["token"], row["scene_token"])))
    present: dict[str, set[str]] = {}
    sequences: dict[tuple[str, str], list[tuple[int, str]]] = {}
    for sample, name, timestamp in kept_rows(tables / "sample_data.json", _key_frame):
        place, _, file = name.rpartition("/")
        if place not in present:
            there = (path / place).is_dir()
            present[place] = set(os.listdir(path / place)) if there else set()
        if file not in present[place]:
            continue
        try:
            scene = scene_names[scenes[sample]]
        except KeyError as error:
            raise LzuError(
                f"{tables} has no sample or scene of token {error.args[0]}, which {name} is of; "
                "unpack the metadata again"
            ) from error
        sequences.setdefault((scene, place.rpartition("/")[2]), []).append((timestamp, name))
    if not sequences:
        raise LzuError(
            f"{path / 'samples'} holds no camera's key frame of {version}; unpack the folders "
            "CAM_* there"
        )
    return Listing(
        f"{_name(path)} {version}",
        [
            [ImageFile(name, (path / name,)) for _, name in sorted(sequences[key])]
            for key in sorted(sequences)
        ],
    )


def _key_frame(row: dict[str, Any]) -> tuple[str, str, int] | None:
    """Return (sample, file, time) if a row is a camera's key frame, else None."""
    name = str(row["filename"])
    if not row["is_key_frame"] or not name.startswith("samples/CAM_"):
        return None
    return row["sample_token"], name, row["timestamp"]


def _images_below(path: Path, seen: set[Path]) -> Iterator[list[Path]]:
    """Yield the images of a folder, then of its sub-folders, following links without looping."""
    if path.resolve() in seen:
        return
    seen.add(path.resolve())
    try:
        inside = sorted(each for each in path.iterdir() if not each.name.startswith("."))
    except OSError as error:
        raise LzuError(
            f"folder {path} cannot be read ({error.strerror}); make it readable"
        ) from error
    if path / "images" in inside and (path / "images").is_dir():
        yield from _images_below(path / "images", seen)
        return
    folders = [each for each in inside if each.is_dir()]
    images = [each for each in inside if each.suffix.lower() in IMAGES and each.is_file()]
    if images:
        yield images
    for each in folders:
        yield from _images_below(each, seen)


def _name(path: Path) -> str:
    return path.resolve().name
