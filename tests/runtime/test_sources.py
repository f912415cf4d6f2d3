"""Frames from files: images, folders, videos, and what is none of them."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from lzu_export.errors import LzuError
from lzu_export.inputs.images import read_image
from lzu_export.runtime.sources import frames, open_source


def picture(value: int, size: tuple[int, int] = (24, 32)) -> np.ndarray:
    return np.full((*size, 3), value, np.uint8)


def video(path: Path, values: list[int], rate: float = 10) -> Path:
    codec = {".mp4": "mp4v", ".avi": "MJPG"}[path.suffix]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), rate, (32, 24))
    for value in values:
        writer.write(picture(value))
    writer.release()
    return path


def test_an_image_is_one_frame(tmp_path: Path) -> None:
    """The frame has the file's name and is in BGR order."""
    blue = np.zeros((24, 32, 3), np.uint8)
    blue[:, :, 0] = 255
    cv2.imwrite(str(tmp_path / "a.png"), blue)
    ((name, frame),) = frames(tmp_path / "a.png")
    assert name == "a.png"
    np.testing.assert_array_equal(frame, blue)
    opened = open_source(tmp_path / "a.png")
    assert (opened.count, opened.rate) == (1, None)


def test_a_folder_is_its_images_by_name(tmp_path: Path) -> None:
    """Other files in the folder are ignored."""
    for i, name in enumerate(("b.png", "a.PNG", "c.jpg")):
        cv2.imwrite(str(tmp_path / name), picture(50 * i))
    (tmp_path / "notes.txt").write_text("x")
    found = list(frames(str(tmp_path)))
    assert [name for name, _ in found] == ["a.PNG", "b.png", "c.jpg"]
    assert [int(frame[0, 0, 0]) for _, frame in found] == [50, 0, 100]
    opened = open_source(tmp_path)
    assert (opened.count, opened.rate) == (3, None)


@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
def test_a_video_is_its_frames_in_order(tmp_path: Path, suffix: str) -> None:
    """Frames are numbered from 0, and the rate is the file's."""
    path = video(tmp_path / f"drive{suffix}", [10, 90, 170, 250], rate=12.5)
    found = list(frames(path))
    assert [name for name, _ in found] == [f"drive_{i:06d}.jpg" for i in range(4)]
    values = [float(frame.mean()) for _, frame in found]
    np.testing.assert_allclose(values, [10, 90, 170, 250], atol=8)
    opened = open_source(path)
    assert opened.count == 4
    assert opened.rate == pytest.approx(12.5)
    assert [each.time for each in opened] == pytest.approx([0, 0.08, 0.16, 0.24])
    assert opened.problem() is None
    assert opened.notes() == []


def test_grey_and_translucent_images_become_bgr(tmp_path: Path) -> None:
    """The result is as OpenCV's colour mode reads the files."""
    cv2.imwrite(str(tmp_path / "grey.png"), picture(77)[:, :, 0])
    cv2.imwrite(str(tmp_path / "rgba.png"), np.dstack([picture(77), picture(9)[:, :, :1]]))
    for name in ("grey.png", "rgba.png"):
        np.testing.assert_array_equal(read_image(tmp_path / name), picture(77))


def test_what_is_not_there_is_refused_at_once(tmp_path: Path) -> None:
    """The error comes before the first frame is requested."""
    with pytest.raises(LzuError, match="does not exist; give an image, a folder"):
        frames(tmp_path / "nothing.png")
    with pytest.raises(LzuError, match="holds no images"):
        frames(tmp_path)
    (tmp_path / "bad.mp4").write_text("hello")
    with pytest.raises(LzuError, match=r"bad\.mp4 cannot be read as a video; check"):
        frames(tmp_path / "bad.mp4")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty; copy it again"),
        (b"hello", "cannot be read as an image; check"),
        (b"\x89PNG\r\n\x1a\n", "is cut off; copy it again"),
    ],
)
def test_what_is_no_image_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    """The error names the file, whether it is given alone or found in a folder."""
    path = tmp_path / "bad.png"
    path.write_bytes(content)
    for source in (path, tmp_path):
        with pytest.raises(LzuError, match=rf"bad\.png {words}"):
            list(frames(source))


def test_a_video_without_a_frame_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The video opens, but reading it gives no frame."""

    class Empty:
        def __init__(self, _path: str) -> None: ...

        def isOpened(self) -> bool:
            return True

        def read(self) -> tuple[bool, None]:
            return False, None

        def release(self) -> None: ...

        def get(self, _what: int) -> float:
            return 0.0

    path = video(tmp_path / "v.avi", [1])
    monkeypatch.setattr(cv2, "VideoCapture", Empty)
    with pytest.raises(LzuError, match=r"v\.avi holds no frame; check that the video is whole"):
        list(frames(path))
    opened = open_source(path)
    assert (opened.count, opened.rate) == (None, 25.0)
