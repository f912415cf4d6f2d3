"""Frames in, pictures or a video and COCO results out; all of it or nothing."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from lzu_export.bundle.run import write_picture
from lzu_export.errors import LzuError
from lzu_export.runtime import load
from lzu_export.runtime.predictor import Predictor
from lzu_export.runtime.sources import TimedFrame
from lzu_export.tasks.pytorch import noise_frame
from run_samples import Run, video
from samples import noise_frames, refusal


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of three frames of the tiny bundle's size, 96 x 160."""
    return noise_frames(tmp_path / "images", 3)


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_gives_pictures_and_results(
    run: Run, images: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    """The results are the detector's, under the image ids that images.json lists."""
    out = tmp_path / "out"
    counts = run(images)
    assert listing(out) == ["0.png", "1.png", "2.png", "images.json", "results.json", "run.html"]
    results = json.loads((out / "results.json").read_text())
    about = json.loads((out / "images.json").read_text())
    assert [image["id"] for image in about["images"]] == [1, 2, 3]
    assert about["images"][2] == {"id": 3, "file_name": "2.png", "height": 96, "width": 160}
    assert about["categories"] == [{"id": 1, "name": "car"}, {"id": 2, "name": "sign"}]
    detector = load(tiny_bundle)
    wanted = []
    for i in range(3):
        wanted += detector(noise_frame((96, 160), i)).to_coco(i + 1)
    assert results == wanted
    assert counts["frames"] == 3
    assert counts["detections"] == len(results) > 0
    assert counts["milliseconds"] > 0
    for i in range(3):
        picture = cv2.imread(str(out / f"{i}.png"))
        assert picture.shape == (96, 160, 3)
        assert (picture != noise_frame((96, 160), i)).any()


def test_results_are_valid_coco_results(run: Run, images: Path, tmp_path: Path) -> None:
    """The COCO library reads the results; scored against themselves they are perfect."""
    coco = pytest.importorskip("faster_coco_eval").COCO
    run(images)
    about = json.loads((tmp_path / "out" / "images.json").read_text())
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    read = coco({**about, "annotations": []}).loadRes(results)
    assert len(read.getAnnIds()) == len(results)


def test_an_image_with_the_warp_beside(run: Run, images: Path, tmp_path: Path) -> None:
    """The picture differs from the plain one and is wider, with room for the zoomed image."""
    run(images / "1.png")
    plain = cv2.imread(str(tmp_path / "out" / "1.png"))
    run(images / "1.png", show_warp=True)
    shown = cv2.imread(str(tmp_path / "out" / "1.png"))
    assert plain.shape == (96, 160, 3)
    assert shown.shape == (96, 324, 3)
    assert (shown[:, :160] != plain).any()
    assert "0.png" not in listing(tmp_path / "out")


@pytest.mark.parametrize(("suffix", "show_warp"), [(".mp4", False), (".avi", True)])
def test_a_video_gives_a_video(run: Run, tmp_path: Path, suffix: str, show_warp: bool) -> None:
    """The written video has as many frames at the same rate, and every frame has results."""
    counts = run(video(tmp_path / f"drive{suffix}", 5), show_warp=show_warp)
    out = tmp_path / "out"
    assert listing(out) == ["drive.mp4", "images.json", "results.json", "run.html"]
    capture = cv2.VideoCapture(str(out / "drive.mp4"))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 5
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(12)
    there, frame = capture.read()
    capture.release()
    assert there
    assert frame.shape == ((96, 324, 3) if show_warp else (96, 160, 3))
    assert counts["frames"] == 5
    results = json.loads((out / "results.json").read_text())
    assert {each["image_id"] for each in results} == {1, 2, 3, 4, 5}


def test_resized_frames_come_back_in_their_own_pixels(run: Run, tmp_path: Path) -> None:
    """Boxes, picture and recorded size are in pixels of the original file."""
    cv2.imwrite(str(tmp_path / "big.png"), noise_frame((192, 480), 0))
    run(tmp_path / "big.png", engine={"fit": "stretch"})
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    corners = np.array([each["bbox"] for each in results])
    ends = corners[:, :2] + corners[:, 2:]
    assert ends[:, 0].max() > 320
    assert ends[:, 1].max() > 160
    assert (corners >= 0).all()
    assert (ends <= [480.001, 192.001]).all()
    assert cv2.imread(str(tmp_path / "out" / "big.png")).shape == (192, 480, 3)
    about = json.loads((tmp_path / "out" / "images.json").read_text())
    assert about["images"][0] == {"id": 1, "file_name": "big.png", "height": 192, "width": 480}


def test_a_frame_of_another_size_stops_it_all(run: Run, images: Path, tmp_path: Path) -> None:
    """The error names the frame, and the output folder that was made is removed again."""
    cv2.imwrite(str(images / "9.png"), noise_frame((97, 160), 0))
    assert refusal(lambda: run(images)).startswith("9.png is 97x160 but this bundle takes 96x160")
    assert not (tmp_path / "out").exists()


def test_the_engine_is_closed_at_the_end(
    run: Run, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is closed after an error, too, to free the device's memory."""
    closed: list[Predictor] = []

    def close(predictor: Predictor) -> None:
        closed.append(predictor)

    monkeypatch.setattr(Predictor, "close", close)
    run(images)
    assert len(closed) == 1
    cv2.imwrite(str(images / "1.png"), noise_frame((10, 10), 0))
    with pytest.raises(LzuError):
        run(images)
    assert len(closed) == 2


def test_a_damaged_frame_leaves_older_results_alone(run: Run, images: Path, tmp_path: Path) -> None:
    """The output folder keeps the earlier run's files, and none of the failed run."""
    run(images)
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    cv2.imwrite(str(images / "0.png"), noise_frame((96, 160), 9))
    (images / "9.png").write_text("hello")
    with pytest.raises(LzuError, match=r"9\.png cannot be read as an image"):
        run(images)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_what_a_killed_run_left_is_cleared(run: Run, images: Path, tmp_path: Path) -> None:
    """The next run removes the unfinished files and writes its own."""
    (tmp_path / "out" / ".partial").mkdir(parents=True)
    (tmp_path / "out" / ".partial" / "old.png").write_text("x")
    run(images / "0.png")
    assert listing(tmp_path / "out") == ["0.png", "images.json", "results.json", "run.html"]


def test_the_frames_are_never_replaced(run: Run, images: Path) -> None:
    """A run is refused if its pictures would overwrite frames of the same name."""
    before = (images / "0.png").read_bytes()
    for source in (images, images / "0.png"):
        with pytest.raises(LzuError, match="holds the frames themselves; give --out another"):
            run(source, out=images)
    assert (images / "0.png").read_bytes() == before
    assert len(listing(images)) == 3


@pytest.mark.parametrize("below", [False, True])
def test_a_file_in_the_folders_place_is_named(
    run: Run, images: Path, tmp_path: Path, below: bool
) -> None:
    """The error names a file that stands where the output folder or its parent goes."""
    (tmp_path / "taken").write_text("x")
    out = tmp_path / "taken" / "deeper" if below else tmp_path / "taken"
    with pytest.raises(
        LzuError, match=r"the folder .*taken.* cannot be written: .* is a file|stand"
    ):
        run(images, out=out)
    assert (tmp_path / "taken").read_text() == "x"


def test_pictures_of_other_formats_become_png(run: Run, images: Path, tmp_path: Path) -> None:
    """A .ppm frame gives a PNG whose name ends in .ppm.png."""
    image = cv2.imread(str(images / "0.png"))
    cv2.imwrite(str(tmp_path / "frame.ppm"), image)
    run(tmp_path / "frame.ppm")
    assert "frame.ppm.png" in listing(tmp_path / "out")
    assert (tmp_path / "out" / "frame.ppm.png").read_bytes().startswith(b"\x89PNG")


def test_batches_are_filled_and_cut(tiny_recipe: dict[str, Any]) -> None:
    """Three frames through a bundle of two: no frame is lost or doubled."""
    from lzu_export.bundle.run import _predict
    from lzu_export.recipes.load import validate
    from lzu_export.runtime.detector import Detector
    from lzu_export.tasks.warps import make_warp

    class Session:
        """Finds one box whose side is the frame's first byte."""

        def run(self, inputs: Any) -> dict[str, Any]:
            side = inputs["frame"][:, 0, 0, 0].astype(np.float32)
            boxes = np.stack([0 * side, 0 * side, side, side], axis=1)[:, None]
            return {
                "boxes": boxes,
                "scores": np.full((2, 1), 0.9, np.float32),
                "labels": np.zeros((2, 1), np.int32),
            }

    recipe = validate({**tiny_recipe, "batch": 2}, "tiny")
    session: Any = Session()
    detector = Detector(recipe, session, make_warp(recipe).arrays())
    frames = [TimedFrame(f"{i}.png", np.full((96, 160, 3), 10 + i, np.uint8)) for i in range(3)]
    found = list(_predict(detector, iter(frames), None))
    assert [each.name for each, *_ in found] == ["0.png", "1.png", "2.png"]
    assert [float(detections.boxes[0, 2]) for _, _, detections, *_ in found] == [10, 11, 12]
    assert [index for *_, index in found] == [0, 1, 0]


def test_a_full_disk_is_named(
    run: Run, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the file and the cause, and no output folder remains."""

    def full(self: Path, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(LzuError, match=r"0\.png cannot be written: the disk is full; free space"):
        run(images)
    assert not (tmp_path / "out").exists()


def test_a_video_cut_short_is_named(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenCV silently drops frames that it cannot write; the run reports it."""
    real = cv2.VideoWriter

    class Lossy:  # OpenCV's own class does not bear a Python subclass: it corrupts memory
        fourcc = staticmethod(real.fourcc)

        def __init__(self) -> None:
            self.real, self.calls = real(), 0
            self.open, self.release = self.real.open, self.real.release

        def write(self, image: Any) -> None:
            self.calls += 1
            if self.calls < 3:
                self.real.write(image)

    source = video(tmp_path / "drive.mp4", 4)
    monkeypatch.setattr(cv2, "VideoWriter", Lossy)
    with pytest.raises(LzuError, match=r"drive\.mp4 could not be written whole \(2 of 4 frames\)"):
        run(source)
    assert not (tmp_path / "out").exists()


def test_a_picture_that_cannot_be_encoded_is_named(tmp_path: Path) -> None:
    """JPEG allows at most 65535 pixels a side."""
    with pytest.raises(LzuError, match=r"wide\.jpg cannot be encoded as \.jpg"):
        write_picture(tmp_path / "wide.jpg", np.zeros((1, 70000, 3), np.uint8))


@pytest.mark.parametrize("raised", [True, False])
def test_an_encoder_s_refusal_is_a_sentence_in_every_release(
    raised: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenCV 4.10 raises an error where OpenCV 5 returns False."""

    def refuse(*_: Any) -> tuple[bool, None]:
        if raised:
            raise cv2.error("Raw image encoder error")
        return False, None

    monkeypatch.setattr(cv2, "imencode", refuse)
    with pytest.raises(LzuError, match=r"a\.webp cannot be encoded as \.webp"):
        write_picture(tmp_path / "a.webp", np.zeros((2, 3, 3), np.uint8))
    assert not list(tmp_path.iterdir())


def frames_of_zeros(path: Path, first: int) -> Path:
    """Overwrite the frames of a Motion JPEG from one number on by zeros."""
    data = bytearray(path.read_bytes())
    place = data.find(b"movi")
    number = 0
    while (place := data.find(b"00dc", place + 1)) >= 0 and place < data.find(b"idx1"):
        size = int.from_bytes(data[place + 4 : place + 8], "little")
        if number >= first:
            data[place + 8 : place + 8 + size] = bytes(size)
        number += 1
    path.write_bytes(data)
    return path


def test_a_video_that_ends_early_keeps_its_results(run: Run, tmp_path: Path) -> None:
    """The error says what is missing; the written video has the frames that could be read."""
    counts = run(frames_of_zeros(video(tmp_path / "drive.avi", 6), 4))
    assert counts["frames"] == 4
    assert "drive.avi ends early or is damaged: 4 of 6 frames could be read" in counts["incomplete"]
    about = json.loads((tmp_path / "out" / "images.json").read_text())
    assert [each["time"] for each in about["images"]] == pytest.approx(
        [i / 12 for i in range(4)], abs=1e-6
    )
    capture = cv2.VideoCapture(str(tmp_path / "out" / "drive.mp4"))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 4


def test_a_run_may_be_limited(run: Run, images: Path, tmp_path: Path) -> None:
    """The limit is a number of frames or a time in the video; neither counts as damage."""
    path = frames_of_zeros(video(tmp_path / "drive.avi", 6), 4)
    for limit in ({"most": 3}, {"seconds": 0.2}):
        counts = run(path, **limit)
        assert counts["frames"] == 3
        assert "incomplete" not in counts
    assert run(images, most=2, out=tmp_path / "other")["frames"] == 2
    with pytest.raises(LzuError, match="--seconds is for videos and cameras; limit images by"):
        run(images, seconds=1.0, out=tmp_path / "third")


def test_another_source_does_not_replace_pictures(run: Run, images: Path, tmp_path: Path) -> None:
    """Only the source that pictures were made of may replace them, whole or in part."""
    run(images / "0.png")
    run(images)
    other = tmp_path / "right"
    other.mkdir()
    cv2.imwrite(str(other / "1.png"), noise_frame((96, 160), 9))
    before = (tmp_path / "out" / "1.png").read_bytes()
    with pytest.raises(LzuError, match=r"out holds the results of .*images, whose 1\.png would be"):
        run(other)
    assert (tmp_path / "out" / "1.png").read_bytes() == before
    run(video(tmp_path / "a.mp4", 2))
    with pytest.raises(LzuError, match=r"whose a\.mp4 would be replaced; give --out another"):
        run(video(tmp_path / "a.avi", 2))
