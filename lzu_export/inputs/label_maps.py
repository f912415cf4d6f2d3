"""Read label maps: PNG files of class numbers, or of colours that represent classes.

Programs write class numbers as grey values or, like PASCAL VOC, labelme and mmseg's converters, as
indices of a palette whose colours are only for viewing. OpenCV would return the colours. An index
and a grey value are stored alike, so a palette is turned into grey before OpenCV decodes the file.
"""

import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from lzu_export.errors import LzuError
from lzu_export.inputs.classes import listed
from lzu_export.inputs.image_headers import png_chunks
from lzu_export.inputs.images import check_image, read_bytes
from lzu_export.support.limits import IGNORED

Labels = NDArray[np.uint8]

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, COLOUR, PALETTE, GREY_ALPHA, COLOUR_ALPHA = 0, 2, 3, 4, 6
"""PNG's numbers for its colour types."""
CHANNELS = {GREY: 1, COLOUR: 3, PALETTE: 1, GREY_ALPHA: 2, COLOUR_ALPHA: 4}
KINDS = {
    GREY: "grey",
    COLOUR: "colours",
    PALETTE: "a palette",
    GREY_ALPHA: "grey with opacity",
    COLOUR_ALPHA: "colours with opacity",
}
PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
          (0, 1, 1, 2))  # fmt: skip
"""First column and row, and steps across and down, of each pass of an interlaced PNG."""


class LabelMap(NamedTuple):
    """A decoded label map."""

    pixels: NDArray[np.uint8]
    """Class numbers (H, W), or BGR colours (H, W, 3)."""
    palette: NDArray[np.uint8] | None = None
    """Red, green and blue (n, 3) of each number; None if the file has no palette."""


class _Header(NamedTuple):
    width: int
    height: int
    depth: int
    """Bits per channel."""
    kind: int
    interlaced: bool


def read_numbers(path: Path) -> Labels:
    """Read a label map (H, W) of class numbers: 8-bit grey, a palette's indices, or a 1-bit mask.

    Raises:
        LzuError: the file is unreadable, truncated, no PNG, or holds none of these.
    """
    found = read_label_map(path).pixels
    if found.ndim != 2:
        raise LzuError(
            f"label map {path} is a PNG of colours; give class numbers: one channel of 8 bits, or "
            "a palette"
        )
    return found


def read_label_map(path: Path) -> LabelMap:
    """Read a label map of class numbers or of colours.

    Raises:
        LzuError: the file is unreadable, truncated, no PNG, or has 16 bits per channel, 2 or 4
            bits of grey, or grey with opacity.
    """
    content = read_bytes(path)
    check_image(content, path)
    if not content.startswith(SIGNATURE):
        raise LzuError(f"label map {path} is not a PNG, which keeps numbers as they are; give one")
    try:
        header, palette, data = _parts(content)
    except (ValueError, struct.error, zlib.error) as error:
        raise LzuError(f"label map {path} is damaged ({error}); copy it again") from error
    numbers = header.kind == PALETTE or (header.kind == GREY and header.depth in (1, 8))
    colours = header.kind in (COLOUR, COLOUR_ALPHA) and header.depth == 8
    if not (numbers or colours):
        raise LzuError(
            f"label map {path} is a PNG of {KINDS[header.kind]} with {header.depth} bits a "
            "channel; give class numbers: one channel of 8 bits, or a palette"
        )
    plain = header._replace(kind=GREY) if numbers else header
    decoded = cv2.imdecode(_png(plain, data), cv2.IMREAD_UNCHANGED)
    shape = (header.height, header.width)
    if decoded is None or decoded.dtype != np.uint8 or decoded.shape[:2] != shape:
        raise LzuError(f"label map {path} cannot be decoded; save it again")
    if colours:
        return LabelMap(np.ascontiguousarray(decoded[..., :3]))
    # OpenCV scales grey of fewer bits to 0..255; undo that.
    step = 255 // ((1 << header.depth) - 1)
    return LabelMap(np.asarray(decoded // step, np.uint8), palette)


def check_numbers(path: Path, labels: Labels, classes: Sequence[str]) -> Labels:
    """Return a label map unchanged after checking that its numbers stand for classes.

    Raises:
        LzuError: it holds numbers that are neither a class nor IGNORED; the message lists them.
    """
    unknown = np.unique(labels[(labels >= len(classes)) & (labels != IGNORED)])
    if unknown.size:
        raise LzuError(
            f"label map {path} holds the label {listed(unknown.tolist())}, which is neither one of "
            f"the {len(classes)} classes (0 to {len(classes) - 1}) nor the ignored {IGNORED}; map "
            "its labels to these"
        )
    return labels


def _parts(content: bytes) -> tuple[_Header, NDArray[np.uint8] | None, bytes]:
    """Return header, palette and compressed pixels of a PNG whose chunks are complete.

    Raises:
        ValueError, struct.error, zlib.error: it is damaged.
    """
    header: _Header | None = None
    palette = None
    data = []
    for name, body in png_chunks(content):
        if name == b"IHDR":
            width, height, depth, kind, _, _, interlaced = struct.unpack(">IIBBBBB", body)
            header = _Header(width, height, depth, kind, bool(interlaced))
        elif name == b"PLTE":
            palette = np.frombuffer(body[: len(body) // 3 * 3], np.uint8).reshape(-1, 3)
        elif name == b"IDAT":
            data.append(body)
    if header is None or header.kind not in KINDS or header.depth not in (1, 2, 4, 8, 16):
        raise ValueError("its header is not a PNG's")
    if header.kind == PALETTE and palette is None:
        raise ValueError("it has no palette")
    pixels = b"".join(data)
    # A decoder would make up missing pixels.
    size = len(zlib.decompressobj().decompress(pixels, _size(header) + 1))
    if size != _size(header):
        raise ValueError("it has fewer pixels than it promises, or more")
    return header, palette, pixels


def _size(header: _Header) -> int:
    """Size in bytes of the uncompressed pixels, with the byte of the filter before every row."""
    passes = PASSES if header.interlaced else ((0, 0, 1, 1),)
    bits = header.depth * CHANNELS[header.kind]
    total = 0
    for x, y, across, down in passes:
        columns, rows = -(-(header.width - x) // across), -(-(header.height - y) // down)
        if columns > 0 and rows > 0:
            total += rows * (1 + (columns * bits + 7) // 8)
    return total


def _png(header: _Header, data: bytes) -> NDArray[np.uint8]:
    """Build a PNG of nothing but header and pixels."""
    body = struct.pack(
        ">IIBBBBB", header.width, header.height, header.depth, header.kind, 0, 0, header.interlaced
    )
    chunks = ((b"IHDR", body), (b"IDAT", data), (b"IEND", b""))
    parts = [SIGNATURE]
    for name, content in chunks:
        parts += [struct.pack(">I", len(content)), name, content]
        parts.append(struct.pack(">I", zlib.crc32(name + content)))
    return np.frombuffer(b"".join(parts), np.uint8)
