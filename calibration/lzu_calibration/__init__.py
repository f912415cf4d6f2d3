"""Activation ranges for INT8: streaming histograms, methods that choose a limit, a cache file.

The package also ranks layers by the loss of a metric that INT8 causes. Inputs are an iterable and
a model is a callable, so that any runtime and any data set fit. Nothing of lzu_export is imported.
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
