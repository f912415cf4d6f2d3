"""Read the frames of a video file by number."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from lzu_export.errors import LzuError
from lzu_export.inputs.frame import Frame
from lzu_export.inputs.frame_sources.candidates import Listing, file_hash
from lzu_export.inputs.videos import VideoFile


def video(path: Path) -> Listing:
    """List the frames of a video as one sequence.

    Raises:
        LzuError: the file is unreadable, holds no frame, or ends early.
    """
    reader = _Reader(path)
    name = path.stem
    frames = [VideoFrame(f"{name}_{i:06d}", i, reader) for i in range(reader.length())]
    return Listing(path.name, [frames])


class _Reader:
    """Opened video that reads on from its position, or begins again for an earlier frame."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._video = VideoFile(path)

    @cached_property
    def digest(self) -> str:
        """Hash of the video file, computed once for all its frames."""
        return file_hash(self.path)

    def length(self) -> int:
        """Number of frames, counted by decoding, since a header may count missing frames."""
        while self._video.skip():
            pass
        problem = self._video.shortfall()
        if problem is not None:
            raise LzuError(problem)
        return self._video.passed

    def frame(self, index: int) -> Frame:
        """Decode one frame; ascending order is the fastest."""
        if index < self._video.passed:
            self._video.restart()
        while self._video.passed < index and self._video.skip():
            pass
        image = self._video.read() if self._video.passed == index else None
        if image is None:
            raise LzuError(
                self._video.shortfall()
                or f"frame {index} of {self.path} cannot be decoded; check that the video is whole"
            )
        return image


@dataclass(frozen=True)
class VideoFrame:
    """Candidate frame in a video."""

    key: str
    index: int
    reader: _Reader = field(repr=False)

    def contents(self) -> str:
        """Hash of the video file, followed by the frame's number."""
        return f"{self.reader.digest} {self.index}"

    def read(self) -> Frame:
        """Decode the frame."""
        return self.reader.frame(self.index)
