"""Frames that may be chosen, by sequence, each with an identity; none is read yet."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from lzu_export.errors import LzuError
from lzu_export.inputs.frame import Frame
from lzu_export.inputs.images import read_image
from lzu_export.support.files.hashes import sha256


class Candidate(Protocol):
    """A frame that may be chosen."""

    @property
    def key(self) -> str:
        """Readable identity of the frame within its source, wherever the source lies."""

    def contents(self) -> str:
        """Identity of the frame's pixels, found without decoding or rendering them.

        Raises:
            LzuError: the file is missing or unreadable.
        """

    def read(self) -> Frame:
        """Read the frame (H x W x 3 uint8, BGR).

        Raises:
            LzuError: it cannot be decoded.
        """


class Listing(NamedTuple):
    """All frames of a source."""

    name: str
    sequences: Sequence[Sequence[Candidate]]
    """Frames of each sequence, in time order."""


@dataclass(frozen=True)
class ImageFile:
    """Candidate frame in an image file of its own."""

    key: str
    places: tuple[Path, ...]
    """Paths at which the file may be; the first that exists counts."""

    @property
    def path(self) -> Path:
        """Path of the file.

        Raises:
            LzuError: the file is at none of its places.
        """
        for place in self.places:
            if place.is_file():
                return place
        tried = " nor ".join(str(place) for place in self.places[:2])
        more = f" nor in {len(self.places) - 2} other places" if len(self.places) > 2 else ""
        raise LzuError(f"image {self.key} is neither {tried}{more}; put it there")

    def contents(self) -> str:
        """Hash of the file."""
        return file_hash(self.path)

    def read(self) -> Frame:
        """Decode the file."""
        return read_image(self.path)


def file_hash(path: Path) -> str:
    """Hash a file by SHA-256.

    Raises:
        LzuError: it is unreadable.
    """
    try:
        return sha256(path)
    except OSError as error:
        raise LzuError(f"{path} cannot be read ({error.strerror}); make it readable") from error
