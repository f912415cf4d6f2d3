"""Call the plugin library's launchers outside an engine, with the structs of `lzu_kernels.h`."""

import ctypes as c
from typing import Any

from lzu_export.errors import LzuError
from lzu_export.support.cuda_errors import FATAL, LOST

INVALID = -1
"""Value of LZU_INVALID, which a launcher returns for arguments that do not fit together."""
PIXEL_FORMATS = {"bgr": 0, "rgb": 1, "nv12": 2, "gray": 3}
"""Values of the enumeration LzuPixels by the names of `inputs.pixel_formats`."""
LINEAR_FORMATS = {"float32": 0, "float16": 1}
"""Values of the formats LZU_F32_LINEAR and LZU_F16_LINEAR by NumPy's names of the types."""


class Suppress(c.Structure):
    """Arguments of `lzu_suppress`, the struct LzuSuppress."""

    _fields_ = (
        ("boxes", c.c_void_p),
        ("scores", c.c_void_p),
        ("labels", c.c_void_p),
        *((name, c.c_int32) for name in ("label_bytes", "batch", "candidates", "max_detections")),
        ("score_threshold", c.c_float),
        ("iou_threshold", c.c_float),
        *(
            (name, c.c_void_p)
            for name in (
                *("workspace", "kept_boxes", "kept_scores"),
                *("kept_labels", "kept_count"),
            )
        ),
    )


class FeedBoxes(c.Structure):
    """Arguments of `lzu_feed_boxes`, the struct LzuFeedBoxes."""

    _fields_ = (
        *((name, c.c_void_p) for name in ("boxes", "scores", "count")),
        *((name, c.c_int32) for name in ("batch", "detections", "box_count", "most")),
        *((name, c.c_float) for name in ("score_threshold", "left", "top", "right", "bottom")),
        ("prev_boxes", c.c_void_p),
        ("prev_valid", c.c_void_p),
    )


class ZoomCamera(c.Structure):
    """Arguments of `lzu_zoom_camera`, the struct LzuCamera."""

    _fields_ = (
        ("pixels", c.c_void_p),
        ("chroma", c.c_void_p),
        *(
            (name, c.c_int32)
            for name in (
                *("pitch", "pixel_format", "reduce", "height", "width"),
                *("canvas_height", "canvas_width", "pad_y", "pad_x", "bilinear"),
            )
        ),
        ("knots_x", c.c_void_p),
        ("knots_y", c.c_void_p),
        ("knot_count_x", c.c_int32),
        ("knot_count_y", c.c_int32),
        ("table_x", c.c_void_p),
        ("table_y", c.c_void_p),
        ("mean", c.c_float * 3),
        ("std", c.c_float * 3),
        ("rgb_output", c.c_int32),
        ("format", c.c_int32),
        ("output", c.c_void_p),
    )


def require(library: Any, *names: str) -> None:
    """Refuse a plugin library without these launchers.

    Raises:
        LzuError: the library lacks a launcher; the message names the first.
    """
    for name in names:
        if not hasattr(library, name):
            raise LzuError(
                f"the plugin library has no {name}: it is an older one; build it again (lzu-export "
                "plugins)"
            )


def launch(library: Any, name: str, call: c.Structure, stream: int) -> None:
    """Put a launcher's work into a stream.

    Args:
        library: the plugin library.
        name: name of the launcher.
        call: arguments of the launcher, which copies them.
        stream: a cudaStream_t.

    Raises:
        LzuError: the kernel was not launched, or work on the GPU has failed before.
    """
    code = getattr(library, name)(c.byref(call), c.c_void_p(stream))
    if not code:
        return
    if code in FATAL:
        raise LzuError(
            f"work on the GPU failed: {FATAL[code]} (error {code}, reported by {name}); {LOST}"
        )
    remedy = "build the plugin library on this device (lzu-export plugins)"
    if code == INVALID:
        remedy = "its arguments do not fit together; build the library of this release again"
    raise LzuError(f"the kernel {name} was not launched (error {code}); {remedy}")
