"""Read frames of a running camera or stream: a device, an address, or a GStreamer pipeline."""

import math
import re
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from lzu_export.errors import LzuError
from lzu_export.inputs.frame import Frame
from lzu_export.inputs.videos import DEFAULT_RATE

PIPELINE = "gst:"
ADDRESS = re.compile(r"^(rtsp|rtsps|rtmp|rtmps|http|https|udp|tcp|srt|rtp)://", re.IGNORECASE)
PATIENCE = 10.0
"""Seconds without a frame after which a camera counts as disconnected."""
FAILURES = 20
"""Number of failed reads in a row that end the reading; a device may drop a frame now and then."""
PAUSE = 0.02
"""Seconds to wait after a failed read."""
MOST_RATE = 240.0


class Live(NamedTuple):
    """Live source: a device, an address or a pipeline."""

    kind: str
    """Kind of the source: `device`, `address` or `pipeline`."""
    target: int | str
    shown: str
    """Name of the source in messages, without user name and password."""
    stem: str
    """Base name of the files that hold the source's frames or video."""


def parse_live(source: str) -> Live | None:
    """Parse the name of a camera; None for the name of a file or a folder.

    Known names are `0` for the first camera, unless a file has that name; `/dev/video0`; addresses
    such as `rtsp://...`; and `gst:` before a GStreamer pipeline that ends in an appsink.
    """
    if source.startswith(PIPELINE):
        return Live("pipeline", source.removeprefix(PIPELINE).strip(), "the pipeline", "pipeline")
    if ADDRESS.match(source):
        return Live("address", source, re.sub(r"//[^/@]*@", "//", source), "stream")
    if re.fullmatch(r"\d{1,3}", source) and not Path(source).exists():
        return Live("device", int(source), f"camera {int(source)}", f"camera{int(source)}")
    if re.fullmatch(r"/dev/video\d+", source):
        return Live("device", source, source, Path(source).name)
    return None


class LiveCamera:
    """Reader of a camera in a thread of its own, so that waiting for it can always be ended.

    For devices and addresses only the newest frame is kept, so that predictions do not fall behind.
    A pipeline decides itself whether to drop frames (`appsink drop=true`).
    """

    def __init__(self, live: Live, *, patience: float = PATIENCE) -> None:
        """Open the source and wait until it answers.

        Raises:
            LzuError: it cannot be opened, or does not answer within `patience` seconds.
        """
        self.live = live
        self.rate = DEFAULT_RATE
        """Frames per second as the source reports; 25 if it reports none."""
        self.received = 0
        """Number of frames received from the source, including frames that were dropped."""
        self.ended: str | None = None
        """Reason why there are no more frames; None while there may be some."""
        self._patience = patience
        self._state = threading.Condition()
        self._waiting: tuple[Frame, float] | None = None
        self._opened = self._stop = False
        self._thread = threading.Thread(target=self._read, name="camera", daemon=True)
        self._thread.start()
        with self._state:
            self._wait_for(lambda: self._opened or self.ended is not None)
            if not self._opened:
                self._stop = True
                if self.ended is not None:
                    raise LzuError(self.ended)
                raise LzuError(
                    f"{live.shown} did not answer within {patience:g} seconds; check that it is "
                    "connected and not in use"
                )

    def frames(self) -> Iterator[tuple[Frame, float]]:
        """Yield frames with seconds since the first one, until the source ends or `stop` is called.

        If the source ended, the attribute `ended` holds the reason afterwards.
        """
        start: float | None = None
        while True:
            with self._state:
                self._wait_for(lambda: self._waiting or self.ended is not None or self._stop)
                if self._stop:
                    return
                if self._waiting is None:
                    if self.ended is None:
                        self.ended = (
                            f"{self.live.shown} gave no frame for {self._patience:g} seconds; "
                            "check that it is connected"
                        )
                    self._stop = True
                    return
                frame, at = self._waiting
                self._waiting = None
                self._state.notify_all()
            start = at if start is None else start
            yield frame, at - start

    def stop(self) -> None:
        """Make `frames` end before its next frame; may be called from a signal handler."""
        self._stop = True  # no lock: the interrupted thread may hold it

    def close(self) -> None:
        """Stop reading, and wait up to a second for the source to be released."""
        self.stop()
        self._thread.join(timeout=1.0)

    def _wait_for(self, what: Any) -> None:
        """Wait for a condition until the patience ends, in short waits that let signals through."""
        until = time.monotonic() + self._patience
        while not what() and (left := until - time.monotonic()) > 0:
            self._state.wait(min(left, 0.1))

    def _read(self) -> None:
        capture: Any = None
        try:
            capture = _open(self.live, self._patience)
            rate = float(capture.get(cv2.CAP_PROP_FPS))
            with self._state:
                if math.isfinite(rate) and 0 < rate <= MOST_RATE:
                    self.rate = rate
                self._opened = True
                self._state.notify_all()
            failures = 0
            while not self._stop:
                there, image = capture.read()
                if not there or image is None:
                    failures += 1
                    if failures >= FAILURES:
                        raise LzuError(f"{self.live.shown} gives no more frames")
                    time.sleep(PAUSE)
                    continue
                failures = 0
                self._keep(np.asarray(image, np.uint8), time.monotonic())
        except LzuError as error:
            self._end(str(error))
        except Exception as error:  # an error of the back end; it must not vanish with the thread
            self._end(f"{self.live.shown} failed ({error}); check that it is connected")
        finally:
            if capture is not None:
                capture.release()

    def _keep(self, frame: Frame, at: float) -> None:
        with self._state:
            while self.live.kind == "pipeline" and self._waiting is not None and not self._stop:
                self._state.wait(0.1)
            self._waiting = (frame, at)
            self.received += 1
            self._state.notify_all()

    def _end(self, reason: str) -> None:
        with self._state:
            self.ended = reason
            self._state.notify_all()


def _open(live: Live, patience: float) -> Any:
    """Open the source with OpenCV's back end for its kind.

    Raises:
        LzuError: it cannot be opened.
    """
    if live.kind == "pipeline":
        if not cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
            raise LzuError(
                "this OpenCV was built without GStreamer, which gst: needs; take the OpenCV of the "
                "system (JetPack's has it), or give a device or an address"
            )
        capture = cv2.VideoCapture(str(live.target), cv2.CAP_GSTREAMER)
        remedy = "check the pipeline with gst-launch-1.0; it has to end in appsink"
    elif live.kind == "address":
        wait = int(1e3 * patience)
        limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, wait, cv2.CAP_PROP_READ_TIMEOUT_MSEC, wait]
        capture = cv2.VideoCapture(str(live.target), cv2.CAP_FFMPEG, limits)
        remedy = "check the address, the user and the password"
    else:
        api = cv2.CAP_V4L2 if sys.platform == "linux" else cv2.CAP_ANY
        capture = cv2.VideoCapture(live.target, api)
        remedy = "check that it is connected, not in use, and that you may read it"
    if not capture.isOpened():
        capture.release()
        raise LzuError(f"{live.shown} cannot be opened; {remedy}")
    return capture
