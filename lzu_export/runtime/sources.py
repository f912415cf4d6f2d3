"""Frames from an image, a folder of images or a video file."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from lzu_export.errors import LzuError
from lzu_export.limits import IGNORED
from lzu_export.runtime.preprocess import Frame

IMAGES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"})
VIDEOS = frozenset({".mp4", ".avi", ".mkv", ".mov", ".webm", ".m4v"})


def frames(source: str | Path) -> Iterator[tuple[str, Frame]]:
    """Yield (file name, BGR frame) of an image, of a folder's images by name, or of a video.

    A video's frames are named after the file and their number. The source is checked at once,
    before the first frame is asked for.

    Raises:
        LzuError: nothing there, an empty folder, an unknown or unreadable file.
    """
    path = Path(source)
    if path.is_dir():
        images = _images_in(path)
        if not images:
            raise LzuError(f"folder {path} holds no images ({', '.join(sorted(IMAGES))}); add some")
        return _images(images)
    if not path.is_file():
        raise LzuError(f"{path} does not exist; give an image, a folder of images or a video")
    if path.suffix.lower() in VIDEOS:
        return _video(path)
    return _images([path])


def count(source: str | Path) -> int | None:
    """How many frames `frames` will yield, or None where the file does not say."""
    path = Path(source)
    if path.is_dir():
        return len(_images_in(path))
    if path.suffix.lower() in VIDEOS:
        capture = cv2.VideoCapture(str(path))
        number = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        capture.release()
        return number if number > 0 else None
    return 1


def frame_rate(source: str | Path) -> float | None:
    """Frames a second of a video (25 where the file does not say), or None for images."""
    path = Path(source)
    if path.is_dir() or path.suffix.lower() not in VIDEOS:
        return None
    capture = cv2.VideoCapture(str(path))
    rate = float(capture.get(cv2.CAP_PROP_FPS))
    capture.release()
    return rate if 1 <= rate <= 1000 else 25.0


def read_image(path: Path) -> Frame:
    """Read an image file as BGR; grey ones become three equal channels, opacity is dropped.

    Raises:
        LzuError: the file is no image or is damaged.
    """
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise LzuError(f"{path} cannot be read as an image; check that it is one and is whole")
    return np.asarray(image, np.uint8)


def _images_in(folder: Path) -> list[Path]:
    try:
        return sorted(each for each in folder.iterdir() if each.suffix.lower() in IMAGES)
    except OSError as error:
        raise LzuError(
            f"folder {folder} cannot be read ({error.strerror}); make it readable"
        ) from error


def _images(paths: list[Path]) -> Iterator[tuple[str, Frame]]:
    return ((path.name, read_image(path)) for path in paths)


def _video(path: Path) -> Iterator[tuple[str, Frame]]:
    capture = cv2.VideoCapture(str(path))
    if not capture.isOpened():
        raise LzuError(f"{path} cannot be read as a video; check that it is one and is whole")

    def generate() -> Iterator[tuple[str, Frame]]:
        number = 0
        try:
            while True:
                there, image = capture.read()
                if not there:
                    break
                yield f"{path.stem}_{number:06d}.jpg", np.asarray(image, np.uint8)
                number += 1
        finally:
            capture.release()
        if number == 0:
            raise LzuError(f"{path} holds no frame; check that the video is whole")

    return generate()


def read_labels(path: Path, classes: Sequence[str]) -> NDArray[np.uint8]:
    """A label map (H, W) of class numbers, `IGNORED` where no class is meant, from a PNG.

    Raises:
        LzuError: the file is unreadable, no map of one 8-bit channel, or holds an unknown label.
    """
    labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if labels is None:
        raise LzuError(f"label map {path} cannot be read; give a PNG")
    if labels.ndim != 2 or labels.dtype != np.uint8:
        raise LzuError(
            f"label map {path} is {labels.dtype} of shape {labels.shape}; give one channel of "
            "8-bit class numbers"
        )
    unknown = np.unique(labels[(labels >= len(classes)) & (labels != IGNORED)])
    if unknown.size:
        listed = ", ".join(map(str, unknown[:3].tolist())) + (", ..." if unknown.size > 3 else "")
        raise LzuError(
            f"label map {path} holds the label {listed}, which is neither one of the "
            f"{len(classes)} classes (0 to {len(classes) - 1}) nor the ignored {IGNORED}; map its "
            "labels to these"
        )
    return np.asarray(labels, np.uint8)
