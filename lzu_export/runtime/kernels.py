"""Launchers of the plugin library that run beside an engine: structures of `lzu_kernels.h`."""

import ctypes as c

MOST_CANDIDATES = 3840
MOST_BOXES = 1024


class Suppress(c.Structure):
    """LzuSuppress."""

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
    """LzuFeedBoxes."""

    _fields_ = (
        *((name, c.c_void_p) for name in ("boxes", "scores", "count")),
        *((name, c.c_int32) for name in ("batch", "detections", "box_count", "most")),
        *((name, c.c_float) for name in ("score_threshold", "left", "top", "right", "bottom")),
        ("prev_boxes", c.c_void_p),
        ("prev_valid", c.c_void_p),
    )
