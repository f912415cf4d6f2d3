"""Read an image file's size, depth and faults from its structure, without decoding it."""

import re
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from lzu_export.inputs.tiff_parts import check_lzw, check_packbits, reports_damage

MOST_PIXELS = 1 << 28
"""Number of pixels of the largest image that is decoded, such as 16384 x 16384."""


class Header(NamedTuple):
    """Properties of an image file, read without decoding it."""

    width: int
    height: int
    bits: int = 8
    """Bits per channel; the index of a palette counts as 8."""
    orientation: int = 1
    """Exif orientation, 1 to 8, which the decoder's caller has to apply."""
    faults: tuple[str, ...] = ()
    """Reasons to refuse the file, each as the end of a sentence that begins with its name."""


class CutError(Exception):
    """Error of a file that ends too early."""


def _jpeg(data: bytes) -> Header:
    size, orientation = None, 1
    faults: list[str] = []
    for marker, segment in _jpeg_segments(data):
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            bits, height, width, channels = struct.unpack_from(">BHHB", segment)
            size = Header(width, height, bits)
            if channels == 4:
                faults.append("is a CMYK JPEG; convert it to RGB")
            elif channels not in (1, 3):
                faults.append(f"is a JPEG of {channels} channels; convert it to RGB")
        elif marker == 0xE1 and segment.startswith(b"Exif\0\0"):
            orientation = _exif_orientation(segment[6:])
    if size is None:
        raise ValueError("no frame header")
    return size._replace(orientation=orientation, faults=tuple(faults))


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield marker and content of each segment up to the image's end, without the scans' data."""
    place = 2
    while True:
        if place + 2 > len(data):
            raise CutError
        if data[place] != 0xFF:
            raise ValueError(f"no JPEG marker at byte {place}")
        marker = data[place + 1]
        if marker == 0xFF:  # fill byte
            place += 1
            continue
        place += 2
        if marker == 0xD9:
            return
        if marker == 0x01 or 0xD0 <= marker <= 0xD7:
            continue
        (length,) = struct.unpack_from(">H", data, place)
        if length < 2 or place + length > len(data):
            raise CutError
        yield marker, data[place + 2 : place + length]
        place += length
        if marker == 0xDA:
            found = _MARKER.search(data, place)
            if found is None:
                raise CutError
            place = found.start()


_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""End of a scan's data: a marker that is no restart, escaped byte or fill byte."""


