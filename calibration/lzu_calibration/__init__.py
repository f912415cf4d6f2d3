"""Activation ranges for INT8 from frames: sources and samplers, methods, a versioned cache file.

Knows ONNX sessions and frames; tasks, recipes, graph passes and torch stay outside.
"""

from lzu_calibration.cache import (
    Cache,
    CachedFrames,
    check_cache,
    make_cache,
    read_cache,
    write_cache,
)
from lzu_calibration.calibrate import calibrate, collect
from lzu_calibration.frames import FrameList, open_frames
from lzu_calibration.histogram import Histogram
from lzu_calibration.methods import METHODS, check_method, limit_of

__all__ = [
    "METHODS",
    "Cache",
    "CachedFrames",
    "FrameList",
    "Histogram",
    "calibrate",
    "check_cache",
    "check_method",
    "collect",
    "limit_of",
    "make_cache",
    "open_frames",
    "read_cache",
    "write_cache",
]
