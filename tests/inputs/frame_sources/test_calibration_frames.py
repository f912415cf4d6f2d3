"""Opening sources, what identifies their frames, and every refusal."""

import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from lzu_export.errors import LzuError
from lzu_export.inputs.frame_sources import choose as module
from lzu_export.inputs.frame_sources import open_frames
from lzu_export.inputs.frame_sources.candidates import ImageFile


def image(path: Path, value: int = 50, size: tuple[int, int] = (24, 32)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((*size, 3), value, np.uint8))
    return path


def video(path: Path, values: list[int]) -> Path:
    codec = {".mp4": "mp4v", ".avi": "MJPG"}[path.suffix]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), 10, (32, 24))
    for value in values:
        writer.write(np.full((24, 32, 3), value, np.uint8))
    writer.release()
    return path


@pytest.fixture
def drives(tmp_path: Path) -> Path:
    """Three drives of ten frames, each of its own grey."""
    for drive in range(3):
        for i in range(10):
            image(tmp_path / "drives" / f"drive{drive}" / f"{i}.png", 100 * drive + i + 1)
    return tmp_path / "drives"


def test_frames_are_shared_out_over_sequences(drives: Path) -> None:
    """Each with its key, its pixels, and in order."""
    found = open_frames(str(drives), count=7, seed=1)
    assert len(found) == len(found.keys) == 7
    assert found.name == "drives"
    assert found.sequences == 3
    assert sorted(found.keys) == list(found.keys)
    for key, frame in found.frames():
        drive, number = int(key[5]), int(key[7])
        np.testing.assert_array_equal(frame, np.full((24, 32, 3), 100 * drive + number + 1))
    assert [key for key, _ in found.frames()] == list(found.keys)


def test_the_digest_is_of_identities_and_contents(drives: Path) -> None:
    """Not of the place, the seed or frames that were not chosen."""
    found = open_frames(str(drives), count=6, seed=0)
    assert open_frames(str(drives), count=6, seed=0) == found
    assert open_frames(str(drives), count=6, seed=1).digest != found.digest
    assert open_frames(str(drives), count=5, seed=0).digest != found.digest
    everything = {open_frames(str(drives), count=99, seed=seed).digest for seed in range(3)}
    assert len(everything) == 1
    moved = drives.rename(drives.with_name("moved"))
    assert open_frames(str(moved), count=6, seed=0).digest == found.digest
    other = next(p for p in sorted(moved.rglob("*.png")) if not str(p).endswith(found.keys))
    image(other, 7)
    assert open_frames(str(moved), count=6, seed=0).digest == found.digest
    image(moved / found.keys[2], 7)
    assert open_frames(str(moved), count=6, seed=0).digest != found.digest


def test_opening_decodes_nothing(drives: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The digest is of files."""

    def never(self: ImageFile) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(ImageFile, "read", never)
    assert len(open_frames(str(drives), count=9, seed=0).digest) == 64


def test_a_relative_folder_has_its_name(drives: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also as `.`."""
    monkeypatch.chdir(drives)
    assert open_frames(".", count=4, seed=0).name == "drives"


def test_coco_annotations_are_a_source(tmp_path: Path) -> None:
    """By their suffix."""
    names = [image(tmp_path / "images" / f"{i}.png", i + 1).name for i in range(4)]
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps({"images": [{"file_name": name} for name in names]}))
    found = open_frames(str(path), count=10, seed=0)
    assert found.keys == tuple(names)
    assert [int(frame[0, 0, 0]) for _, frame in found.frames()] == [1, 2, 3, 4]
    (tmp_path / "images" / "2.png").unlink()
    with pytest.raises(LzuError, match=r"image 2\.png is neither .* nor .*; put it there"):
        open_frames(str(path), count=10, seed=0)


@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
def test_a_video_is_sampled_over_its_length(tmp_path: Path, suffix: str) -> None:
    """Whichever frames are chosen, it is those that are read."""
    values = [10 + 8 * i for i in range(30)]
    path = video(tmp_path / f"drive{suffix}", values)
    for count in (2, 5, 30):
        found = open_frames(str(path), count=count, seed=3)
        assert found.sequences == 1
        assert len(found) == count
        for _ in range(2):  # a second pass starts again
            for key, frame in found.frames():
                assert abs(float(frame.mean()) - values[int(key.removeprefix("drive_"))]) < 4
    one = open_frames(str(path), count=5, seed=3)
    assert one.digest == open_frames(str(path), count=5, seed=3).digest
    assert one.digest != open_frames(str(path), count=6, seed=3).digest
    video(path, [*values[:-1], 0])
    assert one.digest != open_frames(str(path), count=5, seed=3).digest


