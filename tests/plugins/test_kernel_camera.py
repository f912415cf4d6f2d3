"""From a camera's bytes to the network's input, built for the host, against the runtime's zoom."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from host_kernels import BGR, F16, F32, INVALID, NV12, RGB, Array, address, aligned, run

from lzu_export.runtime.kernels import ZoomCamera
from lzu_export.runtime.preprocess import ZoomedInput
from lzu_export.warp.knots import axis_knots
from lzu_export.warp.tables import zoom_tables

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


def camera(pixels, pixel_format, size, *, tables=None, knots=None, dtype=np.float32, **more):
    out = aligned((3, *PADDED), dtype, 77)
    call = ZoomCamera(
        pixels=pixels.ctypes.data, pixel_format=pixel_format, pitch=pixels.strides[0], reduce=1,
        height=size[0], width=size[1], canvas_height=CANVAS[0], canvas_width=CANVAS[1],
        pad_y=PADDED[0] - CANVAS[0], pad_x=PADDED[1] - CANVAS[1], rgb_output=1,
        format=F32 if dtype == np.float32 else F16, output=address(out),
    )  # fmt: skip
    call.mean[:], call.std[:] = MEAN, STD
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


@pytest.mark.parametrize(
    "wrong",
    [{"pitch": 10}, {"std": (0, 1, 1)}, {"format": 9}, {"pixel_format": 3}, {"reduce": 0}],
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
