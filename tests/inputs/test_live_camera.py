"""Cameras: what their names mean, and that none of their failings goes on for ever."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from lzu_export.errors import LzuError
from lzu_export.inputs.live_camera import LiveCamera, parse_live
from lzu_export.runtime.sources import open_source


class FakeCamera:
    """A capture whose behaviour a test chooses."""

    opens = True
    rate = 30.0
    frames = 1 << 30
    """Frames until nothing comes any more."""
    fails_before = 0
    pause = 0.002
    blocks: threading.Event | None = None
    """Reading waits for it once the frames are used up."""
    opened: tuple[tuple[Any, ...], ...] = ()

    def __init__(self, *args: Any) -> None:
        type(self).opened = (*type(self).opened, args)
        self._given = 0
        self._failures = 0

    def isOpened(self) -> bool:
        return self.opens

    def get(self, _what: int) -> float:
        return self.rate

    def read(self) -> tuple[bool, Any]:
        time.sleep(self.pause)
        if self._failures < self.fails_before:
            self._failures += 1
            return False, None
        if self._given >= self.frames:
            if self.blocks is not None:
                self.blocks.wait(20)
            return False, None
        self._given += 1
        return True, np.full((24, 32, 3), self._given % 256, np.uint8)

    def release(self) -> None: ...


@pytest.fixture
def camera(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[FakeCamera]]:
    """The class of captures that are opened."""

    class Told(FakeCamera):
        pass

    monkeypatch.setattr(cv2, "VideoCapture", Told)
    monkeypatch.setattr(cv2.videoio_registry, "hasBackend", lambda _api: True)
    yield Told
    if Told.blocks is not None:
        Told.blocks.set()


@pytest.mark.parametrize(
    ("source", "kind", "target", "shown", "stem"),
    [
        ("0", "device", 0, "camera 0", "camera0"),
        ("/dev/video2", "device", "/dev/video2", "/dev/video2", "video2"),
        ("rtsp://a:b@host/1", "address", "rtsp://a:b@host/1", "rtsp://host/1", "stream"),
        ("HTTP://host/a.mjpg", "address", "HTTP://host/a.mjpg", "HTTP://host/a.mjpg", "stream"),
        ("gst: videotestsrc ! appsink", "pipeline", "videotestsrc ! appsink", "the pipeline",
         "pipeline"),
    ],
)  # fmt: skip
def test_names_of_cameras(source: str, kind: str, target: int | str, shown: str, stem: str) -> None:
    """Passwords are not shown."""
    live = parse_live(source)
    assert live is not None
    assert (live.kind, live.target, live.shown, live.stem) == (kind, target, shown, stem)


def test_files_are_no_cameras(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of the name 0 is a folder."""
    for source in ("a.mp4", "frames", "/dev/null", "00012", "c:/x.png"):
        assert parse_live(source) is None
    monkeypatch.chdir(tmp_path)
    (tmp_path / "0").mkdir()
    assert parse_live("0") is None


@pytest.mark.parametrize(
    ("source", "first", "back_end"),
    [
        ("0", 0, cv2.CAP_V4L2),
        ("rtsp://host/1", "rtsp://host/1", cv2.CAP_FFMPEG),
        ("gst:videotestsrc ! appsink", "videotestsrc ! appsink", cv2.CAP_GSTREAMER),
    ],
)
def test_each_kind_has_its_back_end(
    camera: type[FakeCamera], source: str, first: int | str, back_end: int
) -> None:
    """And frames are named after the source, with times that go on."""
    opened = open_source(source)
    found = [each for each, _ in zip(opened, range(4), strict=False)]
    opened.close()
    assert camera.opened[0][:2] == (first, back_end)
    assert opened.live
    assert opened.rate == 30
    assert [each.name for each in found] == [f"{opened.stem}_{i:06d}.jpg" for i in range(4)]
    times = [each.time for each in found if each.time is not None]
    assert times[0] == 0
    assert (np.diff(times) > 0).all()


