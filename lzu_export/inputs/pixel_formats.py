"""Pixel formats of frames: which arrays hold them, and their conversion to BGR."""

from typing import Any, Literal, get_args

import numpy as np

from lzu_export.errors import LzuError
from lzu_export.inputs.frame import Frame, check_frame

PixelFormat = Literal["bgr", "rgb", "nv12", "gray"]
"""Format of a frame's bytes, always uint8. `bgr` and `rgb`: (H, W, 3). `gray`: (H, W), which stands
for blue, green and red alike. `nv12`: (H * 3 / 2, W), H rows of luma and then H / 2 rows of
alternating Cb and Cr for each 2 x 2 pixels; BT.601, limited range; H and W are even."""


def check_pixel_format(name: str) -> PixelFormat:
    """Return the name of a pixel format after checking it.

    Raises:
        LzuError: there is no such format; the message names the nearest.
    """
    formats = get_args(PixelFormat)
    if name in formats:
        return name  # type: ignore[return-value]
    import difflib

    close = difflib.get_close_matches(str(name).lower(), formats, n=1)
    remedy = f"did you mean {close[0]}?" if close else f"choose one of {', '.join(formats)}"
    raise LzuError(f"there is no pixel format {name!r}; {remedy}")


def shape_in(size: tuple[int, int], pixel_format: PixelFormat) -> tuple[int, ...]:
    """Return the shape of an array that holds a picture of (height, width) in a format.

    Raises:
        LzuError: NV12 cannot hold a picture of this size.
    """
    height, width = size
    if pixel_format == "nv12":
        if height % 2 or width % 2:
            raise LzuError(
                f"a picture of {height}x{width} has no NV12 form, which takes an even height and "
                "width; give frames as bgr, or export for an even size"
            )
        return height * 3 // 2, width
    return (height, width) if pixel_format == "gray" else (height, width, 3)


def check_pixels(
    frame: Any,
    pixel_format: PixelFormat,
    source: tuple[int, int] | None,
    name: str = "frame",
) -> Frame:
    """Return a frame after checking that it is an array of this format and of the size `source`.

    Any size is accepted if `source` is None. Messages call the frame `name`.

    Raises:
        LzuError: the array's type or shape is not the format's, or the picture has another size.
    """
    if pixel_format == "bgr":
        return check_frame(frame, source, name)
    depth = (3,) if pixel_format == "rgb" else ()  # shape behind height and width
    if not isinstance(frame, np.ndarray) or frame.ndim < 2 or frame.shape[2:] != depth:
        wanted = {
            "rgb": "height x width x 3",
            "gray": "height x width",
            "nv12": "(height * 3 / 2) x width",
        }
        given = getattr(frame, "shape", type(frame).__name__)
        raise LzuError(
            f"{name} is {given}, but pixel format {pixel_format} is {wanted[pixel_format]}; give "
            "it like that, or name the format that it has"
        )
    if frame.dtype != np.uint8:
        raise LzuError(f"{name} is {frame.dtype}; give the camera's bytes as uint8")
    rows, width = frame.shape[:2]
    if frame.size == 0:
        raise LzuError(f"{name} is {rows}x{width}, without a pixel; drop it")
    if pixel_format == "nv12" and (rows % 3 or width % 2):
        problem = (
            f"has {rows} rows, which no even height has: they are 3 for every 2 of the picture"
            if rows % 3
            else f"is {width} pixels wide, and the width has to be even"
        )
        raise LzuError(f"{name} in NV12 {problem}; give luma and chroma of a picture of even size")
    size = size_of(frame, pixel_format)
    if source is not None and size != source:
        raise LzuError(
            f"{name} is {size[0]}x{size[1]} in {pixel_format} but this bundle takes "
            f"{source[0]}x{source[1]}; bring it to that size (load and run do with resize), or "
            "export for its size"
        )
    return frame


def size_of(frame: Frame, pixel_format: PixelFormat) -> tuple[int, int]:
    """Return (height, width) of the picture that an array of this format holds."""
    rows, width = frame.shape[:2]
    return (rows * 2 // 3 if pixel_format == "nv12" else rows), width


def to_bgr(frame: Frame, pixel_format: PixelFormat) -> Frame:
    """Return a frame of this format, checked before, as (H, W, 3) uint8 in the order BGR."""
    if pixel_format == "bgr":
        return frame
    import cv2  # here, so that a start without conversions does not wait for it

    codes = {
        "rgb": cv2.COLOR_RGB2BGR,
        "nv12": cv2.COLOR_YUV2BGR_NV12,
        "gray": cv2.COLOR_GRAY2BGR,
    }
    return np.asarray(cv2.cvtColor(frame, codes[pixel_format]), np.uint8)
