"""Read image files: whole files only, decoded the same way in every release of OpenCV.

A file is read as bytes and its structure is checked before it is decoded. OpenCV by itself accepts
truncated files, scales 16 bits down to 8 and, in release 5, crashes on names that are not UTF-8.
"""

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lzu_export.errors import LzuError
from lzu_export.inputs.decoder_warnings import decoder_warnings
from lzu_export.inputs.frame import Frame
from lzu_export.inputs.image_headers import MOST_PIXELS, PARSERS, CutError, Header
from lzu_export.support import files

IMAGES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"})
"""Suffixes of files that count as images when a folder is listed."""
MOST_BYTES = 1 << 31
"""Size in bytes of the largest file that is read as an image."""
FORMATS = "JPEG, PNG, BMP, TIFF, WebP and binary PPM or PGM"


def is_hidden(path: Path) -> bool:
    """Whether a name begins with a dot, like the `._*` files that macOS leaves on other disks."""
    return path.name.startswith(".")


def images_in(folder: Path) -> list[Path]:
    """List a folder's images by name; hidden files and sub-folders are skipped.

    Raises:
        LzuError: the folder is unreadable.
    """
    try:
        return sorted(
            each
            for each in folder.iterdir()
            if each.suffix.lower() in IMAGES and not is_hidden(each) and not each.is_dir()
        )
    except OSError as error:
        raise LzuError(
            f"folder {folder} cannot be read ({error.strerror}); make it readable"
        ) from error


def read_image(path: Path) -> Frame:
    """Read an image file as (H, W, 3) uint8, BGR.

    Grey becomes three equal channels, opacity is dropped, and Exif's orientation is applied.

    Raises:
        LzuError: the file is missing, is no image of a known format, is truncated or damaged, has
            more than 8 bits per channel or colours other than grey or RGB, or is too large.
    """
    data = read_bytes(path)
    header = check_image(data, path)
    if header.bits > 8:
        raise LzuError(
            f"{path} has {header.bits} bits a channel, and the scale to 8 bits is not known; "
            "convert it to 8 bits"
        )
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    return oriented(np.asarray(_decode(data, flags, path), np.uint8), header.orientation)


def encode_image(image: NDArray[Any], path: Path, options: Sequence[int] = ()) -> bytes:
    """Encode an image in the format that a file's name asks for.

    Args:
        image: (H, W) or (H, W, 3), BGR.
        path: path of the file, which is not written.
        options: pairs of OpenCV's `IMWRITE_` flags and their values.

    Raises:
        LzuError: the format does not support an image of this size and type.
    """
    try:
        done, content = cv2.imencode(path.suffix, image, options)
    except cv2.error:  # OpenCV 4.10 raises where OpenCV 5 returns False
        done = False
    if not done:
        raise LzuError(f"{path} cannot be encoded as {path.suffix}; give frames of another format")
    return bytes(content.tobytes())


def read_bytes(path: Path) -> bytes:
    """Read the content of a regular file.

    Raises:
        LzuError: the file is missing, unreadable, empty, too large, or no regular file.
    """
    data = files.read_bytes(path, limit=MOST_BYTES, remedy="give an image file")
    if not data:
        raise LzuError(f"{path} is empty; copy it again")
    return data


def oriented(image: Frame, orientation: int) -> Frame:
    """Turn an image upright by Exif's orientation (1 to 8)."""
    if orientation in (5, 6, 7, 8):
        image = image.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)


def check_image(data: bytes, path: Path) -> Header:
    """Check that an image file is complete and undamaged, and return its header.

    Raises:
        LzuError: it is no image of a known format, or is truncated, damaged or too large.
    """
    parse = next((each for magic, each in PARSERS.items() if data.startswith(magic)), None)
    if parse is None:
        text = data[:2048].lstrip().lower()
        if text.startswith((b"<!doctype", b"<html", b"version https://git-lfs")):
            kind = "a Git LFS pointer" if text.startswith(b"version") else "an HTML page"
            raise LzuError(f"{path} is {kind}, not an image; download the file itself")
        raise LzuError(
            f"{path} cannot be read as an image; check that it is one and is whole (known are "
            f"{FORMATS})"
        )
    try:
        header = parse(data)
    except (CutError, struct.error, IndexError) as error:
        raise LzuError(f"{path} is cut off; copy it again") from error
    except ValueError as error:
        raise LzuError(f"{path} is damaged ({error}); copy it again") from error
    if header.width < 1 or header.height < 1:
        raise LzuError(f"{path} is damaged (it has no pixels); copy it again")
    if header.width * header.height > MOST_PIXELS:
        raise LzuError(
            f"{path} has {header.width}x{header.height} pixels, more than the {MOST_PIXELS} that "
            "are decoded; make it smaller"
        )
    if header.faults:
        raise LzuError(f"{path} {header.faults[0]}")
    return header


def _decode(data: bytes, flags: int, path: Path) -> NDArray[Any]:
    try:
        with decoder_warnings() as warnings:
            image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except (cv2.error, MemoryError) as error:
        raise LzuError(
            f"{path} cannot be read as an image; check that it is one and is whole"
        ) from error
    if warnings.found:
        raise LzuError(f"{path} is damaged ({warnings.found[0]}); copy or save it again")
    if image is None:
        raise LzuError(f"{path} cannot be read as an image; check that it is one and is whole")
    return np.asarray(image)
