"""Videos: every frame with its time, other containers, and files that end early."""

import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from lzu_export.errors import LzuError
from lzu_export.inputs import videos
from lzu_export.inputs.mp4 import edited_seconds
from lzu_export.inputs.videos import VideoFile
from lzu_export.runtime.sources import frames, open_source

SIZE = (24, 32)
honest: Any = cv2.VideoCapture


def write(path: Path, count: int, rate: float = 10, codec: str = "mp4v") -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), rate, SIZE[::-1])
    if not writer.isOpened():
        pytest.skip(f"OpenCV writes no {path.suffix} here")
    for i in range(count):
        writer.write(np.full((*SIZE, 3), 8 * i % 256, np.uint8))
    writer.release()
    return path


def damaged(path: Path, first: int, last: int) -> Path:
    """A Motion JPEG whose frames from `first` to `last` are zeros, as a bad sector leaves them."""
    data = bytearray(path.read_bytes())
    place = data.find(b"movi")
    for number in range(last + 1):
        place = data.find(b"00dc", place + 1)
        size = int.from_bytes(data[place + 4 : place + 8], "little")
        if number >= first:
            data[place + 8 : place + 8 + size] = bytes(size)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mkv", "mp4v"), ("a.mov", "mp4v"), ("a.ts", "mp4v"), ("a.webm", "VP80"), ("a.flv", "FLV1")],
)
def test_containers_are_read_with_times(tmp_path: Path, name: str, codec: str) -> None:
    """Twelve frames at 8 a second, all of them."""
    opened = open_source(write(tmp_path / name, 12, 8, codec))
    assert [each.time for each in opened] == pytest.approx([i / 8 for i in range(12)], abs=2e-3)
    assert opened.problem() is None


def test_slow_videos_keep_their_rate(tmp_path: Path) -> None:
    """One frame in two seconds is no mistake of the file."""
    opened = open_source(write(tmp_path / "slow.mp4", 4, 0.5))
    assert opened.rate == pytest.approx(0.5)
    assert [each.time for each in opened] == pytest.approx([0, 2, 4, 6])


def test_raw_streams_say_neither_rate_nor_number(tmp_path: Path) -> None:
    """JPEGs one after another; frames are counted and 25 a second assumed."""
    pictures = [np.full((*SIZE, 3), 40 * i, np.uint8) for i in range(5)]
    data = b"".join(cv2.imencode(".jpg", each)[1].tobytes() for each in pictures)
    (tmp_path / "a.mjpeg").write_bytes(data)
    opened = open_source(tmp_path / "a.mjpeg")
    assert opened.count is None
    found = list(opened)
    assert [round(each.frame.mean() / 40) for each in found] == list(range(5))
    assert [each.time for each in found] == pytest.approx([i / 25 for i in range(5)])


class Timeless:
    """A capture as OpenCV 4.10's of a raw stream, whose times begin at FFmpeg's mark for none."""

    def __init__(self, path: str) -> None:
        self._honest = honest(path)

    def get(self, what: int) -> float:
        if what != cv2.CAP_PROP_POS_MSEC:
            return float(self._honest.get(what))
        return -7686143364045646.0 + self._honest.get(what)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._honest, name)


