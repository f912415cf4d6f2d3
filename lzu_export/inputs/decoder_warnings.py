"""What the decoders inside OpenCV write to file descriptor 2 while an image is decoded."""

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
"""Sentences of libjpeg and libtiff on data that they had to make up."""
_DECODERS = ("grfmt_", "loadsave.cpp", "bitstrm.cpp", "libpng ", "FFMPEG", "cap_ffmpeg", "libav")
_FFMPEG = re.compile(r"^\[\w+ @ 0x[0-9a-f]+\]")
_stderr = threading.RLock()


class _Warnings:
    """Sentences of the decoder, filled when the block of `decoder_warnings` ends."""

    def __init__(self) -> None:
        self.found: list[str] = []


@contextmanager
def decoder_warnings() -> Iterator[_Warnings]:
    """Collect what the decoders inside of OpenCV write to file descriptor 2.

    libjpeg reports data that it had to make up in no other way. All other text is passed on, except
    for OpenCV's own lines on files that are refused anyway.
    """
    warnings = _Warnings()
    # In memory: reading an image leaves nothing on the disk, not even where TMPDIR is.
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
            if rest.strip("\n"):  # as it is: it may move a progress bar's cursor
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
