"""The frames of a video file, by number."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np

from lzu_calibration.candidates import Listing, file_hash
from lzu_export.errors import LzuError
from lzu_export.runtime.preprocess import Frame


def video(path: Path) -> Listing:
    """A video as one sequence.

    Raises:
        LzuError: the file is unreadable or holds no frame.
    """
    reader = _Reader(path)
    name = path.stem
    frames = [VideoFrame(f"{name}_{i:06d}", i, reader) for i in range(reader.length())]
    return Listing(path.name, [frames])


class _Reader:
    """An opened video that remembers where it is: seeking costs up to a group of pictures."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._capture = cv2.VideoCapture(str(path))
        self._next = 0
        if not self._capture.isOpened():
            raise LzuError(f"{path} cannot be read as a video; check that it is one and is whole")

    @cached_property
    def digest(self) -> str:
        """Hash of the file, read once for all its frames."""
        return file_hash(self.path)

    def length(self) -> int:
        """Number of frames, counted where the header's number is missing or only an estimate."""
        promised = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        if promised > 0:
            self._seek(promised - 1)
            if self._capture.grab():
                self._next = promised
                return promised
        self._capture.release()
        self._capture = cv2.VideoCapture(str(self.path))
        self._next = 0
        while self._capture.grab():
            self._next += 1
        return self._next

    def frame(self, index: int) -> Frame:
        """Decode one frame; in ascending order it is quickest."""
        if index != self._next:
            self._seek(index)
        there, image = self._capture.read()
        if not there:
            raise LzuError(
                f"frame {index} of {self.path} cannot be decoded; check that the video is whole"
            )
        self._next = index + 1
        return np.asarray(image, np.uint8)

    def _seek(self, index: int) -> None:
        self._capture.set(cv2.CAP_PROP_POS_FRAMES, index)
        self._next = index


@dataclass(frozen=True)
class VideoFrame:
    """A candidate in a video."""

    key: str
    index: int
    reader: _Reader = field(repr=False)

    def contents(self) -> str:
        """Hash of the file, and the number."""
        return f"{self.reader.digest} {self.index}"

    def read(self) -> Frame:
        """Decode it."""
        return self.reader.frame(self.index)
