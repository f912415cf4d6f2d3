"""A streaming histogram of a tensor's magnitudes, independent of the number of frames.

Own code instead of `onnxruntime.quantization.calibrate`, whose collectors (read in release 1.32)
do not fit: they grow their bins with the data's range; what is smaller than the first frame's
smallest value is lost from all later ones; NaNs are skipped without a word; with as many bins as
levels, their default for entropy, there is nothing to search; there is no mean squared error; they
print to stdout; and per value they cost five to ten times as much, per entropy search seconds.

Here the range is a power of two. It doubles by merging pairs of bins, and scaling by a power of two
rounds nothing, so that the counts depend neither on the order of the frames nor on how they come
in pieces.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 4096
"""More than half of them lie below the largest value: at least 2048 are in use."""
_PIECE = 1 << 16
"""Values counted at once: they stay in the cache from one step to the next."""
_SMALLEST = -100
"""Exponent of the smallest range; below, its scale would overflow float32."""


class NotFinite(ValueError):
    """A tensor holds NaN or infinity."""


class Histogram:
    """Counts of |x| in equal bins from 0 to `limit`; exact zeros are counted apart.

    A zero is exact under every scale and says nothing of where to clip, but after a ReLU half of
    all values are zeros.
    """

    def __init__(self) -> None:
        """Nothing counted; `limit` is 0 until the first value that is not 0."""
        self.counts = np.zeros(BINS, np.int64)
        self.zeros = 0
        self.largest = 0.0
        self.limit = 0.0

    def add(self, values: NDArray[Any]) -> None:
        """Count an array's values, rounded to float32 if they are finer.

        Raises:
            NotFinite: the array holds NaN or infinity; nothing of it was counted.
        """
        if values.dtype not in (np.float32, np.float16):
            values = values.astype(np.float32)
        flat = np.ascontiguousarray(values).reshape(-1)
        if flat.size == 0:
            return
        largest = float(max(flat.max(), -flat.min()))  # NaN passes through both
        if not math.isfinite(largest):
            raise NotFinite("NaN" if math.isnan(largest) else "infinity")
        zeros = flat.size - int(np.count_nonzero(flat))
        self.zeros += zeros
        if zeros == flat.size:
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

    @property
    def total(self) -> int:
        """Number of values, zeros included."""
        return self.zeros + int(self.counts.sum())

    @property
    def width(self) -> float:
        """Width of a bin."""
        return self.limit / BINS

    def _widen(self, limit: float) -> None:
        """Merge bins until the range reaches `limit`, a power of two above the largest value."""
        if limit > self.limit > 0:
            factor = min(round(limit / self.limit), BINS)
            merged = self.counts.reshape(-1, factor).sum(axis=1)
            self.counts = np.concatenate([merged, np.zeros(BINS - len(merged), np.int64)])
        self.limit = max(self.limit, limit)
