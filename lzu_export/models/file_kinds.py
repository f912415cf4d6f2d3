"""Recognise a file by its first bytes, to explain why it is not a checkpoint."""

import os
import stat
import struct
from pathlib import Path

from lzu_export.errors import LzuError
from lzu_export.support.demonstration import remedy_for

MOST_BYTES = 1 << 36
"""Size limit of a checkpoint in bytes: 64 GiB, far above those of the built-in networks."""
HEAD = 512
"""Number of bytes that are read from the beginning of a file."""

ZIP, LEGACY, SAFETENSORS = "zip", "legacy", "safetensors"
"""Kinds of files that are read: PyTorch's archives, its files before 1.6, and safetensors."""

BROKEN = "truncated or not a PyTorch checkpoint"
COPY_AGAIN = "copy or download it again and compare its size with the original's"

_MAGIC = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"
"""Magic number of PyTorch's older files, as a pickle encodes it."""

_OTHERS = {
    b"\x89HDF": "an HDF5 file, such as Keras writes",
    b"\x93NUMPY": "an array of NumPy",
    b"\x7fELF": "a program or library",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"%PDF": "a PDF",
}
"""Files that are no archive of anything, by their first bytes."""

_SIGNATURES: tuple[tuple[bytes, str, str], ...] = (
    (b"\x1f\x8b", "compressed with gzip", "unpack it first: gunzip"),
    (b"BZh", "compressed with bzip2", "unpack it first: bunzip2"),
    (b"\xfd7zXZ", "compressed with xz", "unpack it first: unxz"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd", "unpack it first: zstd -d"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", "unpack it first"),
    (b"Rar!", "a RAR archive", "unpack it first"),
    *((first, what, "give a checkpoint of PyTorch") for first, what in _OTHERS.items()),
    (
        b"version https://git-lfs.github.com/spec/",
        "a pointer of Git LFS, not the file itself",
        "fetch it where it was cloned: git lfs pull",
    ),
    (
        b"/annex/objects/",
        "a pointer of git-annex, not the file itself",
        "fetch it where it was cloned: git annex get",
    ),
)


def checkpoint_kind(path: Path) -> str:
    """Return `ZIP`, `LEGACY` or `SAFETENSORS` by a file's first bytes; never blocks.

    Raises:
        LzuError: the file is not a regular file, cannot be read, or is of another kind. The message
            names the kind.
    """
    head, size = _head(path)
    if head.startswith(b"PK\x03\x04"):
        return ZIP
    if head[:1] == b"\x80" and _MAGIC in head[:32]:
        return LEGACY
    if len(head) > 9 and head[8:9] == b"{" and struct.unpack("<Q", head[:8])[0] < size:
        return SAFETENSORS
    what, remedy = _foreign(head, size)
    raise LzuError(f"checkpoint {path} is {what}; {remedy}")


def check_checkpoint(path: Path) -> None:
    """Refuse a file that cannot be a checkpoint before it is hashed or read in full.

    Raises:
        LzuError: see `checkpoint_kind`.
    """
    checkpoint_kind(path)


def _head(path: Path) -> tuple[bytes, int]:
    """Read the first bytes of a regular file, and its size."""
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a named pipe"}
            kind = kinds.get(stat.S_IFMT(found.st_mode), "no regular file")
            raise LzuError(
                f"checkpoint {path} is not a file but {kind}; give the path of an existing .pth or "
                ".safetensors file"
            )
        # Without blocking, since a pipe may have taken the file's place.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(handle, "rb") as file:
            head = file.read(HEAD)
    except FileNotFoundError as error:
        remedy = remedy_for(path, "give a path that does")
        raise LzuError(f"checkpoint {path} does not exist; {remedy}") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise LzuError(f"checkpoint {path} cannot be read ({reason}); make it readable") from error
    if found.st_size > MOST_BYTES:
        raise LzuError(
            f"checkpoint {path} has {found.st_size / 1e9:.0f} GB, more than any network here; give "
            "the file of the weights alone"
        )
    return head, found.st_size


def _foreign(head: bytes, size: int) -> tuple[str, str]:
    """Return the kind of a file that is not a checkpoint, and a remedy."""
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    printable = all(each in b"\t\n\r" or 32 <= each < 127 for each in head)
    signed = next((each for each in _SIGNATURES if head.startswith(each[0])), None)
    known: list[tuple[bool, str, str]] = [
        (not head, "empty", COPY_AGAIN),
        (signed is not None, *(signed or ("", "", ""))[1:]),
        (head[257:262] == b"ustar", "a tar archive", "unpack it first: tar -xf"),
        (not head.strip(b"\0"), "full of zeros, as an interrupted copy leaves it", COPY_AGAIN),
        (
            text.startswith((b"<!doctype", b"<html", b"<head", b"<?xml")),
            "a web page, not a PyTorch checkpoint",
            "the download wants to be confirmed or signed in: save the file itself",
        ),
        (
            text.startswith((b"{", b"[")),
            "JSON, not a PyTorch checkpoint",
            "it may be an error of the server: read it",
        ),
        (
            head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05") and size > 16,
            "a plain pickle, not a PyTorch checkpoint",
            "such a file runs code when it is opened; save the weights by torch.save where it was "
            "made",
        ),
        (
            printable and size > 16,
            "a text file, not a PyTorch checkpoint",
            "give the file of the weights",
        ),
    ]
    return next(((what, remedy) for is_it, what, remedy in known if is_it), (BROKEN, COPY_AGAIN))
