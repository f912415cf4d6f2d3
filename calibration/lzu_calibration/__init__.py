"""Activation ranges for INT8: streaming histograms, methods that choose a limit, a cache file.

It also ranks layers by what INT8 costs a metric. Inputs come in as an iterable and a model as a
callable, so that any runtime and any data set fit. Nothing of lzu_export is imported.
"""

from lzu_calibration.cache import (
    Cache,
    CachedFrames,
    check_cache,
    make_cache,
    read_cache,
    write_cache,
)
from lzu_calibration.calibrate import Run, calibrate, collect
from lzu_calibration.errors import CalibrationError, WriteError
from lzu_calibration.histogram import Histogram
from lzu_calibration.methods import METHODS, check_method, limit_of
from lzu_calibration.sensitivity import Evaluations, Sensitivity, group_layers, search

__all__ = [
    "METHODS",
    "Cache",
    "CachedFrames",
    "CalibrationError",
    "Evaluations",
    "Histogram",
    "Run",
    "Sensitivity",
    "WriteError",
    "calibrate",
    "check_cache",
    "check_method",
    "collect",
    "group_layers",
    "limit_of",
    "make_cache",
    "read_cache",
    "search",
    "write_cache",
]
