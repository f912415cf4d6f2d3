"""Methods that choose a tensor's symmetric INT8 limit from its histogram.

The limit is the magnitude that becomes 127. The scale is limit / 127 and the zero point is 0.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lzu_calibration.errors import CalibrationError
from lzu_calibration.histogram import BINS, Histogram

LEVELS = 127
"""Number of INT8 levels above zero; -128 is not used."""
LIMIT_OF_ZEROS = 127 * 2.0**-14
"""Limit of a tensor that is 0 in every frame. Any limit would do; the scale of this one is the
smallest normal number of FP16, so that it is 0 in no precision."""
PERCENTILE = 99.99
_ENTROPY_LEVELS = 128
_NEARLY_NONE = 1e-4
"""Count assigned to a level into which only clipped values fall."""
_MSE_SMALLEST, _MSE_STEPS = 1 / 128, 256


def limit_of(histogram: Histogram, method: str, percentile: float = PERCENTILE) -> float:
    """Return a tensor's limit by one of `METHODS`: positive, at most the largest magnitude.

    `LIMIT_OF_ZEROS` is returned if all values are 0.

    Args:
        histogram: histogram of the tensor over all frames.
        method: `max`, `entropy`, `percentile` or `mse`.
        percentile: percentile of all magnitudes, zeros included; only method `percentile` uses it.

    Raises:
        CalibrationError: no such method or percentile.
    """
    check_method(method, percentile)
    if histogram.largest == 0:
        return LIMIT_OF_ZEROS
    if method == "percentile":
        limit = _percentile(histogram, percentile)
    else:
        limit = _SEARCHES[method](histogram)
    return float(min(limit, histogram.largest))


def check_method(method: str, percentile: float | None) -> None:
    """Reject an unknown method, and for method `percentile` a percentile outside 50..100.

    Raises:
        CalibrationError: no such method or percentile.
    """
    if method not in METHODS:
        raise CalibrationError(
            f"calibration method {method!r} is unknown; choose one of {', '.join(METHODS)}"
        )
    if method == "percentile" and (percentile is None or not 50 <= percentile <= 100):
        raise CalibrationError(
            f"percentile is {percentile}; give a number from 50 to 100, such as 99.99"
        )


def _largest(histogram: Histogram) -> float:
    return histogram.largest


def _percentile(histogram: Histogram, percentile: float) -> float:
    """Return the percentile, interpolated linearly within a bin.

    If the percentile is 0, return the largest magnitude: the few nonzero values of such a sparse
    tensor matter.
    """
    below = histogram.zeros + np.cumsum(histogram.counts)
    wanted = percentile / 100 * float(below[-1])
    if wanted <= histogram.zeros:
        return histogram.largest
    i = min(int(np.searchsorted(below, wanted)), BINS - 1)
    inside = 1 - (below[i] - wanted) / max(histogram.counts[i], 1)
    return float((i + inside) * histogram.width)


def _entropy(histogram: Histogram) -> float:
    """Return the limit of least Kullback-Leibler divergence of the clipped values to 128 levels.

    As in TensorRT's calibrator, values beyond a candidate count into its last bin, but not into the
    levels. Exact zeros are left out, and the bin at zero counts no more than its neighbour.
    Otherwise a peak there would make every level that contains it look bad, so that the narrowest
    candidate, whose levels are single bins, would win.
    """
    counts = histogram.counts.astype(np.float64)
    counts[0] = min(counts[0], counts[1])
    used = int(np.flatnonzero(histogram.counts)[-1]) + 1
    if used <= _ENTROPY_LEVELS or not counts.any():
        return histogram.largest
    ends = np.arange(_ENTROPY_LEVELS, used + 1)
    total = counts.sum()
    inside = _sums(counts)[ends]
    last = counts[ends - 1]
    outside = total - inside
    # For each candidate, sum p log(p / q) follows from running sums: of c log c over the bins,
    # of each level's mass, and of its number of nonempty bins.
    edges = ends[:, None] * np.arange(_ENTROPY_LEVELS + 1) // _ENTROPY_LEVELS
    mass = np.diff(_sums(counts)[edges])
    clipped = mass.copy()
    clipped[:, -1] += outside
    filled = np.diff(_sums((counts > 0).astype(np.float64))[edges])
    filled[:, -1] += (last == 0) & (outside > 0)
    # A tiny mass replaces zero: else one far outlier would exclude all candidates that clip it.
    mass[:, -1] = np.where((mass[:, -1] == 0) & (outside > 0), _NEARLY_NONE, mass[:, -1])
    with np.errstate(divide="ignore", invalid="ignore"):
        level = np.where(clipped > 0, clipped * np.log(mass / filled), 0).sum(axis=1)
    own = _sums(_c_log_c(counts))[ends - 1] + _c_log_c(last + outside)
    with np.errstate(divide="ignore", invalid="ignore"):
        divergence = (own - level) / total - np.log(total) + np.log(inside)
    divergence[~np.isfinite(divergence)] = np.inf
    # Take the widest of the candidates that are equal up to rounding.
    best = int(np.flatnonzero(divergence <= divergence.min() + 1e-12)[-1])
    return float(ends[best] * histogram.width)


def _mse(histogram: Histogram) -> float:
    """Return the limit of least mean squared error of rounding and clipping together.

    The 256 candidates have equal ratios and run from 1/128 of the largest magnitude to the largest
    magnitude. Values are assumed evenly spread within their bin, over which the squared error is
    integrated exactly.
    """
    used = int(np.flatnonzero(histogram.counts)[-1]) + 1
    edges = np.arange(used + 1, dtype=np.float64)
    counts = histogram.counts[:used].astype(np.float64)
    candidates = np.geomspace(_MSE_SMALLEST, 1, _MSE_STEPS) * (histogram.largest / histogram.width)
    errors = [float(counts @ np.diff(_squared_error(edges, limit))) for limit in candidates]
    best = int(np.argmin(errors))
    return float(candidates[best] * histogram.width)


def _squared_error(x: NDArray[np.float64], limit: float) -> NDArray[np.float64]:
    """Return the integral from 0 to x of the squared error of quantising with this limit."""
    step = limit / LEVELS
    level = np.minimum(np.round(x / step), LEVELS)
    return np.asarray(level * step**3 / 12 + (x - level * step) ** 3 / 3)


def _sums(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sums of the first 0, 1, ... values."""
    return np.concatenate([[0.0], np.cumsum(values)])


def _c_log_c(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(counts * np.log(np.maximum(counts, 1)))


_SEARCHES: dict[str, Callable[[Histogram], float]] = {
    "max": _largest,
    "entropy": _entropy,
    "mse": _mse,
}
METHODS = ("max", "entropy", "percentile", "mse")
