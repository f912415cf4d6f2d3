"""Label maps as different programs write them, held against Pillow, which reads indices."""

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from lzu_export.errors import LzuError
from lzu_export.inputs.label_maps import (
    SIGNATURE,
    Labels,
    check_numbers,
    read_label_map,
    read_numbers,
)

Image = pytest.importorskip("PIL.Image", reason="Pillow writes the files of this test")
COLOURS = [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0] + [7] * (3 * 252)


def noise(most: int, size: tuple[int, int] = (23, 37)) -> Labels:
    return np.random.default_rng(most).integers(0, most, size).astype(np.uint8)


def test_grey_keeps_its_numbers(tmp_path: Path) -> None:
    labels = noise(256)
    cv2.imwrite(str(tmp_path / "0.png"), labels)
    found = read_label_map(tmp_path / "0.png")
    assert (found.pixels.dtype, found.palette) == (np.uint8, None)
    np.testing.assert_array_equal(found.pixels, labels)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_palette_s_indices_are_read(tmp_path: Path, bits: int) -> None:
    """Not its colours, in as many bits as the program chose; also with opacity by index."""
    labels = noise(min(4, 1 << bits))
    image = Image.fromarray(labels, "P")
    image.putpalette(COLOURS)
    image.save(tmp_path / "0.png", bits=bits, transparency=0)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "0.png")), labels)
    np.testing.assert_array_equal(read_numbers(tmp_path / "0.png"), labels)
    palette = read_label_map(tmp_path / "0.png").palette
    assert palette is not None
    assert palette[1].tolist() == [128, 0, 0]


def test_a_mask_of_one_bit_is_of_0_and_1(tmp_path: Path) -> None:
    """Grey of one bit is 0 and 255 to OpenCV, of which 255 would be ignored."""
    labels = noise(2)
    Image.fromarray(labels * 255).convert("1").save(tmp_path / "0.png")
    np.testing.assert_array_equal(read_numbers(tmp_path / "0.png"), labels)


def test_rows_may_be_filtered_and_interlaced(tmp_path: Path) -> None:
    """The filters predict bytes from neighbours; interlaced files hold seven small pictures."""
    labels = noise(3, (5, 4))
    rows = []
    before = np.zeros(4, np.uint8)
    for number, row in enumerate(labels):
        filtered = row - before if number % 2 else row - np.concatenate([[0], row[:-1]])
        rows.append(bytes([2 if number % 2 else 1]) + filtered.astype(np.uint8).tobytes())
        before = row
    (tmp_path / "filtered.png").write_bytes(png(b"".join(rows), (5, 4)))
    np.testing.assert_array_equal(read_numbers(tmp_path / "filtered.png"), labels)
    passes = (labels[0:1, 0:1], labels[4:5, 0:1], labels[0:5:4, 2:3], labels[2:3, 0:4:2],
              labels[0:5:2, 1:4:2], labels[1:4:2, :])  # fmt: skip
    data = b"".join(b"\0" + row.tobytes() for part in passes for row in part)
    (tmp_path / "interlaced.png").write_bytes(png(data, (5, 4), interlaced=1))
    np.testing.assert_array_equal(read_numbers(tmp_path / "interlaced.png"), labels)


def png(data: bytes, size: tuple[int, int], *, kind: int = 3, depth: int = 8,
        interlaced: int = 0) -> bytes:  # fmt: skip
    """A PNG of filtered rows."""
    head = struct.pack(">IIBBBBB", size[1], size[0], depth, kind, 0, 0, interlaced)
    parts = [(b"IHDR", head), (b"PLTE", bytes(COLOURS)), (b"IDAT", zlib.compress(data))]
    content = SIGNATURE
    for name, body in [*parts, (b"IEND", b"")]:
        content += struct.pack(">I", len(body)) + name + body
        content += struct.pack(">I", zlib.crc32(name + body))
    return content


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flipped(content: bytes) -> bytes:
    place = content.index(b"IDAT") + 12
    return content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :]


ROWS = b"\0" + bytes(4)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (cut(png(5 * ROWS, (5, 4))), r"0\.png is cut off; copy it again"),
        (flipped(png(5 * ROWS, (5, 4))), r"0\.png is damaged \(the checksum of its part"),
        (png(4 * ROWS, (5, 4)), "fewer pixels than it promises"),
        (png(6 * ROWS, (5, 4)), "fewer pixels than it promises, or more"),
        (png(ROWS, (100_000, 100_000)), "has 100000x100000 pixels, more than the"),
        (png(ROWS, (0, 4)), "is damaged .it has no pixels"),
        (png(5 * ROWS, (5, 4), kind=5), "its header is not a PNG's"),
        (b"GIF89a" + bytes(30), "cannot be read as an image"),
        (b"", "is empty; copy it again"),
        (SIGNATURE, "is cut off"),
        (png(5 * b"\0\0\0", (5, 4), kind=0, depth=4), "grey with 4 bits a channel; give class"),
        (png(5 * (b"\0" + bytes(8)), (5, 4), kind=4), "grey with opacity with 8 bits"),
        (png(5 * (b"\0" + bytes(24)), (5, 4), kind=2, depth=16), "colours with 16 bits"),
        (png(5 * (b"\0" + bytes(12)), (5, 4), kind=2), "is a PNG of colours; give class numbers"),
        (png(5 * (b"\0" + bytes(16)), (5, 4), kind=6), "is a PNG of colours; give class numbers"),
    ],
)
def test_what_is_no_map_of_numbers_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "0.png"
    path.write_bytes(content)
    with pytest.raises(LzuError, match=words) as caught:
        read_numbers(path)
    assert "0.png" in str(caught.value)


def test_what_is_no_png_is_refused(tmp_path: Path) -> None:
    """JPEG changes numbers, whatever the file is called."""
    with pytest.raises(LzuError, match=r"0\.png cannot be read \(No such file"):
        read_numbers(tmp_path / "0.png")
    cv2.imwrite(str(tmp_path / "0.jpg"), noise(3))
    (tmp_path / "0.jpg").rename(tmp_path / "0.png")
    with pytest.raises(LzuError, match=r"label map .*0\.png is not a PNG, which keeps numbers"):
        read_numbers(tmp_path / "0.png")
    (tmp_path / "1.png").mkdir()
    with pytest.raises(LzuError, match=r"1\.png is a folder, not a file"):
        read_numbers(tmp_path / "1.png")


def test_colours_come_without_opacity(tmp_path: Path) -> None:
    pixels = np.random.default_rng(5).integers(0, 256, (5, 6, 4)).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "0.png"), pixels)
    np.testing.assert_array_equal(read_label_map(tmp_path / "0.png").pixels, pixels[..., :3])


def test_unknown_numbers_are_refused(tmp_path: Path) -> None:
    """The first of them are named; 255 is known everywhere."""
    path = tmp_path / "0.png"
    known = np.array([[0, 1, 255]], np.uint8)
    assert check_numbers(path, known, ("road", "car")) is known
    words = r"0\.png holds the label 1, which is neither one of the 1 classes \(0 to 0\) nor"
    with pytest.raises(LzuError, match=words):
        check_numbers(path, known, ("road",))
    with pytest.raises(LzuError, match=r"holds the label 2, 3, 4, \.\.\., which") as caught:
        check_numbers(path, np.arange(200, dtype=np.uint8)[None], ("a", "b"))
    assert "\n" not in str(caught.value)
