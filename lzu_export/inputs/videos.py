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
"""Containers that store their number of frames; for others it is estimated from the duration."""
EDITED = frozenset({".mp4", ".m4v", ".mov", ".3gp"})
"""Containers that may have an edit list, which leaves frames out."""
SLACK = 0.1
"""Seconds by which an estimated duration may be too high, since the longest stream counts and not
the video."""
DEFAULT_RATE = 25.0
MOST_RATE = 1000.0
MOST_TIME = 1e10
"""Seconds (three centuries) beyond which a frame's time is not valid. For a frame without a time,
OpenCV 4.10 computes one from FFmpeg's mark for that, the least 64-bit number of microseconds."""
PLAYLISTS = (b"#EXTM3U", b"ffconcat", b"[playlist]", b"v=0", b"<")
"""First bytes of text files that would make a decoder open other files or addresses."""


OPTIONS = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
"""Environment variable whose value OpenCV passes to FFmpeg as options."""
WHOLE_LOCAL = "fflags;discardcorrupt|protocol_whitelist;file"
"""FFmpeg options to drop partial frames of truncated files and open no address named in a file."""


class VideoFile:
    """Opened video, read from its first frame to its last without seeking.

    Seeking works by time or by key frames. In a video of variable rate, a transport stream or a raw
    stream, frame i would then differ from the i-th frame that is read.
    """

    def __init__(self, path: Path) -> None:
        """Open a file.

        Raises:
            LzuError: the file is missing, is no video, or has a name that OpenCV does not accept.
        """
        self.path = path
        self._capture: Any = _open(path)
        self.passed = 0
        """Number of frames read or skipped so far."""
        self.time = 0.0
        """Seconds from the first frame to the last one passed."""
        self.uneven = False
        """Whether a frame's time so far differed from the constant rate by half a frame or more."""
        self._start: float | None = None
        rate = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.knows_rate = math.isfinite(rate) and 0 < rate <= MOST_RATE
        self.rate = rate if self.knows_rate else DEFAULT_RATE
        """Frames per second; 25 if the file gives none."""
        number = float(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.promised = int(number) if math.isfinite(number) and 0 < number < 1e9 else None
        """Number of frames in the file's header; None if it gives none."""

    @property
    def least(self) -> int:
        """Least number of frames that a complete file has."""
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
        """Read the next frame; None after the last."""
        there, image = self._capture.read()
        if not there or image is None:
            return None
        self._pass()
        return np.asarray(image, np.uint8)

    def skip(self) -> bool:
        """Skip the next frame, and return whether there was one."""
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
            time = self.time + 1 / self.rate if self.passed else 0.0  # the file gives no valid time
        elif abs(time - steady) >= 0.5 / self.rate:
            self.uneven = True
        self.time = time
        self.passed += 1

    def shortfall(self) -> str | None:
        """Error message for a file that ended before all its frames were read; None if complete.

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
    # An absolute path, since a name such as `http:x` would be taken for an address.
    with _decoder_options():
        capture = cv2.VideoCapture(str(path.absolute()))
    if not capture.isOpened():
        capture.release()
        raise LzuError(f"{path} cannot be read as a video; check that it is one and is whole")
    return capture


@contextmanager
def _decoder_options() -> Iterator[None]:
    """Set `WHOLE_LOCAL` for captures opened in the block, unless the user set options."""
    if OPTIONS in os.environ:
        yield
        return
    os.environ[OPTIONS] = WHOLE_LOCAL
    try:
        yield
    finally:
        os.environ.pop(OPTIONS, None)
