"""From a camera's bytes to the network's input, built for the host, against the runtime's zoom."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from host_kernels import BGR, F16, F32, GRAY, INVALID, NV12, RGB, Array, address, aligned, run

from lzu_export.runtime.kernels import ZoomCamera
from lzu_export.runtime.preprocess import ZoomedInput
from lzu_export.warp.knots import axis_knots
from lzu_export.warp.tables import is_bilinear, zoom_tables

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
CANVAS, PADDED = (30, 50), (32, 64)


def knots_of(seed: int) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    x, y = (axis_knots(rng.uniform(0.3, 1, n) ** 2, 6.0) for n in (15, 9))
    return x.astype(np.float32), y.astype(np.float32)


def reference(frame, tables, order="rgb", view=None, reduce=1, corner=(0, 0)) -> Array:
    """Return what the runtime makes of a BGR frame."""
    view = frame.shape[:2] if view is None else view
    picture = tuple(-(-n // reduce) for n in view)
    recipe = SimpleNamespace(
        normalisation=SimpleNamespace(mean=MEAN, std=STD, order=order),
        sampler="warp", canvas=CANVAS, network_input=PADDED,
        picture=picture, view=view, corner=corner, reduce=reduce,
    )  # fmt: skip
    return ZoomedInput(recipe, tables)([frame])[0]


def camera(
    pixels, pixel_format, size, *, tables=None, knots=None, dtype=np.float32, bilinear=None, **more
):
    """Call the launcher; by tables, `bilinear` is what they are unless it is given."""
    out = aligned((3, *PADDED), dtype, 77)
    call = ZoomCamera(
        pixels=pixels.ctypes.data, pixel_format=pixel_format, pitch=pixels.strides[0], reduce=1,
        height=size[0], width=size[1], canvas_height=CANVAS[0], canvas_width=CANVAS[1],
        pad_y=PADDED[0] - CANVAS[0], pad_x=PADDED[1] - CANVAS[1], rgb_output=1,
        format=F32 if dtype == np.float32 else F16, output=address(out),
    )  # fmt: skip
    call.mean[:], call.std[:] = MEAN, STD
    if bilinear is None:
        bilinear = tables is not None and all(is_bilinear(table) for table in tables)
    call.bilinear = bilinear
    keep = []
    for axis, i in (("x", 1), ("y", 0)):
        if tables is not None:
            keep.append(np.ascontiguousarray(tables[i]))
            setattr(call, f"table_{axis}", keep[-1].ctypes.data)
        else:
            keep.append(knots[1 - i])
            setattr(call, f"knots_{axis}", keep[-1].ctypes.data)
            setattr(call, f"knot_count_{axis}", len(keep[-1]))
    for name, value in more.items():
        setattr(call, name, value)
    assert run("lzu_zoom_camera", call) == 0
    return out


def frame_of(seed: int, size=(61, 97)) -> Array:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


@pytest.mark.parametrize(("dtype", "atol"), [(np.float32, 2e-5), (np.float16, 2e-3)])
@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("order", ["rgb", "bgr"])
@pytest.mark.parametrize("bytes_order", [BGR, RGB])
def test_packed_pixels_by_tables(dtype, atol, antialias, order, bytes_order):
    frame = frame_of(1)
    tables = zoom_tables(*knots_of(1), frame.shape[:2], CANVAS, antialias=antialias)
    given = frame if bytes_order == BGR else np.ascontiguousarray(frame[:, :, ::-1])
    out = camera(
        given, bytes_order, frame.shape[:2], tables=tables, dtype=dtype, rgb_output=order == "rgb"
    )
    np.testing.assert_allclose(out, reference(frame, tables, order), rtol=0, atol=atol)
    assert not out[:, CANVAS[0] :].any()
    assert not out[:, :, CANVAS[1] :].any()


def test_knots_and_tables_agree():
    for seed in range(5):
        frame, knots = frame_of(seed), knots_of(seed)
        tables = zoom_tables(*knots, frame.shape[:2], CANVAS)
        by_knots = camera(frame, BGR, frame.shape[:2], knots=knots)
        np.testing.assert_allclose(by_knots, reference(frame, tables), rtol=0, atol=2e-5)


@pytest.mark.parametrize("antialias", [False, True])
def test_nv12_equals_opencv_s_conversion(antialias):
    size = (62, 98)
    raw = np.random.default_rng(3).integers(0, 256, (size[0] * 3 // 2, size[1]), np.uint8)
    frame = cv2.cvtColor(raw, cv2.COLOR_YUV2BGR_NV12)
    tables = zoom_tables(*knots_of(3), size, CANVAS, antialias=antialias)
    chroma = raw[size[0] :].ctypes.data
    out = camera(raw, NV12, size, tables=tables, chroma=chroma)
    np.testing.assert_allclose(out, reference(frame, tables), rtol=0, atol=2e-5)


def test_crop_and_reduction_are_a_pointer_and_a_step():
    frame = frame_of(4, (80, 120))
    (top, left), view, reduce = (6, 10), (61, 90), 2
    picture = (31, 45)
    tables = zoom_tables(*knots_of(4), picture, CANVAS)
    expected = reference(frame, tables, view=view, reduce=reduce, corner=(top, left))
    start = frame[top:, left:]
    out = camera(start, BGR, picture, tables=tables, reduce=reduce)
    np.testing.assert_allclose(out, expected, rtol=0, atol=2e-5)


def test_a_warp_beyond_the_picture_reads_nothing_there():
    x, y = (np.array([-1.3, 0.2, 1.4], np.float32) for _ in range(2))
    frame = frame_of(5)
    tables = zoom_tables(x, y, frame.shape[:2], CANVAS)
    for warp in ({"tables": tables}, {"knots": (x, y)}):
        out = camera(frame, BGR, frame.shape[:2], **warp)
        np.testing.assert_allclose(out, reference(frame, tables), rtol=0, atol=5e-5)


def placed(pixels: Array, pitch: int, offset: int) -> Array:
    """Return a copy of rows of bytes at another pitch, so many bytes behind a multiple of 16."""
    memory = aligned((len(pixels) * pitch + offset,), np.uint8, 199)
    rows = memory[offset:].reshape(len(pixels), pitch)[:, : pixels.shape[1]]
    rows[...] = pixels
    return rows


def raw_of(pixel_format: int, size: tuple[int, int], seed: int = 0) -> tuple[Array, Array]:
    """Return random rows of bytes of a picture, and the BGR image that they stand for."""
    rng = np.random.default_rng(seed)
    if pixel_format == NV12:
        raw = rng.integers(0, 256, (size[0] * 3 // 2, size[1]), np.uint8)
        return raw, cv2.cvtColor(raw, cv2.COLOR_YUV2BGR_NV12)
    if pixel_format == GRAY:
        raw = rng.integers(0, 256, size, np.uint8)
        return raw, np.repeat(raw[:, :, None], 3, axis=2)
    frame = rng.integers(0, 256, (*size, 3), np.uint8)
    raw = frame if pixel_format == BGR else frame[:, :, ::-1]
    return np.ascontiguousarray(raw).reshape(size[0], -1), frame


FORMATS = pytest.mark.parametrize("pixel_format", [BGR, RGB, NV12, GRAY])


@FORMATS
@pytest.mark.parametrize("size", [(62, 98), (26, 146), (26, 152), (700, 40), (30, 1700)])
@pytest.mark.parametrize("antialias", [False, True])
def test_pictures_of_any_size_in_lines_of_any_alignment(pixel_format, size, antialias):
    """Wide pictures are summed in several chunks of columns, high ones by more rows than are kept.

    Where rows start at multiples of 4 bytes, or all as far from one, 4 bytes are read at once.
    """
    raw, frame = raw_of(pixel_format, size)
    tables = zoom_tables(*knots_of(3), size, CANVAS, antialias=antialias)
    expected = reference(frame, tables)
    width = raw.shape[1]
    for pitch, offset in ((width + -width % 4, 0), (width + -width % 4 + 4, 2), (width + 1, 1)):
        rows = placed(raw, pitch, offset)
        chroma = {"chroma": rows[size[0] :].ctypes.data} if pixel_format == NV12 else {}
        out = camera(rows, pixel_format, size, tables=tables, **chroma)
        np.testing.assert_allclose(out, expected, rtol=0, atol=2e-5)
        out = camera(rows, pixel_format, size, tables=tables, bilinear=False, **chroma)
        np.testing.assert_allclose(out, expected, rtol=0, atol=2e-5)


@FORMATS
@pytest.mark.parametrize("reduce", [2, 3])
def test_every_format_is_reduced(pixel_format, reduce):
    raw, frame = raw_of(pixel_format, (62, 98), 1)
    picture = tuple(-(-n // reduce) for n in (62, 98))
    tables = zoom_tables(*knots_of(4), picture, CANVAS)
    chroma = {"chroma": raw[62:].ctypes.data} if pixel_format == NV12 else {}
    out = camera(raw, pixel_format, picture, tables=tables, reduce=reduce, **chroma)
    np.testing.assert_allclose(out, reference(frame, tables, reduce=reduce), rtol=0, atol=2e-5)


@FORMATS
@pytest.mark.parametrize("size", [(2, 2), (1, 9), (9, 1), (3, 5)])
def test_the_smallest_pictures(pixel_format, size):
    if pixel_format == NV12:  # OpenCV converts even sizes alone
        size = tuple(n + n % 2 for n in size)
    raw, frame = raw_of(pixel_format, size)
    tables = zoom_tables(*knots_of(5), size, CANVAS)
    chroma = {"chroma": raw[size[0] :].ctypes.data} if pixel_format == NV12 else {}
    out = camera(raw, pixel_format, size, tables=tables, **chroma)
    np.testing.assert_allclose(out, reference(frame, tables), rtol=0, atol=2e-5)


def test_tables_said_to_be_bilinear_are_sampled_so():
    frame = frame_of(6)
    plain, wide = (
        zoom_tables(*knots_of(6), frame.shape[:2], CANVAS, antialias=each) for each in (False, True)
    )
    expected = camera(frame, BGR, frame.shape[:2], tables=plain)
    out = camera(frame, BGR, frame.shape[:2], tables=wide, bilinear=True)
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("bilinear", [0, 1])
@pytest.mark.parametrize("value", [0, 15, 16, 17, 127, 128, 235, 255])
def test_every_chroma_of_nv12_becomes_opencv_s_bytes(value, bilinear):
    """All pairs of Cb and Cr at this luma, unzoomed, unnormalised."""
    luma = np.full((512, 512), value, np.uint8)
    both = np.stack(np.meshgrid(*[np.arange(256, dtype=np.uint8)] * 2), axis=-1)
    raw = np.concatenate([luma, both.reshape(256, 512)])
    frame = cv2.cvtColor(raw, cv2.COLOR_YUV2BGR_NV12)
    out = aligned((3, 512, 512), np.float32, 77)
    pixels = np.arange(512, dtype=np.float32)
    table = np.stack([pixels, 0 * pixels, 0 * pixels + 1, 0 * pixels + 1])
    call = ZoomCamera(
        pixels=raw.ctypes.data, chroma=raw[512:].ctypes.data, pixel_format=NV12, pitch=512,
        reduce=1, height=512, width=512, canvas_height=512, canvas_width=512,
        table_x=table.ctypes.data, table_y=table.ctypes.data, output=address(out),
        bilinear=bilinear,
    )  # fmt: skip
    call.std[:] = (1, 1, 1)
    assert run("lzu_zoom_camera", call) == 0
    np.testing.assert_array_equal(out, frame.transpose(2, 0, 1))


@pytest.mark.parametrize(
    "wrong",
    [
        {"pitch": 10},
        {"std": (0, 1, 1)},
        {"format": 9},
        {"pixel_format": 4},
        {"reduce": 0},
        {"reduce": 1 << 30},
        {"pixel_format": 3, "pitch": 96},
    ],
)
def test_invalid_calls_launch_nothing(wrong):
    frame = frame_of(1)
    call = ZoomCamera(
        pixels=frame.ctypes.data, pixel_format=BGR, pitch=frame.strides[0], reduce=1, height=61,
        width=97, canvas_height=3, canvas_width=3, output=frame.ctypes.data, format=F32,
    )  # fmt: skip
    x = np.array([-1, 1], np.float32)
    call.knots_x = call.knots_y = x.ctypes.data
    call.knot_count_x = call.knot_count_y = 2
    call.std[:] = STD
    for name, value in wrong.items():
        setattr(call, name, (call.std._type_ * 3)(*value) if name == "std" else value)
    assert run("lzu_zoom_camera", call) == INVALID
