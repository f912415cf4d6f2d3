"""One reader of image files: right pixels of whole files, a sentence for all others."""

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from lzu_export.errors import LzuError
from lzu_export.inputs.decoder_warnings import quiet_decoders
from lzu_export.inputs.image_headers import MOST_PIXELS
from lzu_export.inputs.images import images_in, oriented, read_image
from lzu_export.inputs.label_maps import read_label_map
from lzu_export.inputs.tiff_parts import check_lzw, check_packbits, reports_damage

SUFFIXES = (".jpg", ".png", ".webp", ".tif", ".bmp", ".ppm", ".pgm")


def scene(size: tuple[int, int] = (96, 160)) -> np.ndarray:
    """A smooth picture of many colours, (H, W, 3) uint8."""
    coarse = np.random.default_rng(4).integers(0, 255, (9, 16, 3), np.uint8)
    return np.asarray(cv2.resize(coarse, size[::-1]), np.uint8)


def encode(suffix: str, picture: np.ndarray, *flags: int) -> bytes:
    done, data = cv2.imencode(suffix, picture[..., 0] if suffix == ".pgm" else picture, flags)
    assert done
    return bytes(data.tobytes())


def chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def png(width: int, height: int, *, depth: int = 8, colour: int = 2, more: bytes = b"") -> bytes:
    """A PNG of zeros; it holds a few bytes of them only."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    data = zlib.compress(bytes(100))
    parts = chunk(b"IHDR", header) + more + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def exif(number: int) -> bytes:
    """An Exif block with nothing but the orientation."""
    return b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0" + bytes([number, 0, 0, 0, 0, 0, 0, 0])


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_whole_files_are_read_and_cut_ones_refused(tmp_path: Path, suffix: str) -> None:
    """As OpenCV decodes them; wherever the file is cut, down to its last byte."""
    data, path = encode(suffix, scene()), tmp_path / f"a{suffix}"
    path.write_bytes(data)
    wanted = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(read_image(path), wanted)
    for length in [1, 9, 20, *range(40, len(data), len(data) // 23), len(data) - 1]:
        path.write_bytes(data[:length])
        with pytest.raises(LzuError, match=rf"a\{suffix} (is cut off|cannot be read as an image)"):
            read_image(path)


def test_what_the_decoder_had_to_make_up_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A JPEG that ends where it should, with data missing in between; what it said is no noise."""
    data, path = encode(".jpg", scene()), tmp_path / "a.jpg"
    path.write_bytes(data[: len(data) // 3] + b"\xff\xd9")
    with pytest.raises(LzuError, match=r"a\.jpg is damaged \(Corrupt JPEG data: premature end"):
        read_image(path)
    assert capfd.readouterr().err == ""


def test_other_words_on_stderr_are_passed_on(capfd: pytest.CaptureFixture[str]) -> None:
    """Another thread may speak while a frame is decoded."""
    with quiet_decoders():
        os.write(2, b"something else\nlibpng warning: x\n\rhalf a bar")
    assert capfd.readouterr().err == "something else\n\rhalf a bar"


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
@pytest.mark.parametrize("quality", [30, 95])
def test_flipped_bytes_never_give_an_error_of_python(
    tmp_path: Path, suffix: str, quality: int
) -> None:
    """Either a picture of the right size or a sentence."""
    data, path = encode(suffix, scene(), cv2.IMWRITE_JPEG_QUALITY, quality), tmp_path / f"a{suffix}"
    chance = np.random.default_rng(quality)
    refused = 0
    for _ in range(60):
        bad = bytearray(data)
        bad[chance.integers(len(bad))] ^= int(chance.integers(1, 256))
        path.write_bytes(bad)
        try:
            assert read_image(path).ndim == 3
        except LzuError:
            refused += 1
    assert refused == 60 if suffix == ".png" else refused >= 0


@pytest.mark.parametrize("number", range(1, 9))
def test_exif_orientation_is_applied_alike_in_every_format(tmp_path: Path, number: int) -> None:
    """By hand, since releases of OpenCV differ in it; a label map is never turned."""
    picture = scene((24, 40))
    data = encode(".png", picture)
    end = data.index(b"IDAT") - 4
    (tmp_path / "a.png").write_bytes(data[:end] + chunk(b"eXIf", exif(number)) + data[end:])
    upright = {
        1: picture, 2: picture[:, ::-1], 3: picture[::-1, ::-1], 4: picture[::-1],
        5: picture.transpose(1, 0, 2), 6: np.rot90(picture, -1),
        7: np.rot90(picture, 2).transpose(1, 0, 2), 8: np.rot90(picture),
    }[number]  # fmt: skip
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), upright)
    np.testing.assert_array_equal(read_label_map(tmp_path / "a.png").pixels, picture)
    jpeg = encode(".jpg", picture)
    block = b"Exif\0\0" + exif(number)
    marker = b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block
    (tmp_path / "a.jpg").write_bytes(jpeg[:2] + marker + jpeg[2:])
    plain = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(
        read_image(tmp_path / "a.jpg"), oriented(np.asarray(plain, np.uint8), number)
    )


