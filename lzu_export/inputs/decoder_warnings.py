"""Collect the warnings that OpenCV's decoders write to file descriptor 2."""

import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_WARNINGS = re.compile(
    r"^(?:.*TIFF_Error (?=.)|.*TIFF_Warning (?=\w*Decode)|(?=Corrupt JPEG data|"
    r"Premature end of JPEG|Inconsistent progression|Invalid SOS parameters|Unsupported marker|"
    r"Warning: unknown JFIF))"
    r"(.+)$",
    re.MULTILINE,
)
"""Messages of libjpeg and libtiff about data that they replaced because it was damaged."""
_DECODERS = ("grfmt_", "loadsave.cpp", "bitstrm.cpp", "libpng ", "FFMPEG", "cap_ffmpeg", "libav")
_FFMPEG = re.compile(r"^\[\w+ @ 0x[0-9a-f]+\]")
_stderr = threading.RLock()


class _Warnings:
    """Messages of the decoder, filled in when the block of `decoder_warnings` ends."""

    def __init__(self) -> None:
        self.found: list[str] = []


@contextmanager
def decoder_warnings() -> Iterator[_Warnings]:
    """Collect the warnings that OpenCV's decoders write to file descriptor 2.

    libjpeg reports damaged data in no other way. All other text is passed on to stderr, except
    for OpenCV's own lines about files that are refused anyway.
    """
    warnings = _Warnings()
    # A file in memory, so that reading an image writes nothing to the disk, not even to TMPDIR.
    with _stderr, open(os.memfd_create("stderr"), "w+b") as text:
        try:
            saved = os.dup(2)
        except OSError:  # a process without stderr
            yield warnings
            return
        try:
            os.dup2(text.fileno(), 2)
            yield warnings
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            text.seek(0)
            said = text.read().decode("utf-8", "replace")
            warnings.found = [each.strip() for each in _WARNINGS.findall(said)]
            rest = "".join(line for line in said.splitlines(True) if not _of_decoder(line))
            if rest.strip("\n"):  # passed on unchanged: it may move a progress bar's cursor
                with suppress(OSError):
                    os.write(2, rest.encode())


@contextmanager
def quiet_decoders() -> Iterator[None]:
    """Drop the lines that OpenCV's codecs write to file descriptor 2 while the block runs."""
    with decoder_warnings():
        yield


def _of_decoder(line: str) -> bool:
    return bool(_WARNINGS.match(line) or _FFMPEG.match(line)) or any(
        word in line for word in _DECODERS
    )
