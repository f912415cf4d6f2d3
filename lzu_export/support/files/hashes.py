"""Hashes of files."""

import hashlib
from pathlib import Path

from lzu_export.support.files.reading import open_regular


def sha256(path: Path) -> str:
    """Compute the SHA-256 hex digest of a regular file, read in pieces.

    Raises:
        LzuError: the file cannot be read, or is not a regular file.
    """
    digest = hashlib.sha256()
    with open_regular(path) as stream:
        while piece := stream.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def file_digest(path: Path | None) -> str | None:
    """Hash a file, or the PNG images in a folder; None if there is neither."""
    if path is None or not path.exists():
        return None
    if path.is_file():
        return sha256(path)
    digest = hashlib.sha256()
    for each in sorted(path.rglob("*.png")):
        digest.update(f"{each.relative_to(path).as_posix()} {sha256(each)}\n".encode())
    return digest.hexdigest()
