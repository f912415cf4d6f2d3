"""Read frames from an image, a folder of images, a video file or a camera."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from lzu_export.errors import LzuError
from lzu_export.inputs.frame import Frame
from lzu_export.inputs.images import IMAGES, images_in, read_image
from lzu_export.inputs.live_camera import LiveCamera, parse_live
from lzu_export.inputs.videos import VIDEOS, VideoFile


class TimedFrame(NamedTuple):
    """A frame with its name and, if it is from a video or a camera, its time."""

    name: str
    frame: Frame
    """(H, W, 3) uint8, BGR."""
    time: float | None = None
    """Seconds since the first frame; None for images."""
    raw: Frame | None = None
    """The frame in the predictor's pixel format; None where that is BGR."""


class Source:
    """An opened source of frames, to be iterated once."""

    stem: str
    """Name without suffix, for the video that is written from the source."""
    count: int | None = None
    """Number of frames; None if it is unknown."""
    rate: float | None = None
    """Frames per second of a video or a camera; None for images."""
    live = False
    """Whether the frames come from a camera, which runs until it is stopped."""

    def __iter__(self) -> Iterator[TimedFrame]:
        """Iterate over the frames in order."""
        raise NotImplementedError

    def problem(self) -> str | None:
        """Describe, after the last frame, which frames are missing; None if none are."""
        return None

    def notes(self) -> list[str]:
        """Return remarks on the frames that were read, after the last frame."""
        return []

    def stop(self) -> None:
        """Stop the iteration before the next frame."""

    def close(self) -> None:
        """Release the source; a second call does nothing."""


class ImageSource(Source):
    """An image, or a folder's images in order of name."""

    def __init__(self, path: Path, images: Sequence[Path]) -> None:
        """Take the files; each is read when its turn comes."""
        self.stem, self.images, self.count = path.stem, images, len(images)

    def __iter__(self) -> Iterator[TimedFrame]:
        """Iterate over the frames, which are named after their files."""
        return (TimedFrame(each.name, read_image(each)) for each in self.images)


class VideoSource(Source):
    """A video's frames, named after the file and their number."""

    def __init__(self, path: Path) -> None:
        """Open the file."""
        self._video = VideoFile(path)
        self.stem, self.rate = path.stem, self._video.rate
        self.count = self._video.promised
        self._ended = False

    def __iter__(self) -> Iterator[TimedFrame]:
        """Iterate over the frames from the first to the last."""
        while (image := self._video.read()) is not None:
            name = f"{self.stem}_{self._video.passed - 1:06d}.jpg"
            yield TimedFrame(name, image, self._video.time)
        self._ended = True

    def problem(self) -> str | None:
        """Describe a video that ended early, if it was read to its end; else None."""
        return self._video.shortfall() if self._ended else None

    def notes(self) -> list[str]:
        """Return remarks on the frame rate."""
        if not self._video.knows_rate:
            return [
                f"{self._video.path} does not record its frame rate; {self.rate:g} a second is "
                "assumed"
            ]
        if self._video.uneven:
            return [
                f"{self._video.path} has a variable rate; the video that is written has "
                f"{self.rate:g} frames a second, and images.json the time of each frame"
            ]
        return []

    def close(self) -> None:
        """Close the file."""
        self._video.close()


class CameraSource(Source):
    """Frames of a camera until it is stopped."""

    live = True

    def __init__(self, camera: LiveCamera) -> None:
        """Take an opened camera."""
        self._camera = camera
        self.stem, self.rate = camera.live.stem, camera.rate
        self._taken = 0

    def __iter__(self) -> Iterator[TimedFrame]:
        """Iterate over the frames, which are named after the camera and their number."""
        for frame, time in self._camera.frames():
            yield TimedFrame(f"{self.stem}_{self._taken:06d}.jpg", frame, time)
            self._taken += 1

    def problem(self) -> str | None:
        """Return the reason why the camera ended by itself; None if it did not.

        Raises:
            LzuError: the camera gave no frame at all.
        """
        ended = self._camera.ended
        if ended is not None and self._camera.received == 0:
            raise LzuError(ended)
        return ended

    def notes(self) -> list[str]:
        """Return a remark on the number of frames that were skipped."""
        passed = self._camera.received - self._taken
        if passed <= 1:  # the last one waits when the run is stopped
            return []
        return [
            f"{self._taken} of {self._camera.received} frames were taken; the others came while an "
            "earlier one was being processed"
        ]

    def stop(self) -> None:
        """Stop the iteration before the next frame."""
        self._camera.stop()

    def close(self) -> None:
        """Release the camera."""
        self._camera.close()


def open_source(source: str | Path) -> Source:
    """Open an image, a folder of images, a video file or a camera; see `parse_live` for cameras.

    Raises:
        LzuError: the source does not exist, a folder is empty, a file is unknown or unreadable, or
            a camera does not answer.
    """
    live = parse_live(source) if isinstance(source, str) else None
    if live is not None:
        return CameraSource(LiveCamera(live))
    path = Path(source)
    if path.is_dir():
        images = images_in(path)
        if not images:
            raise LzuError(f"folder {path} holds no images ({', '.join(sorted(IMAGES))}); add some")
        return ImageSource(path, images)
    if not path.exists():
        raise LzuError(
            f"{path} does not exist; give an image, a folder of images, a video, or a camera such "
            "as 0 or rtsp://..."
        )
    if path.suffix.lower() in VIDEOS:
        return VideoSource(path)
    return ImageSource(path, [path])


def frames(source: str | Path) -> Iterator[tuple[str, Frame]]:
    """Yield (file name, BGR frame) from an image, a folder's images by name, or a video.

    A video's frames are named after the file and their number. The source is checked at once,
    before the first frame is asked for.

    Raises:
        LzuError: the source does not exist, a folder is empty, or a file is unknown or unreadable;
            or, after its last frame, a video ended early.
    """
    opened = open_source(source)

    def generate() -> Iterator[tuple[str, Frame]]:
        try:
            for each in opened:
                yield each.name, each.frame
            problem = opened.problem()
        finally:
            opened.close()
        if problem is not None:
            raise LzuError(problem)

    return generate()
