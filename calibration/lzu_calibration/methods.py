"""Methods that choose a tensor's symmetric INT8 limit from its histogram.

The limit is the magnitude that becomes 127; the scale is the limit / 127, the zero point 0.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lzu_calibration.errors import CalibrationError
from lzu_calibration.histogram import BINS, Histogram

LEVELS = 127
"""Number of INT8 levels above zero; -128 is not used."""
LIMIT_OF_ZEROS = 127 * 2.0**-14
"""Limit of a tensor that is 0 in every frame, where any would do: this one's scale is the smallest
normal number of FP16, so that no precision makes it 0."""
PERCENTILE = 99.99
_ENTROPY_LEVELS = 128
_NEARLY_NONE = 1e-4
"""Count of a level into which only clipped values fall."""
_MSE_SMALLEST, _MSE_STEPS = 1 / 128, 256


def limit_of(histogram: Histogram, method: str, percentile: float = PERCENTILE) -> float:
    """The limit (positive, at most the largest magnitude) by one of `METHODS`.

    Args:
        histogram: of the tensor over all frames.
        method: `max`, `entropy`, `percentile` or `mse`.
        percentile: of all magnitudes, zeros included; only that method reads it.

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
    """Refuse what is no method, and a percentile that clips most of the values or none at all.

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
    """Linear within a bin. The largest magnitude where the percentile is 0.

    A tensor so sparse lives by its few values.
    """
    below = histogram.zeros + np.cumsum(histogram.counts)
    wanted = percentile / 100 * float(below[-1])
    if wanted <= histogram.zeros:
        return histogram.largest
    i = min(int(np.searchsorted(below, wanted)), BINS - 1)
    inside = 1 - (below[i] - wanted) / max(histogram.counts[i], 1)
    return float((i + inside) * histogram.width)


def _entropy(histogram: Histogram) -> float:
    """Least Kullback-Leibler divergence between the clipped values and their 128 levels.

    As TensorRT's calibrator did it: values beyond a candidate count into its last bin, but not into
    the levels. Exact zeros are left out, and the bin at zero counts no more than its neighbour:
    a peak there would make every level that holds it look bad, and the narrowest candidate, whose
    levels are single bins, the best.
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
    # All of sum p log(p / q) of a candidate comes from running sums: of c log c over the bins,
    # and of each level's mass and its number of bins that hold anything.
    edges = ends[:, None] * np.arange(_ENTROPY_LEVELS + 1) // _ENTROPY_LEVELS
    mass = np.diff(_sums(counts)[edges])
    clipped = mass.copy()
    clipped[:, -1] += outside
    filled = np.diff(_sums((counts > 0).astype(np.float64))[edges])
    filled[:, -1] += (last == 0) & (outside > 0)
    # Next to nothing instead of nothing: one far outlier would rule out all that clip it.
    mass[:, -1] = np.where((mass[:, -1] == 0) & (outside > 0), _NEARLY_NONE, mass[:, -1])
    with np.errstate(divide="ignore", invalid="ignore"):
        level = np.where(clipped > 0, clipped * np.log(mass / filled), 0).sum(axis=1)
    own = _sums(_c_log_c(counts))[ends - 1] + _c_log_c(last + outside)
    with np.errstate(divide="ignore", invalid="ignore"):
        divergence = (own - level) / total - np.log(total) + np.log(inside)
    divergence[~np.isfinite(divergence)] = np.inf
    # The widest of equals, where sums of floats tell none apart.
    best = int(np.flatnonzero(divergence <= divergence.min() + 1e-12)[-1])
    return float(ends[best] * histogram.width)


def _mse(histogram: Histogram) -> float:
    """Least mean squared error of rounding and clipping together.

    Of 256 candidates in equal ratios from 1/128 of the largest magnitude to itself; values are
    taken as evenly spread within their bin, over which the squared error is integrated exactly.
    """
    used = int(np.flatnonzero(histogram.counts)[-1]) + 1
    edges = np.arange(used + 1, dtype=np.float64)
    counts = histogram.counts[:used].astype(np.float64)
    candidates = np.geomspace(_MSE_SMALLEST, 1, _MSE_STEPS) * (histogram.largest / histogram.width)
    errors = [float(counts @ np.diff(_squared_error(edges, limit))) for limit in candidates]
    best = int(np.argmin(errors))
    return float(candidates[best] * histogram.width)


def _squared_error(x: NDArray[np.float64], limit: float) -> NDArray[np.float64]:
    """Integral from 0 to x of the squared error of quantising with this limit."""
    step = limit / LEVELS
    level = np.minimum(np.round(x / step), LEVELS)
    return np.asarray(level * step**3 / 12 + (x - level * step) ** 3 / 3)


def _sums(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums of the first 0, 1, ... values."""
    return np.concatenate([[0.0], np.cumsum(values)])


def _c_log_c(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(counts * np.log(np.maximum(counts, 1)))


_SEARCHES: dict[str, Callable[[Histogram], float]] = {
    "max": _largest,
    "entropy": _entropy,
    "mse": _mse,
}
METHODS = ("max", "entropy", "percentile", "mse")
