"""Activation ranges for INT8 from frames: sources and samplers, methods, a versioned cache file.

And which layers cost most in INT8. Knows ONNX sessions, frames and names of layers; tasks, recipes,
graph passes and torch stay outside.
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
from lzu_calibration.frames import FrameList, named_frames, open_frames
from lzu_calibration.histogram import Histogram
from lzu_calibration.methods import METHODS, check_method, limit_of
from lzu_calibration.sensitivity import Evaluations, Sensitivity, group_layers, search

__all__ = [
    "METHODS",
    "Cache",
    "CachedFrames",
    "Evaluations",
    "FrameList",
    "Histogram",
    "Sensitivity",
    "calibrate",
    "check_cache",
    "check_method",
    "collect",
    "group_layers",
    "limit_of",
    "make_cache",
    "named_frames",
    "open_frames",
    "read_cache",
    "search",
    "write_cache",
]
