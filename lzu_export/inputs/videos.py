"""Read video files: every frame in order, with its time, and the number of missing frames."""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from lzu_export.errors import LzuError
from lzu_export.inputs.frame import Frame
from lzu_export.inputs.mp4 import edited_seconds
from lzu_export.support.files import open_regular

VIDEOS = frozenset(
    {
        ".mp4", ".m4v", ".mov", ".3gp", ".avi", ".mkv", ".webm", ".ts", ".mts", ".m2ts", ".mpg",
        ".mpeg", ".wmv", ".flv", ".ogv", ".h264", ".264", ".h265", ".265", ".hevc", ".mjpg",
        ".mjpeg", ".y4m",
    }
)  # fmt: skip
"""Suffixes of files that are read as videos."""
COUNTED = frozenset({".mp4", ".m4v", ".mov", ".3gp", ".avi"})
"""Containers that store their number of frames; of others it is estimated from the duration."""
EDITED = frozenset({".mp4", ".m4v", ".mov", ".3gp"})
"""Containers whose edit list may leave frames out."""
SLACK = 0.1
"""Seconds by which an estimate may be too high: the longest stream's duration counts, not the
video's."""
DEFAULT_RATE = 25.0
MOST_RATE = 1000.0
MOST_TIME = 1e10
"""Seconds beyond which a time is none: three centuries. OpenCV 4.10 reckons a frame without a time
from FFmpeg's mark for that, the least 64-bit number of microseconds."""
PLAYLISTS = (b"#EXTM3U", b"ffconcat", b"[playlist]", b"v=0", b"<")
"""Beginnings of text files by which a decoder would open other files or addresses."""


OPTIONS = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
"""Environment variable by which OpenCV hands options to FFmpeg."""
WHOLE_LOCAL = "fflags;discardcorrupt|protocol_whitelist;file"
"""No half frame where a file was cut, and no address that a file names."""


class VideoFile:
    """An opened video, read from its first frame to its last; never by seeking.

    Seeking goes by time or by key frames, so that frame i of a variable rate, a transport stream or
    a raw stream would be another one than the i-th that is read.
    """

    def __init__(self, path: Path) -> None:
        """Open a file.

        Raises:
            LzuError: it is missing, is no video, or has a name that OpenCV does not take.
        """
        self.path = path
        self._capture: Any = _open(path)
        self.passed = 0
        """Number of frames read or skipped so far."""
        self.time = 0.0
        """Seconds from the first frame to the last one passed."""
        self.uneven = False
        """Whether the times of the frames so far depart from the rate by half a frame or more."""
        self._start: float | None = None
        rate = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.knows_rate = math.isfinite(rate) and 0 < rate <= MOST_RATE
        self.rate = rate if self.knows_rate else DEFAULT_RATE
        """Frames a second; 25 where the file does not say."""
        number = float(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.promised = int(number) if math.isfinite(number) and 0 < number < 1e9 else None
        """Number of frames by the file's header, None where it does not say."""

    @property
    def least(self) -> int:
        """Number of frames without which the file is incomplete."""
        if self.promised is None:
            return 1
        if self.path.suffix.lower() in COUNTED:
            shown = edited_seconds(self.path) if self.path.suffix.lower() in EDITED else None
            if shown is None or round(shown * self.rate) >= self.promised:
                return self.promised
            return max(1, math.floor(shown * self.rate) - 1)  # its ends may lie within frames
        return max(1, self.promised - max(1, math.ceil(SLACK * self.rate)))

    def restart(self) -> None:
        """Go back to the first frame."""
        self.close()
        self._capture = _open(self.path)
        self.passed, self.time, self._start = 0, 0.0, None

    def read(self) -> Frame | None:
        """The next frame, None after the last."""
        there, image = self._capture.read()
        if not there or image is None:
            return None
        self._pass()
        return np.asarray(image, np.uint8)

    def skip(self) -> bool:
        """Pass over the next frame; whether there was one."""
        if not self._capture.grab():
            return False
        self._pass()
        return True

    def _pass(self) -> None:
        now = float(self._capture.get(cv2.CAP_PROP_POS_MSEC)) / 1e3
        if abs(now) > MOST_TIME:
            now = math.nan
        if self._start is None:
            self._start = now
        steady = self.passed / self.rate
        time = now - self._start
        if not math.isfinite(time) or (self.passed and time <= self.time):
            time = self.time + 1 / self.rate if self.passed else 0.0  # the file does not say
        elif abs(time - steady) >= 0.5 / self.rate:
            self.uneven = True
        self.time = time
        self.passed += 1

    def shortfall(self) -> str | None:
        """The sentence on a file that ended before all its frames were read, None if it is whole.

        Raises:
            LzuError: not a single frame was read.
        """
        if self.passed == 0:
            raise LzuError(f"{self.path} holds no frame; check that the video is whole")
        if self.passed >= self.least:
            return None
        about = "" if self.path.suffix.lower() in COUNTED else "about "
        return (
            f"{self.path} ends early or is damaged: {self.passed} of {about}{self.promised} frames "
            "could be read; copy it again, or cut it behind its last good frame"
        )

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None


def _open(path: Path) -> Any:
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise LzuError(
            f"the name of the video {str(path)!r} is not UTF-8, which OpenCV does not take; rename "
            "it"
        ) from error
    try:
        with open_regular(path, remedy="give a video file") as file:
            start = file.read(16).lstrip()
    except OSError as error:
        raise LzuError(f"{path} cannot be read ({error.strerror}); check the file") from error
    if start.startswith(PLAYLISTS):
        raise LzuError(f"{path} is a list or a page, not a video; give the video itself")
    # Absolute, since a name such as `http:x` would be taken for an address.
    with _decoder_options():
        capture = cv2.VideoCapture(str(path.absolute()))
    if not capture.isOpened():
        capture.release()
        raise LzuError(f"{path} cannot be read as a video; check that it is one and is whole")
    return capture


@contextmanager
def _decoder_options() -> Iterator[None]:
    """`WHOLE_LOCAL` for captures that are opened in the block, unless the user set options."""
    if OPTIONS in os.environ:
        yield
        return
    os.environ[OPTIONS] = WHOLE_LOCAL
    try:
        yield
    finally:
        os.environ.pop(OPTIONS, None)