def cmyk() -> bytes:
    """A header of four channels before a scan."""
    frame = struct.pack(">BHHB", 8, 8, 8, 4) + bytes(12)
    scan = b"\xff\xda\x00\x02" + b"\x12\x34" + b"\xff\xd9"
    return b"\xff\xd8\xff\xc0" + struct.pack(">H", len(frame) + 2) + frame + scan


@pytest.mark.parametrize(
    ("name", "make", "words"),
    [
        ("a.png", lambda: encode(".png", np.zeros((4, 4), np.uint16)), "has 16 bits a channel"),
        ("a.tif", lambda: encode(".tif", np.zeros((4, 4), np.uint16)), "has 16 bits a channel"),
        ("a.ppm", lambda: encode(".ppm", np.zeros((4, 4, 3), np.uint16)), "has 16 bits a channel"),
        ("a.tif", lambda: encode(".tif", np.zeros((4, 4), np.float32)), "is a TIFF of floats"),
        ("a.png", lambda: png(40000, 40000), "has 40000x40000 pixels, more than"),
        ("a.png", lambda: png(640, 360), "cannot be read as an image; check"),
        ("a.png", lambda: png(0, 360), r"is damaged \(it has no pixels\)"),
        ("a.png", lambda: png(4, 4).replace(b"IDATx", b"IDATy"), r"is damaged \(the checksum"),
        ("a.jpg", cmyk, "is a CMYK JPEG; convert it to RGB"),
        ("a.ppm", lambda: b"P6 2 2 100\n" + bytes(12), "has values up to 100; convert"),
        ("a.jpg", lambda: b"GIF89a" + bytes(99), "cannot be read as an image; .*known are JPEG"),
        ("a.jpg", lambda: b"<!DOCTYPE html><html>", "is an HTML page, not an image; download"),
        ("a.jpg", lambda: b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer"),
        ("a.jpg", lambda: b"", "is empty; copy it again"),
        ("a.tif", lambda: b"II*\0\x08\0\0\0\xff\xff" + bytes(20), "is cut off"),
        ("a.tif", lambda: b"II*\0\x08\0\0\0\0\0\x08\0\0\0", r"is damaged .*form a loop"),
        ("a.bmp", lambda: b"BM" + bytes(100), "is damaged"),
    ],
)  # fmt: skip
def test_every_other_file_is_a_sentence(
    tmp_path: Path, name: str, make: Callable[[], bytes], words: str
) -> None:
    """And never a frame of wrong pixels."""
    path = tmp_path / name
    path.write_bytes(make())
    with pytest.raises(LzuError, match=rf"^\S*{name} {words}") as caught:
        read_image(path)
    assert "\n" not in str(caught.value)


def test_the_largest_image_is_below_what_fills_the_memory() -> None:
    """Three bytes a pixel."""
    assert 3 * MOST_PIXELS < 1 << 30


def test_grey_palettes_and_few_bits_are_read(tmp_path: Path) -> None:
    """1, 2 and 4 bits of grey become 0 to 255."""
    rows = b"".join(b"\0" + bytes([0b10100101]) for _ in range(8))
    header = struct.pack(">IIBBBBB", 8, 8, 1, 0, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    (tmp_path / "bits.png").write_bytes(b"\x89PNG\r\n\x1a\n" + parts)
    wanted = 255 * np.array([1, 0, 1, 0, 0, 1, 0, 1], np.uint8)
    np.testing.assert_array_equal(read_image(tmp_path / "bits.png")[3, :, 1], wanted)


def test_names_need_not_be_utf_8(tmp_path: Path) -> None:
    """OpenCV 5 ends the process at such a name."""
    try:
        path = tmp_path / os.fsdecode(b"frame\xff\xe9.png")
        path.write_bytes(encode(".png", scene()))
    except (OSError, UnicodeError):
        pytest.skip("this file system takes UTF-8 only")
    np.testing.assert_array_equal(read_image(path), scene())
    assert images_in(tmp_path) == [path]


def test_hidden_files_and_folders_are_passed_over(tmp_path: Path) -> None:
    """`._a.png` is what macOS leaves beside a.png on other disks; `b.png` here is a folder."""
    for name in ("a.png", "._a.png", ".hidden.jpg"):
        (tmp_path / name).write_bytes(encode(".png", scene()))
    (tmp_path / "b.png").mkdir()
    assert images_in(tmp_path) == [tmp_path / "a.png"]
    with pytest.raises(LzuError, match=r"b\.png is a folder, not a file"):
        read_image(tmp_path / "b.png")


def test_a_pipe_is_refused_before_it_is_waited_for(tmp_path: Path) -> None:
    """Reading one would never end."""
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(LzuError, match=r"a\.png is a pipe, not a file; give an image file"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("compression", [cv2.IMWRITE_TIFF_COMPRESSION_LZW, 32773])
@pytest.mark.parametrize("rows", [1, 7, 64, 1000])
@pytest.mark.parametrize("kind", ["noise", "flat", "steps", "grey"])
def test_sound_tiffs_pass_the_check_of_their_parts(
    tmp_path: Path, compression: int, rows: int, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Strips of any height; noise fills the table of strings many times, a flat one hardly."""
    monkeypatch.setattr("lzu_export.inputs.image_headers.reports_damage", lambda: False)
    image = np.random.default_rng(4).integers(0, 256, (90, 131, 3), np.uint8)
    if kind == "flat":
        image[:] = 7
    if kind == "steps":
        image //= 60
    if kind == "grey":
        image = image[..., 0]
    flags = (cv2.IMWRITE_TIFF_COMPRESSION, compression, cv2.IMWRITE_TIFF_ROWSPERSTRIP, rows)
    path = tmp_path / "a.tif"
    path.write_bytes(cv2.imencode(".tif", image, flags)[1].tobytes())
    colours = image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)
    np.testing.assert_array_equal(read_image(path), colours)


def test_codes_and_runs_that_stand_for_nothing() -> None:
    """Whole parts end where they must."""
    check_packbits(b"\x01ab\xfdc\x80", 6)
    for packed, wanted in ((b"\x01ab\xfdc", 5), (b"\x01ab", 3), (b"\x05ab", 6), (b"", 1)):
        with pytest.raises(ValueError, match="part"):
            check_packbits(packed, wanted)
    # TIFF 6.0's own example: 7 7 7 8 8 7 7 6 6 as 256 7 258 8 8 258 6 6 257.
    codes = (256, 7, 258, 8, 8, 258, 6, 6, 257)
    bits = "".join(f"{code:09b}" for code in codes).ljust(88, "0")
    packed = int(bits, 2).to_bytes(11, "big")
    check_lzw(packed, 9)
    for bad, wanted in ((packed, 10), (packed[:4], 9), (b"\x80\x7f\xff\xff", 2)):
        with pytest.raises(ValueError, match="part"):
            check_lzw(bad, wanted)


@pytest.mark.parametrize("told", [reports_damage(), False])
@pytest.mark.parametrize(
    ("compression", "least"), [(cv2.IMWRITE_TIFF_COMPRESSION_LZW, 0.6), (8, 1.0), (32773, 0.5)]
)
def test_damaged_parts_of_a_tiff_are_refused(
    tmp_path: Path,
    compression: int,
    least: float,
    told: bool,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As far as its compression shows them: deflate has a checksum, the others run out of data.

    An OpenCV before 4.13 does not tell of damage, so that this package looks for it.
    """
    monkeypatch.setattr("lzu_export.inputs.image_headers.reports_damage", lambda: told)
    data = encode(".tif", scene(), cv2.IMWRITE_TIFF_COMPRESSION, compression)
    path = tmp_path / "a.tif"
    path.write_bytes(data)
    np.testing.assert_array_equal(read_image(path), scene())
    chance = np.random.default_rng(3)
    refused = 0
    for _ in range(30):
        bad = bytearray(data)
        place = int(chance.integers(8, len(data) * 3 // 4))
        bad[place : place + 200] = bytes(chance.integers(0, 256, 200, np.uint8))
        path.write_bytes(bad)
        try:
            read_image(path)
        except LzuError as error:
            assert "a.tif is damaged" in str(error) or "a.tif is cut off" in str(error)  # noqa: PT017
            refused += 1
    assert refused >= 30 * least
    assert capfd.readouterr().err == ""