def png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield kind and content of each chunk of a PNG up to IEND.

    The CutError or ValueError of a damaged file is turned into a message by `check_image`.
    """
    place = 8
    kind = b""
    while kind != b"IEND":
        if place + 12 > len(data):
            raise CutError
        length, kind = struct.unpack_from(">I4s", data, place)
        end = place + 8 + length
        if end + 4 > len(data):
            raise CutError
        (checksum,) = struct.unpack_from(">I", data, end)
        if zlib.crc32(memoryview(data)[place + 4 : end]) != checksum:
            raise ValueError(f"the checksum of its part {kind.decode('latin-1')!r} is wrong")
        yield kind, data[place + 8 : end]
        place = end + 4


def _png(data: bytes) -> Header:
    orientation = 1
    header: Header | None = None
    for kind, content in png_chunks(data):
        if kind == b"IHDR":
            width, height, bits = struct.unpack_from(">IIB", content)
            header = Header(width, height, max(bits, 8))
        elif kind == b"eXIf":
            orientation = _exif_orientation(content)
    if header is None:
        raise ValueError("no header")
    return header._replace(orientation=orientation)


def _bmp(data: bytes) -> Header:
    offset, size = struct.unpack_from("<II", data, 10)
    if size < 40:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        packed = 0
    else:
        width, height, _, bits, packed = struct.unpack_from("<iiHHI", data, 18)
    header = Header(abs(width), abs(height))
    if packed not in (0, 3):
        return header._replace(faults=("is a compressed BMP; save it uncompressed",))
    if bits not in (1, 4, 8, 16, 24, 32):
        raise ValueError(f"{bits} bits a pixel")
    if offset + (header.width * bits + 31) // 32 * 4 * header.height > len(data):
        # The last row's padding may be missing, its pixels may not.
        rows = (header.width * bits + 31) // 32 * 4 * (header.height - 1)
        if offset + rows + (header.width * bits + 7) // 8 > len(data):
            raise CutError
    return header


def _webp(data: bytes) -> Header:
    (size,) = struct.unpack_from("<I", data, 4)
    if len(data) < 12:
        raise CutError
    if data[8:12] != b"WEBP":
        raise ValueError("a RIFF file, but no WebP")
    if 8 + size > len(data):
        raise CutError
    place, orientation = 12, 1
    header: Header | None = None
    faults: list[str] = []
    while place + 8 <= 8 + size:
        kind, length = struct.unpack_from("<4sI", data, place)
        body = data[place + 8 : place + 8 + length]
        if len(body) < length:
            raise CutError
        if kind == b"VP8X":
            width, height = (int.from_bytes(body[i : i + 3], "little") + 1 for i in (4, 7))
            header = Header(width, height)
            if body[0] & 2:
                faults.append("is an animated WebP; give its frames as images or a video")
        elif kind == b"VP8 " and header is None:
            width, height = struct.unpack_from("<HH", body, 6)
            header = Header(width & 0x3FFF, height & 0x3FFF)
        elif kind == b"VP8L" and header is None:
            (bits,) = struct.unpack_from("<I", body, 1)
            header = Header((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
        elif kind == b"EXIF":
            orientation = _exif_orientation(body.removeprefix(b"Exif\0\0"))
        place += 8 + length + length % 2
    if header is None:
        raise ValueError("no image data")
    return header._replace(orientation=orientation, faults=tuple(faults))


def _pnm(data: bytes) -> Header:
    found = _PNM.match(data)
    if found is None:
        raise CutError
    width, height, most = (int(each) for each in found.groups()[1:])
    header = Header(width, height, 8 if most < 256 else 16)
    channels = 3 if found.group(1) == b"P6" else 1
    if most < 255:
        return header._replace(faults=(f"has values up to {most}; convert it to 8 bits",))
    if found.end() + width * height * channels * header.bits // 8 > len(data):
        raise CutError
    return header


_BLANK = rb"(?:\s|#[^\n]*\n)+"
_PNM = re.compile(
    rb"(P5|P6)" + _BLANK + rb"(\d{1,9})" + _BLANK + rb"(\d{1,9})" + _BLANK + rb"(\d{1,5})\s"
)

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}
_CODES = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q"}
"""Sizes in bytes of TIFF's types, and `struct` codes of those that hold whole numbers."""
_MOST_VALUES = 1 << 22
_DEFLATE = (8, 32946)
"""TIFF's numbers for Deflate compression, which zlib decompresses."""
_LZW, _PACK_BITS = 5, 32773
"""TIFF's numbers for LZW and PackBits compression."""


@dataclass
class _Tiff:
    """Reader of a TIFF's directories, limited to tags that hold whole numbers."""

    data: bytes
    order: str = field(init=False)
    big: bool = field(init=False)

    def __post_init__(self) -> None:
        self.order = "<" if self.data[:2] == b"II" else ">"
        self.big = self._unpack("H", 2)[0] == 43

    def _unpack(self, code: str, place: int) -> tuple[int, ...]:
        return struct.unpack_from(self.order + code, self.data, place)

    def pages(self) -> Iterator[Mapping[int, tuple[int, ...]]]:
        """Yield the whole numbers by tag of each directory."""
        (place,) = self._unpack("Q", 8) if self.big else self._unpack("I", 4)
        seen: set[int] = set()
        while place:
            if place in seen or len(seen) > 64:
                raise ValueError("its directories form a loop")
            seen.add(place)
            step, head = (20, 8) if self.big else (12, 2)
            (count,) = self._unpack("Q" if self.big else "H", place)
            if place + head + count * step > len(self.data):
                raise CutError
            entries = (self._entry(place + head + i * step) for i in range(count))
            yield dict(each for each in entries if each is not None)
            (place,) = self._unpack("Q" if self.big else "I", place + head + count * step)

    def _entry(self, place: int) -> tuple[int, tuple[int, ...]] | None:
        tag, kind, count = self._unpack("HHQ" if self.big else "HHI", place)
        if kind not in _CODES:
            return None
        if count > _MOST_VALUES:
            raise ValueError(f"tag {tag} has {count} values")
        value = place + (12 if self.big else 8)
        if _SIZES[kind] * count > (8 if self.big else 4):
            (value,) = self._unpack("Q" if self.big else "I", value)
        if value + _SIZES[kind] * count > len(self.data):
            raise CutError
        return tag, self._unpack(f"{count}{_CODES[kind]}", value)