def test_only_the_newest_frame_waits(camera: type[FakeCamera]) -> None:
    """A slow network sees the present, and is told what it missed."""
    opened = open_source("0")
    reader = iter(opened)
    first = next(reader)
    time.sleep(0.2)
    second = next(reader)
    assert int(second.frame[0, 0, 0]) - int(first.frame[0, 0, 0]) > 5
    opened.stop()
    assert list(reader) == []
    assert opened.problem() is None
    assert "frames were taken; the others came while" in opened.notes()[0]
    opened.close()


def test_a_pipeline_loses_nothing(camera: type[FakeCamera]) -> None:
    """It says itself what to drop; its end is told."""
    camera.frames = 6
    opened = open_source("gst:x ! appsink")
    numbers = []
    for each in opened:
        time.sleep(0.01)
        numbers.append(int(each.frame[0, 0, 0]))
    assert numbers == [1, 2, 3, 4, 5, 6]
    assert opened.problem() == "the pipeline gives no more frames"
    assert opened.notes() == []


def test_a_few_failing_reads_are_no_end(camera: type[FakeCamera]) -> None:
    """Devices drop frames when they start."""
    camera.fails_before = 5
    opened = open_source("0")
    assert next(iter(opened)).frame[0, 0, 0] > 0
    opened.close()


def test_a_camera_that_gives_nothing_is_refused(camera: type[FakeCamera]) -> None:
    """It opened well."""
    camera.frames = 0
    opened = open_source("0")
    assert list(opened) == []
    with pytest.raises(LzuError, match="camera 0 gives no more frames"):
        opened.problem()


@pytest.mark.parametrize("source", ["0", "rtsp://user:secret@host/1", "gst:x"])
def test_a_camera_that_does_not_open_is_refused(camera: type[FakeCamera], source: str) -> None:
    """Without its password."""
    camera.opens = False
    with pytest.raises(LzuError, match="cannot be opened; check") as caught:
        open_source(source)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("frames", [0, 3])
def test_a_camera_that_hangs_is_left(camera: type[FakeCamera], frames: int) -> None:
    """After the frames that it gave; whoever waits gets an answer."""
    camera.frames, camera.blocks = frames, threading.Event()
    live = parse_live("0")
    assert live is not None
    opened = LiveCamera(live, patience=0.3)
    start = time.monotonic()
    assert len(list(opened.frames())) <= frames
    assert time.monotonic() - start < 5
    assert opened.ended is not None
    assert "gave no frame for 0.3 seconds" in opened.ended


def test_a_camera_that_hangs_while_it_opens_is_left(
    camera: type[FakeCamera], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As some drivers do."""
    gate = threading.Event()
    monkeypatch.setattr(camera, "isOpened", lambda _self: gate.wait(20))
    live = parse_live("0")
    assert live is not None
    with pytest.raises(LzuError, match=r"camera 0 did not answer within 0\.3 seconds"):
        LiveCamera(live, patience=0.3)
    gate.set()


@pytest.mark.parametrize("rate", [float("nan"), 0.0, -5.0, 1e6])
def test_impossible_rates_become_25(camera: type[FakeCamera], rate: float) -> None:
    camera.rate = rate
    opened = open_source("0")
    assert opened.rate == 25
    opened.close()


def test_an_error_of_the_back_end_is_a_sentence(
    camera: type[FakeCamera], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is raised in another thread."""

    def read(_self: object) -> tuple[bool, Any]:
        raise cv2.error("select() timeout")

    monkeypatch.setattr(camera, "read", read)
    opened = open_source("0")
    assert list(opened) == []
    with pytest.raises(LzuError, match=r"camera 0 failed \(select\(\) timeout\); check"):
        opened.problem()


def test_gstreamer_that_is_not_there_is_said(
    camera: type[FakeCamera], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wheels of OpenCV are built without it."""
    monkeypatch.setattr(cv2.videoio_registry, "hasBackend", lambda _api: False)
    with pytest.raises(LzuError, match="was built without GStreamer, which gst: needs; take"):
        open_source("gst:x ! appsink")
