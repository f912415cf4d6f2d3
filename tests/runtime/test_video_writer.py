"""Videos that are written: codec, times, sizes, and what cannot be."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from lzu_export.errors import LzuError
from lzu_export.runtime.video_writer import video_writer


def picture(value: int, size: tuple[int, int] = (97, 161)) -> Any:
    return np.full((*size, 3), value, np.uint8)


def means(path: Path) -> list[int]:
    """Return the grey level of each frame, divided by 40 and rounded."""
    capture = cv2.VideoCapture(str(path))
    found = []
    while True:
        there, image = capture.read()
        if not there:
            return found
        found.append(round(float(image.mean()) / 40))


def test_every_picture_is_a_frame(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Odd sizes work, too, and searching for an encoder prints nothing."""
    path = tmp_path / "a.mp4"
    with video_writer(path, 10, hold=False) as writer:
        for i in range(5):
            writer.write(picture(40 * i), i / 10)
    assert means(path) == [0, 1, 2, 3, 4]
    assert capfd.readouterr().err == ""
    assert writer.codec in ("avc1", "mp4v")
    assert (writer.note() is None) == (writer.codec == "avc1")


def test_pictures_of_a_camera_are_held_until_the_next(tmp_path: Path) -> None:
    """Of several pictures within one frame's time the last one is written."""
    path = tmp_path / "a.mp4"
    with video_writer(path, 10, hold=True) as writer:
        for value, time in ((0, 0.0), (1, 0.3), (2, 0.31), (3, 0.5)):
            writer.write(picture(40 * value), time)
    assert means(path) == [0, 0, 0, 2, 2, 3]


def test_without_an_encoder_of_h264_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The warning has the command that converts the video for browsers."""
    asked: list[str] = []
    sizes: list[tuple[int, int]] = []
    known = "mp4v"

    class Writer:
        fourcc = staticmethod(lambda *letters: "".join(letters))

        def open(self, _path: str, codec: str, _rate: float, size: tuple[int, int]) -> bool:
            asked.append(codec)
            sizes.append(size)
            return codec == known

        def write(self, _image: Any) -> None: ...

        def release(self) -> None: ...

    class Capture:
        def __init__(self, _path: str) -> None: ...

        def get(self, _what: int) -> float:
            return 1.0

        def release(self) -> None: ...

    monkeypatch.setattr(cv2, "VideoWriter", Writer)
    monkeypatch.setattr(cv2, "VideoCapture", Capture)
    with video_writer(tmp_path / "a b.mp4", 10, hold=False) as writer:
        writer.write(picture(0), 0)
    assert asked == ["avc1", "mp4v"]
    assert sizes == [(162, 98), (161, 97)]
    assert "which browsers do not play" in str(writer.note())
    assert "ffmpeg -i 'a b.mp4' -c:v libx264" in str(writer.note())
    known = "avc1"
    with video_writer(tmp_path / "b.mp4", 10, hold=False) as writer:
        writer.write(picture(0), 0)
    assert (writer.codec, writer.note()) == ("avc1", None)
    known = "none"
    with (
        pytest.raises(LzuError, match=r"c\.mp4 cannot be written: this OpenCV has no encoder"),
        video_writer(tmp_path / "c.mp4", 10, hold=False) as writer,
    ):
        writer.write(picture(0), 0)


def test_frames_that_change_their_size_are_refused(tmp_path: Path) -> None:
    """OpenCV would silently leave such frames out."""
    with video_writer(tmp_path / "a.mp4", 10, hold=False) as writer:
        writer.write(picture(0, (96, 160)), 0)
        with pytest.raises(LzuError, match="change their size from 96x160 to 48x160, which a"):
            writer.write(picture(0, (48, 160)), 0.1)


def test_a_path_that_is_not_utf_8_is_a_sentence(tmp_path: Path) -> None:
    """OpenCV 5 would abort the process at such a path."""
    with (
        pytest.raises(LzuError, match="is not UTF-8, which OpenCV does not take for a video"),
        video_writer(tmp_path / "a\udcff.mp4", 10, hold=False) as writer,
    ):
        writer.write(picture(0), 0)


def test_no_picture_no_video(tmp_path: Path) -> None:
    with video_writer(tmp_path / "a.mp4", 10, hold=True) as writer:
        pass
    assert not (tmp_path / "a.mp4").exists()
    assert writer.note() is None
