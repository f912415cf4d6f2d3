"""Write the video of a run: H.264, which browsers play, if OpenCV has an encoder."""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from lzu_export.errors import LzuError
from lzu_export.inputs.decoder_warnings import quiet_decoders
from lzu_export.inputs.frame import Frame

CODECS = ("avc1", "mp4v")
"""Codecs in order of preference, by their FourCC: H.264, else MPEG-4 part 2."""


class VideoWriter:
    """A video of constant rate in an .mp4 file, which the first picture opens."""

    def __init__(self, path: Path, rate: float, *, hold: bool) -> None:
        """Write nothing yet.

        Args:
            path: path of the file.
            rate: frames per second.
            hold: show each picture until the next one's time; else each for one frame.
        """
        self.path, self.rate, self.hold = path, rate, hold
        self.codec: str | None = None
        """Codec of `CODECS` that is used; None before the first picture."""
        self._writer: Any = None
        self._written = 0
        self._size = (0, 0)
        self._held: Frame | None = None

    def write(self, picture: Frame, time: float) -> None:
        """Add a picture, (H, W, 3) uint8 BGR, at `time` in seconds since the first picture."""
        if self._writer is None:
            self._open(picture)
        if not self.hold:
            self._put(picture)
            return
        if self._held is not None:
            while self._written < round(time * self.rate):
                self._put(self._held)
        self._held = picture

    def finish(self) -> None:
        """Close the file.

        Raises:
            LzuError: the file does not hold every frame that was written.
        """
        if self._held is not None:
            self._put(self._held)
        self.release()
        if not self._written:
            return
        # OpenCV reports no write errors, so the frames in the file are counted.
        capture = cv2.VideoCapture(str(self.path))
        there = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        capture.release()
        if there != self._written:
            raise LzuError(
                f"the video {self.path.name} could not be written whole ({there} of "
                f"{self._written} frames); free disk space, or give the frames as a folder of "
                "images"
            )

    def release(self) -> None:
        """Release the file; a second call does nothing."""
        if self._writer is not None:
            self._writer.release()

    def note(self) -> str | None:
        """Return a remark on a video that browsers do not play; None if they do."""
        if self.codec in (None, CODECS[0]):
            return None
        name = shlex.quote(self.path.name)
        return (
            f"{self.path.name} is MPEG-4 part 2, which browsers do not play: this OpenCV has no "
            f"encoder of H.264; ffmpeg -i {name} -c:v libx264 -pix_fmt yuv420p h264.mp4 "
            "makes one that they do"
        )

    def _open(self, picture: Frame) -> None:
        try:
            str(self.path).encode()
        except UnicodeEncodeError as error:
            raise LzuError(
                f"the path {str(self.path)!r} is not UTF-8, which OpenCV does not take for a "
                "video; give --out another folder"
            ) from error
        height, width = picture.shape[:2]
        self._writer = cv2.VideoWriter()
        for codec in CODECS:
            even = codec == CODECS[0]  # H.264 halves the colour resolution, so its sizes are even
            self._size = (width + width % 2, height + height % 2) if even else (width, height)
            with quiet_decoders():
                opened = self._writer.open(
                    str(self.path), cv2.VideoWriter.fourcc(*codec), self.rate, self._size
                )
            if opened:
                self.codec = codec
                return
        raise LzuError(
            f"the video {self.path.name} cannot be written: this OpenCV has no encoder for .mp4; "
            "give the frames as a folder of images"
        )

    def _put(self, picture: Frame) -> None:
        height, width = picture.shape[:2]
        if self._size != (width, height):
            more = self._size[1] - height, self._size[0] - width
            if not all(each in (0, 1) for each in more):
                raise LzuError(
                    f"the frames change their size from {self._size[1]}x{self._size[0]} to "
                    f"{height}x{width}, which a video cannot; give them as a folder of images"
                )
            picture = np.pad(picture, ((0, more[0]), (0, more[1]), (0, 0)), mode="edge")
        self._writer.write(picture)
        self._written += 1


@contextmanager
def video_writer(path: Path, rate: float, *, hold: bool) -> Iterator[VideoWriter]:
    """Yield a `VideoWriter`; its file is finished after the block, or released after an error."""
    writer = VideoWriter(path, rate, hold=hold)
    try:
        yield writer
        writer.finish()
    finally:
        writer.release()
