"""A streaming histogram of a tensor's magnitudes, independent of the number of frames.

The collectors of `onnxruntime.quantization.calibrate` (as of release 1.32) are not used, for these
reasons. The number of bins grows with the range of the data. Values below the smallest value of
the first frame are lost from all later frames. NaNs are skipped silently. By default, entropy has
as many bins as levels, so there is nothing to search. There is no mean squared error. The
collectors print to stdout. They take five to ten times as long per value, and seconds per entropy
search.

Here the range is a power of two, which grows by merging groups of bins. Scaling by a power of two
does not round, so the counts depend neither on the order of the frames nor on their division into
pieces.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 4096
"""Number of bins. At least half of them, 2048, lie below the largest value."""
_PIECE = 1 << 16
"""Number of values counted at once, so that they stay in the processor's cache between steps."""
_SMALLEST = -100
"""Exponent of the smallest range; the scale of a smaller range would overflow float32."""


class NotFinite(ValueError):
    """Raised when a tensor holds NaN or infinity."""


class Histogram:
    """Counts of |x| in equal bins from 0 to `limit`; exact zeros are counted separately.

    A zero is exact with every scale, so it has no influence on the best limit; but after a ReLU
    half of all values are zeros.
    """

    def __init__(self) -> None:
        """Make an empty histogram; `limit` is 0 until the first nonzero value."""
        self.counts = np.zeros(BINS, np.int64)
        self.zeros = 0
        self.largest = 0.0
        self.limit = 0.0

    def add(self, values: NDArray[Any]) -> None:
        """Count an array's values, rounded to float32 if they are finer.

        Raises:
            NotFinite: the array holds NaN or infinity; none of its values was counted.
        """
        flat, largest = _checked(values)
        zeros = flat.size - int(np.count_nonzero(flat))
        self.zeros += zeros
        if zeros == flat.size:  # so is an empty array
            return
        self.largest = max(self.largest, largest)
        self._widen(2.0 ** max(math.frexp(largest)[1], _SMALLEST))
        scale = np.float32(BINS / self.limit)
        scaled = np.empty(min(_PIECE, flat.size), np.float32)
        bins = np.empty(len(scaled), np.int32)
        for start in range(0, flat.size, _PIECE):
            piece = flat[start : start + _PIECE]
            size = len(piece)
            np.multiply(piece, scale, out=scaled[:size], dtype=np.float32)
            np.absolute(scaled[:size], out=scaled[:size])
            np.copyto(bins[:size], scaled[:size], casting="unsafe")
            self.counts += np.bincount(bins[:size], minlength=BINS)
        self.counts[0] -= zeros

    def see(self, values: NDArray[Any]) -> None:
        """Raise `largest` to an array's largest magnitude, without counting its values.

        Raises:
            NotFinite: the array holds NaN or infinity.
        """
        self.largest = max(self.largest, _checked(values)[1])

    def merge(self, other: "Histogram") -> None:
        """Add the counts of another histogram: the result is that of all values in one of them."""
        self._widen(other.limit)
        if other.limit:
            # A value's bin in a wider range is a whole number of its bins, so that nothing rounds.
            factor = min(round(self.limit / other.limit), BINS)
            merged = other.counts.reshape(-1, factor).sum(axis=1)
            self.counts[: len(merged)] += merged
        self.zeros += other.zeros
        self.largest = max(self.largest, other.largest)

    def state(self) -> NDArray[np.float64]:
        """Return the range, the largest value, the number of zeros and the counts (3 + BINS,).

        Numbers of values are exact up to 2^53.
        """
        return np.array([self.limit, self.largest, self.zeros, *self.counts], np.float64)

    @classmethod
    def of(cls, state: NDArray[np.float64]) -> "Histogram":
        """Make the histogram again whose `state` is given."""
        made = cls()
        made.limit, made.largest, made.zeros = float(state[0]), float(state[1]), int(state[2])
        made.counts = state[3:].astype(np.int64)
        return made

    @property
    def total(self) -> int:
        """Number of values, zeros included."""
        return self.zeros + int(self.counts.sum())

    @property
    def width(self) -> float:
        """Width of a bin."""
        return self.limit / BINS

    def _widen(self, limit: float) -> None:
        """Merge bins until the range reaches `limit`, a power of two above the largest value.

        A limit of 0 or of no more than the range changes nothing.
        """
        if limit > self.limit > 0:
            factor = min(round(limit / self.limit), BINS)
            merged = self.counts.reshape(-1, factor).sum(axis=1)
            self.counts = np.concatenate([merged, np.zeros(BINS - len(merged), np.int64)])
        self.limit = max(self.limit, limit)


def _checked(values: NDArray[Any]) -> tuple[NDArray[Any], float]:
    """Return an array's values in one row, in float32 if they are finer, and the largest magnitude.

    Raises:
        NotFinite: the array holds NaN or infinity.
    """
    if values.dtype not in (np.float32, np.float16):
        values = values.astype(np.float32)
    flat = np.ascontiguousarray(values).reshape(-1)
    if flat.size == 0:
        return flat, 0.0
    largest = float(max(flat.max(), -flat.min()))  # max and min both propagate NaN
    if not math.isfinite(largest):
        raise NotFinite("NaN" if math.isnan(largest) else "infinity")
    return flat, largest