def test_a_video_is_counted_and_one_that_ends_early_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A header without a number is fine; one that promises more than can be read is not."""
    path = video(tmp_path / "drive.avi", [10 + 8 * i for i in range(20)])
    honest = cv2.VideoCapture

    class Boastful:
        promised = 24.0

        def __init__(self, path: str) -> None:
            self._capture = honest(path)

        def get(self, field: int) -> float:
            return self.promised if field == cv2.CAP_PROP_FRAME_COUNT else self._capture.get(field)

        def __getattr__(self, name: str) -> object:
            return getattr(self._capture, name)

    monkeypatch.setattr(cv2, "VideoCapture", Boastful)
    for promised in (0.0, -1.0, float("nan")):
        Boastful.promised = promised
        found = open_frames(str(path), count=99, seed=0)
        assert len(found) == 20
        means = [float(frame.mean()) for _, frame in found.frames()]
        np.testing.assert_allclose(means, [10 + 8 * i for i in range(20)], atol=4)
    Boastful.promised = 24.0
    with pytest.raises(LzuError, match=r"drive\.avi ends early .*: 20 of 24 frames could be read"):
        open_frames(str(path), count=5, seed=0)


def test_frames_are_not_kept(tmp_path: Path) -> None:
    """Fifty frames take the memory of five."""
    for i in range(50):
        image(tmp_path / f"{i:02d}.png", i + 1, (300, 400))

    def peak(count: int) -> int:
        tracemalloc.start()
        for _, frame in open_frames(str(tmp_path), count=count, seed=0).frames():
            assert frame.any()
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    peak(5)
    assert peak(50) < peak(5) + 300 * 400 * 3


def test_black_frames_are_refused_only_where_all_are(tmp_path: Path) -> None:
    """Before the first is given; those after which light comes are frames like others."""
    for i in range(5):
        image(tmp_path / f"{i}.png", 0)
    found = open_frames(str(tmp_path), count=5, seed=0)
    with pytest.raises(LzuError, match=rf"all 5 frames chosen from {tmp_path.name} are black; giv"):
        next(found.frames())
    image(tmp_path / "4.png", 9)
    assert [int(frame.max()) for _, frame in found.frames()] == [0, 0, 0, 0, 9]


def test_an_unreadable_image_is_named(tmp_path: Path) -> None:
    """When its turn comes."""
    image(tmp_path / "a.png")
    (tmp_path / "b.png").write_text("no image")
    with pytest.raises(LzuError, match=r"b\.png cannot be read as an image; check"):
        list(open_frames(str(tmp_path), count=5, seed=0).frames())


def test_what_gives_no_ranges_is_refused(tmp_path: Path) -> None:
    """Nothing, a single frame, or so few asked for."""
    with pytest.raises(LzuError, match="does not exist; give a folder, a video, COCO annotations"):
        open_frames(str(tmp_path / "nothing"), count=5, seed=0)
    with pytest.raises(LzuError, match="holds no images"):
        open_frames(str(tmp_path), count=5, seed=0)
    image(tmp_path / "a.png")
    with pytest.raises(LzuError, match="holds one frame only, which give no ranges; give at le"):
        open_frames(str(tmp_path), count=5, seed=0)
    with pytest.raises(LzuError, match=r"a\.png is not a source of calibration frames; give a fol"):
        open_frames(str(tmp_path / "a.png"), count=5, seed=0)
    for count in (1, 0, -3):
        with pytest.raises(LzuError, match=f"^{count} calibration frames are asked for; ask for "):
            open_frames(str(tmp_path), count=count, seed=0)
    (tmp_path / "bad.mp4").write_text("hello")
    with pytest.raises(LzuError, match=r"bad\.mp4 cannot be read as a video; check"):
        open_frames(str(tmp_path / "bad.mp4"), count=5, seed=0)
    one = video(tmp_path / "one.avi", [40])
    with pytest.raises(LzuError, match=r"one\.avi holds one frame only"):
        open_frames(str(one), count=5, seed=0)


def test_a_named_source_that_lacks_a_package_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    """Named sources live outside of this package."""

    class Entry:
        name = "demo"

        def load(self) -> Iterator[None]:
            raise ImportError("no such package", name="lzu_benchmarks")

    monkeypatch.setattr(module, "entry_points", lambda group: [Entry()])
    with pytest.raises(LzuError, match="source of frames demo needs the package lzu_benchmarks"):
        open_frames("demo", count=4, seed=0)