def test_times_that_are_none_follow_from_the_rate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They have no digits left below a millisecond."""
    monkeypatch.setattr(videos.cv2, "VideoCapture", Timeless)
    opened = open_source(write(tmp_path / "a.avi", 5, 8, "MJPG"))
    assert [each.time for each in opened] == [i / 8 for i in range(5)]
    assert not VideoFile(tmp_path / "a.avi").uneven


@pytest.mark.parametrize("number", [8, 27])
def test_a_cut_video_ends_early(tmp_path: Path, number: int) -> None:
    """Its header still promises all frames; those that are whole can be had, and no half one."""
    path = write(tmp_path / "a.avi", 30, 10, "MJPG")
    data = path.read_bytes()
    place = data.find(b"movi")
    for _ in range(number + 1):
        place = data.find(b"00dc", place + 1)
    size = int.from_bytes(data[place + 4 : place + 8], "little")
    path.write_bytes(data[: place + 8 + size // 2])
    opened = open_source(path)
    found = len(list(opened))
    assert found == number
    problem = opened.problem()
    assert problem is not None
    assert f"a.avi ends early or is damaged: {found} of 30 frames could be read" in problem
    with pytest.raises(LzuError, match=f"{found} of 30 frames could be read"):
        list(frames(path))


def test_damage_in_the_middle_is_not_the_end(tmp_path: Path) -> None:
    """The frames behind it would be of other times and numbers."""
    path = damaged(write(tmp_path / "a.avi", 20, 10, "MJPG"), 7, 9)
    opened = open_source(path)
    assert len(list(opened)) == 7
    assert "7 of 20 frames could be read" in str(opened.problem())


def test_a_part_of_a_damaged_video_is_no_problem(tmp_path: Path) -> None:
    """Where nobody asked for more."""
    opened = open_source(damaged(write(tmp_path / "a.avi", 20, 10, "MJPG"), 7, 9))
    taken = [each.name for each, _ in zip(opened, range(5), strict=False)]
    assert taken == [f"a_{i:06d}.jpg" for i in range(5)]
    assert opened.problem() is None


class Fake:
    """A capture of five frames that is told what to say of them."""

    rate = 10.0
    promised = 5.0
    times: tuple[float, ...] = (0, 100, 200, 300, 400)
    given = 5

    def __init__(self, _path: str) -> None:
        self._next = 0

    def isOpened(self) -> bool:
        return True

    def get(self, what: int) -> float:
        if what == cv2.CAP_PROP_POS_MSEC:
            return self.times[self._next - 1]
        return self.rate if what == cv2.CAP_PROP_FPS else self.promised

    def grab(self) -> bool:
        self._next += 1
        return self._next <= self.given

    def read(self) -> tuple[bool, Any]:
        if not self.grab():
            return False, None
        return True, np.full((*SIZE, 3), self._next, np.uint8)

    def release(self) -> None: ...


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, type[Fake]]:
    """A file, and the class of captures that it opens as."""

    class Told(Fake):
        pass

    (tmp_path / "v.mp4").write_bytes(b"x")
    monkeypatch.setattr(cv2, "VideoCapture", Told)
    return tmp_path / "v.mp4", Told


def test_times_of_a_variable_rate_are_the_files(fake: tuple[Path, type[Fake]]) -> None:
    """And a note says that the written video has others."""
    path, told = fake
    told.times = (40, 140, 440, 460, 640)
    opened = open_source(path)
    assert [each.time for each in opened] == pytest.approx([0, 0.1, 0.4, 0.42, 0.6])
    assert any("has a variable rate" in note for note in opened.notes())


@pytest.mark.parametrize("times", [(0.0,) * 5, (float("nan"),) * 5, (9.0, 8.0, 7.0, 6.0, 5.0)])
def test_times_that_do_not_go_on_are_replaced(
    fake: tuple[Path, type[Fake]], times: tuple[float, ...]
) -> None:
    """By those of the rate: raw streams say none, and some files wrong ones."""
    path, told = fake
    told.times = times
    opened = open_source(path)
    assert [each.time for each in opened] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])


@pytest.mark.parametrize("rate", [float("nan"), 0.0, -1.0, 90000.0, float("inf")])
def test_impossible_rates_are_said(fake: tuple[Path, type[Fake]], rate: float) -> None:
    """25 is taken instead."""
    path, told = fake
    told.rate = rate
    opened = open_source(path)
    assert opened.rate == 25
    assert len(list(opened)) == 5
    assert opened.notes()[0].endswith("does not record its frame rate; 25 a second is assumed")


@pytest.mark.parametrize(
    ("suffix", "promised", "whole"),
    [
        (".mp4", 6, False), (".mp4", 5, True), (".mp4", 4, True), (".mp4", float("nan"), True),
        (".mkv", 6, True), (".mkv", 7, False), (".ts", -1e16, True), (".webm", 1e12, True),
    ],
)  # fmt: skip
def test_numbers_that_are_estimates_may_be_a_little_off(
    fake: tuple[Path, type[Fake]], suffix: str, promised: float, whole: bool
) -> None:
    """Of containers that store none it is made of the longest stream's duration."""
    path, told = fake
    told.promised = promised
    path = path.rename(path.with_suffix(suffix))
    opened = open_source(path)
    assert len(list(opened)) == 5
    assert (opened.problem() is None) == whole


