"""Choose frames of a source, evenly over its sequences, and read them one at a time."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lzu_export.errors import LzuError
from lzu_export.inputs.frame import Frame
from lzu_export.inputs.frame_sources.candidates import Candidate, Listing
from lzu_export.inputs.frame_sources.layouts import coco, directory
from lzu_export.inputs.frame_sources.sampling import choose
from lzu_export.inputs.frame_sources.video import video
from lzu_export.inputs.videos import VIDEOS
from lzu_export.support.entry_points import entry_points
from lzu_export.support.extras import needs

GROUP = "lzu_export.frames"
"""Group of the entry points that list the frames of an installed source; they take no arguments."""


@dataclass(frozen=True)
class FrameList:
    """Chosen frames, read from their files on demand."""

    name: str
    sequences: int
    """Number of sequences that the frames were taken from."""
    digest: str
    """SHA-256 of the frames' identities and contents, in order."""
    chosen: Sequence[Candidate] = field(repr=False, compare=False)

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.chosen)

    @property
    def keys(self) -> tuple[str, ...]:
        """Readable identity of each frame."""
        return tuple(each.key for each in self.chosen)

    def frames(self) -> Iterator[tuple[str, Frame]]:
        """Yield identity and BGR image (H x W x 3 uint8) of each frame, in order.

        Raises:
            LzuError: an image is unreadable; or all are black, which is checked before the first
                is yielded.
        """
        self.check()
        yield from self.part(range(len(self)))

    def part(self, positions: range) -> Iterator[tuple[str, Frame]]:
        """Yield identity and image of the frames at these positions, which may all be black."""
        for each in self.chosen[positions.start : positions.stop]:
            yield each.key, each.read()

    def check(self) -> None:
        """Refuse frames that show nothing.

        Raises:
            LzuError: an image is unreadable, or all are black.
        """
        if not any(each.read().any() for each in self.chosen):
            raise LzuError(
                f"all {len(self)} frames chosen from {self.name} are black; give frames that show "
                "something"
            )


def open_frames(source: str, *, count: int, seed: int) -> FrameList:
    """Choose `count` frames of a source, or all if it has fewer.

    Args:
        source: a folder of images, a video, COCO annotations (.json), the root of a Cityscapes or
            nuScenes data set, or the name of an installed source such as `demo`.
        count: number of frames, at least 2.
        seed: random seed of the choice.

    Raises:
        LzuError: the source does not exist or holds fewer than two frames, or files are missing
            or unreadable.
    """
    if count < 2:
        raise LzuError(f"{count} calibration frames are asked for; ask for at least 2")
    listing = _listing(source)
    picks = choose([len(each) for each in listing.sequences], count, seed)
    if len(picks) < 2:
        number = "no frames" if not picks else "one frame only"
        raise LzuError(f"{source} holds {number}, which give no ranges; give at least 2")
    chosen = [listing.sequences[sequence][index] for sequence, index in picks]
    return FrameList(
        name=listing.name,
        sequences=len({sequence for sequence, _ in picks}),
        digest=_digest(chosen),
        chosen=chosen,
    )


def list_frames(source: str) -> list[Candidate]:
    """List all frames of a source, see `open_frames`, sequence after sequence; none is read.

    Raises:
        LzuError: the source does not exist or holds no frames.
    """
    return [each for sequence in _listing(source).sequences for each in sequence]


def named_frames() -> list[str]:
    """List the names of the installed sources, which are used in place of a path."""
    return sorted(entry.name for entry in entry_points(group=GROUP))


def _listing(source: str) -> Listing:
    named = {entry.name: entry for entry in entry_points(group=GROUP)}
    if source in named:
        try:
            listing: Listing = named[source].load()()
        except ImportError as error:
            raise LzuError(needs(f"the source of frames {source}", error.name)) from error
        return listing
    path = Path(source)
    if path.is_dir():
        return directory(path)
    names = "".join(f" or {name}" for name in sorted(named))
    kinds = f"give a folder, a video, COCO annotations (.json){names}"
    if not path.is_file():
        raise LzuError(f"{source} does not exist; {kinds}")
    if path.suffix.lower() == ".json":
        return coco(path)
    if path.suffix.lower() in VIDEOS:
        return video(path)
    raise LzuError(f"{source} is not a source of calibration frames; {kinds}")


def _digest(chosen: Sequence[Candidate]) -> str:
    pairs = [[each.key, each.contents()] for each in chosen]
    return hashlib.sha256(json.dumps(pairs).encode()).hexdigest()
