"""Check the compressed parts of TIFF files for damage that OpenCV ignores.

OpenCV up to 4.12 drops libtiff's reports and returns an image with arbitrary memory contents.
"""

import cv2

REPORTED_SINCE = (4, 13)
"""First OpenCV that writes libtiff's reports to stderr."""
_CLEAR, _END, _FIRST = 256, 257, 258
_LONGEST = 12
"""Largest number of bits of an LZW code."""
_MOST_CODES = (1 << _LONGEST) + 1024
"""Entries of libtiff's table, which tolerates an encoder that clears its table too late."""


def reports_damage(release: str = cv2.__version__) -> bool:
    """Whether this release of OpenCV reports damage itself."""
    numbers = tuple(int(each) for each in release.split(".")[:2])
    return numbers >= REPORTED_SINCE


def check_packbits(packed: bytes, wanted: int) -> None:
    """Check that the runs of a part end at exactly `wanted` bytes.

    Raises:
        ValueError: they end before or after.
    """
    place = length = 0
    while length < wanted:
        if place >= len(packed):
            raise ValueError("a part is too short")
        head = packed[place]
        run = head + 1 if head < 128 else 257 - head if head > 128 else 0
        place += run + 1 if head < 128 else 2 if head > 128 else 1
        length += run
        if length > wanted or place > len(packed):
            raise ValueError("a part cannot be unpacked")


def check_lzw(packed: bytes, wanted: int) -> None:
    """Check that all codes of a part are defined and give `wanted` bytes.

    Raises:
        ValueError: a code is undefined, or the part ends before.
    """
    if packed[:1] == b"\0" and packed[1:2] and packed[1] & 1:
        return  # bits in reversed order, as before TIFF 5
    lengths = [1] * _FIRST
    bits, bit_count, width, length, before = 0, 0, 9, 0, 0
    for byte in packed:
        bits, bit_count = (bits << 8 | byte) & 0xFFFFFF, bit_count + 8
        if bit_count < width:
            continue
        bit_count -= width
        code = bits >> bit_count & (1 << width) - 1
        if code == _END:
            break
        if code == _CLEAR:
            del lengths[_FIRST:]
            width, before = 9, 0
            continue
        if code > (len(lengths) if before else 255):
            raise ValueError("a part cannot be unpacked")
        if before:
            lengths.append(before + 1)
        before = lengths[code]
        length += before
        if length >= wanted:
            return
        if len(lengths) > (1 << width) - 2:
            width = min(width + 1, _LONGEST)
        if len(lengths) > _MOST_CODES:
            raise ValueError("a part cannot be unpacked")
    raise ValueError("a part is too short")
