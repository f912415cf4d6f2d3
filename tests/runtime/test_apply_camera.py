"""A camera as the source of a run: its results are kept, whatever ends it."""

import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import cv2
import pytest

from lzu_export.errors import LzuError
from lzu_export.runtime.predictor import Predictor
from lzu_export.tasks.pytorch import noise_frame
from pixel_samples import pixels_of
from run_samples import Run, video

SIZE = (96, 160)


class Camera:
    """A camera of five frames."""

    def __init__(self, *_: Any) -> None:
        self.given = 0

    def isOpened(self) -> bool:
        return True

    def get(self, _what: int) -> float:
        return 20.0

    def read(self) -> tuple[bool, Any]:
        self.given += 1
        if self.given > 5:
            return False, None
        return True, self.picture()

    def picture(self) -> Any:
        return noise_frame(SIZE, self.given)

    def release(self) -> None: ...


@pytest.fixture
def camera(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let OpenCV open a simulated `Camera` for every source that is not a file."""
    real: Any = cv2.VideoCapture

    def capture(source: Any, *more: Any) -> Any:
        return real(source) if str(source).endswith(".mp4") else Camera()

    monkeypatch.setattr(cv2, "VideoCapture", capture)
    monkeypatch.setattr(cv2.videoio_registry, "hasBackend", lambda _api: True)


@pytest.mark.usefixtures("camera")
def test_a_camera_is_a_source(run: Run, tmp_path: Path) -> None:
    """Its frames have times, and the written video plays at the camera's speed."""
    counts = run("gst:videotestsrc ! appsink", most=4)
    assert counts["frames"] == 4
    assert "incomplete" not in counts
    about = json.loads((tmp_path / "out" / "images.json").read_text())
    assert [each["file_name"] for each in about["images"]][:2] == [
        "pipeline_000000.jpg",
        "pipeline_000001.jpg",
    ]
    times = [each["time"] for each in about["images"]]
    assert times == sorted(times)
    assert times[0] == 0
    capture = cv2.VideoCapture(str(tmp_path / "out" / "pipeline.mp4"))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == round(20 * times[-1]) + 1


@pytest.mark.usefixtures("camera")
@pytest.mark.parametrize("pixel_format", ["rgb", "nv12", "gray"])
def test_a_pipeline_gives_frames_in_its_own_pixel_format(
    pixel_format: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The results are those of the same frames in BGR, and the video shows the pictures."""
    results = []
    for index, form in enumerate((pixel_format, "bgr")):
        monkeypatch.setattr(
            Camera,
            "picture",
            lambda self, format_=pixel_format, i=index: pixels_of(format_, SIZE, self.given)[i],
        )
        counts = run("gst:x ! appsink", most=3, engine={"pixel_format": form})
        assert counts["frames"] == 3
        about = json.loads((tmp_path / "out" / "images.json").read_text())
        assert {(each["height"], each["width"]) for each in about["images"]} == {(96, 160)}
        results.append(json.loads((tmp_path / "out" / "results.json").read_text()))
    assert results[0] == results[1] != []


@pytest.mark.usefixtures("camera")
@pytest.mark.parametrize(
    ("source", "pixel_format", "problem"),
    [
        ("0", "nv12", r"pixel format nv12 is for pipelines \(gst:.*frames of camera 0 are read"),
        ("drive.mp4", "gray", "pixel format gray is for pipelines .* drive.mp4 are read as bgr"),
        ("gst:x ! appsink", "yv12", "there is no pixel format 'yv12'; did you mean nv12"),
        ("gst:x ! appsink", "gray", r"is \(96, 160, 3\), but pixel format gray is height x width"),
    ],
)
def test_a_pixel_format_that_a_source_has_not_is_refused(
    source: str, pixel_format: str, problem: str, run: Run, tmp_path: Path
) -> None:
    with pytest.raises(LzuError, match=problem):
        run(source, engine={"pixel_format": pixel_format})
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("camera")
def test_a_camera_that_goes_keeps_its_results(run: Run, tmp_path: Path) -> None:
    counts = run("gst:videotestsrc ! appsink")
    assert counts["frames"] == 5
    assert counts["incomplete"] == "the pipeline gives no more frames"
    assert (tmp_path / "out" / "results.json").is_file()


@pytest.mark.usefixtures("camera")
@pytest.mark.parametrize("fit", ["exact", "stretch", "pad"])
@pytest.mark.parametrize("source", ["gst:videotestsrc ! appsink", "drive.avi"])
def test_frames_that_change_their_size_end_a_run_with_its_results(
    source: str, fit: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Earlier results are kept, the video is closed, and the error says at which frame it ended."""

    def read(self: Camera) -> tuple[bool, Any]:
        self.given += 1
        size = (96, 160) if self.given <= 3 else (64, 112)
        return self.given <= 5, noise_frame(size, self.given)

    monkeypatch.setattr(Camera, "read", read)
    if source.endswith(".avi"):
        source = str(video(tmp_path / source, 1))
    counts = run(source, engine={"fit": fit})
    assert counts["frames"] == 3
    assert counts["incomplete"].endswith(
        "_000003.jpg is 64x112 where the frames before it are 96x160, so the run ended there; its "
        "results are written, run again from there for the rest"
    )
    about = json.loads((tmp_path / "out" / "images.json").read_text())
    assert [each["id"] for each in about["images"]] == [1, 2, 3]
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    assert {each["image_id"] for each in found} <= {1, 2, 3}
    (written,) = (tmp_path / "out").glob("*.mp4")
    assert cv2.VideoCapture(str(written)).get(cv2.CAP_PROP_FRAME_COUNT) >= 1
    assert not (tmp_path / "out" / ".partial").exists()


@pytest.mark.usefixtures("camera")
def test_the_first_frame_of_a_camera_is_refused_as_any(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A first frame of a wrong size is refused before anything is written."""
    monkeypatch.setattr(Camera, "read", lambda _self: (True, noise_frame((64, 112), 1)))
    with pytest.raises(LzuError, match="is 64x112 but this bundle takes 96x160"):
        run("gst:videotestsrc ! appsink")
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("camera")
def test_an_engine_that_fails_ends_a_camera_with_its_results(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, calls = Predictor.run, []

    def fails(self: Predictor, batch: Any) -> Any:
        calls.append(batch)
        if len(calls) == 3:
            raise LzuError("the device is gone; start it again")
        return whole(self, batch)

    monkeypatch.setattr(Predictor, "run", fails)
    counts = run("gst:videotestsrc ! appsink")
    assert counts["frames"] == 2
    assert counts["incomplete"] == (
        "the run ended after 2 frames, whose results are written: the device is gone; start it "
        "again"
    )
    assert (tmp_path / "out" / "results.json").is_file()


@pytest.mark.usefixtures("camera")
def test_an_interrupt_ends_a_camera_with_its_results(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One Ctrl-C ends the run and keeps its results; a second one interrupts at once."""
    before = signal.getsignal(signal.SIGINT)
    sent: list[bool] = []

    def read(_self: Camera) -> tuple[bool, Any]:
        time.sleep(0.01)
        if not sent and signal.getsignal(signal.SIGINT) is not before:
            sent.append(True)
            threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
        return True, noise_frame((96, 160), 1)

    monkeypatch.setattr(Camera, "read", read)
    counts = run("0")
    assert counts["frames"] >= 1
    assert "incomplete" not in counts
    assert (tmp_path / "out" / "results.json").is_file()
    assert signal.getsignal(signal.SIGINT) is before