def _tiff(data: bytes) -> Header:
    pages = list(_Tiff(data).pages())
    if not pages:
        raise ValueError("no image")
    first = pages[0]
    if 256 not in first or 257 not in first:
        raise ValueError("no size")
    bits = max(first.get(258, (1,)))
    header = Header(first[256][0], first[257][0], max(bits, 8))  # OpenCV turns it upright itself
    packing = first.get(259, (1,))[0]
    checks = {} if reports_damage() else {_LZW: check_lzw, _PACK_BITS: check_packbits}
    for places, counts in ((273, 279), (324, 325)):
        parts = zip(first.get(places, ()), first.get(counts, ()), strict=False)
        for number, (start, count) in enumerate(parts):
            if start + count > len(data):
                raise CutError
            if packing in _DEFLATE:
                _check_deflate(data[start : start + count])
            elif packing in checks:
                checks[packing](data[start : start + count], _part_bytes(first, number))
    faults = []
    full = [each for each in pages if not each.get(254, (0,))[0] & 1]
    if len(full) > 1:
        faults.append(f"is a TIFF of {len(full)} pages; give each as a file of its own")
    if any(each != 1 for each in first.get(339, (1,))):
        faults.append("is a TIFF of floats or signed numbers; convert it to 8 bits")
    if first.get(262, (1,))[0] not in (0, 1, 2, 3, 6):
        faults.append("is a TIFF of other colours than grey and RGB; convert it to RGB")
    return header._replace(faults=tuple(faults))


def _part_bytes(page: Mapping[int, tuple[int, ...]], number: int) -> int:
    """Size in bytes of a decompressed strip or tile; a lower bound if colour samples are shared."""
    width, height = page[256][0], page[257][0]
    bits = page.get(258, (1,))
    apart = page.get(284, (1,))[0] == 2  # a part holds one channel
    deep = bits[0] if apart else sum(bits)
    if page.get(262, (1,))[0] == 6:
        return 1
    if 324 in page:
        return int(page.get(323, (1,))[0] * -(-page.get(322, (1,))[0] * deep // 8))
    rows = max(1, min(page.get(278, (height,))[0], height))
    above = number % max(1, -(-height // rows)) * rows
    return int(min(rows, height - above) * -(-width * deep // 8))


def _check_deflate(packed: bytes) -> None:
    """Refuse a strip whose checksum is wrong, since libtiff does not check it."""
    unpack = zlib.decompressobj()
    try:
        unpack.decompress(packed, 4 * MOST_PIXELS)
    except zlib.error as error:
        raise ValueError("a part cannot be unpacked") from error
    if not unpack.eof:
        raise CutError


def _exif_orientation(data: bytes) -> int:
    """Read Exif's orientation; 1 if none is given or the block is damaged."""
    with suppress(CutError, ValueError, struct.error, IndexError):
        if data[:2] in (b"II", b"MM"):
            found = next(_Tiff(data).pages(), {}).get(274, (1,))
            if found and 1 <= found[0] <= 8:
                return found[0]
    return 1


PARSERS: Mapping[bytes, Callable[[bytes], Header]] = {
    b"\xff\xd8\xff": _jpeg,
    b"\x89PNG\r\n\x1a\n": _png,
    b"BM": _bmp,
    b"RIFF": _webp,
    b"II*\0": _tiff,
    b"MM\0*": _tiff,
    b"II+\0": _tiff,
    b"MM\0+": _tiff,
    b"P5": _pnm,
    b"P6": _pnm,
}
"""Parsers by the first bytes of a file."""