def test_skipped_frames_count(fake: tuple[Path, type[Fake]]) -> None:
    """The third frame is the third, whether the first two were looked at or not."""
    video = VideoFile(fake[0])
    assert video.skip()
    assert video.skip()
    image = video.read()
    assert image is not None
    assert (image[0, 0, 0], video.time) == (3, pytest.approx(0.2))
    video.restart()
    image = video.read()
    assert image is not None
    assert (image[0, 0, 0], video.time, video.passed) == (1, 0, 1)


@pytest.mark.parametrize("start", [b"#EXTM3U\nhttp://x/", b"ffconcat version 1.0\nfile a", b"<x>"])
def test_lists_of_other_files_are_never_opened(tmp_path: Path, start: bytes) -> None:
    """A decoder would follow them, to addresses too."""
    (tmp_path / "a.mp4").write_bytes(start)
    with pytest.raises(LzuError, match=r"a\.mp4 is a list or a page, not a video"):
        open_source(tmp_path / "a.mp4")


def test_a_name_that_is_not_utf_8_is_a_sentence(tmp_path: Path) -> None:
    """OpenCV 5 ends the process at one."""
    with pytest.raises(LzuError, match="is not UTF-8, which OpenCV does not take; rename it"):
        VideoFile(tmp_path / "a\udcff.mp4")


def trimmed(path: Path, first: int, count: int, of: int) -> Path:
    """Let a file's edit list show `count` of its `of` frames from one on, as a trim leaves it."""
    data = bytearray(path.read_bytes())
    clock = data.find(b"mdhd") + 16
    (scale,) = struct.unpack_from(">I", data, clock)
    place = data.find(b"elst") + 12
    (duration,) = struct.unpack_from(">I", data, place)
    struct.pack_into(">Ii", data, place, duration * count // of, scale * first // 10)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(("first", "count"), [(10, 20), (0, 25), (13, 4)])
def test_a_trimmed_video_is_whole(tmp_path: Path, first: int, count: int) -> None:
    """Though its header counts the frames that are cut off, too."""
    path = trimmed(write(tmp_path / "a.mp4", 30), first, count, 30)
    opened = open_source(path)
    assert opened.count == 30
    found = list(opened)
    assert len(found) == pytest.approx(count, abs=1)
    assert found[0].frame.mean() == pytest.approx(8 * first, abs=4)
    assert opened.problem() is None


def test_an_edit_list_excuses_no_more_than_it_leaves_out(
    fake: tuple[Path, type[Fake]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five frames of the nine that it shows."""
    path, told = fake
    told.promised = 30
    monkeypatch.setattr(videos, "edited_seconds", lambda _path: 0.9)
    opened = open_source(path)
    assert len(list(opened)) == 5
    assert "5 of 30 frames could be read" in str(opened.problem())


@pytest.mark.parametrize("content", [b"", b"\0\0\0\x08moov", b"\0\0\0\x01moov", b"\xff" * 40])
def test_damaged_contents_have_no_edit_list(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.mp4").write_bytes(content)
    assert edited_seconds(tmp_path / "a.mp4") is None
    assert edited_seconds(tmp_path / "none.mp4") is None
