"""Positions of a convolution's taps. NumPy only: graphs are lowered without torch."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def tap_positions(
    out: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> NDArray[np.float64]:
    """Compute the positions that a convolution reads; all arguments are (rows, columns).

    Args:
        out: cells of the output.
        kernel: taps of the kernel.
        stride: input pixels between output cells.
        padding: zeros before the first pixel.
        dilation: input pixels between taps.

    Returns:
        Positions (taps, 2, rows, columns) float64, (y, x) in input pixels, where 0 is the centre of
        the first pixel.
    """
    y, x = (
        np.arange(out[axis]) * stride[axis]
        - padding[axis]
        + np.arange(kernel[axis])[:, None] * dilation[axis]
        for axis in (0, 1)
    )
    shape = (*kernel, *out)
    rows = np.broadcast_to(y[:, None, :, None], shape)
    cols = np.broadcast_to(x[None, :, None, :], shape)
    return np.stack([rows, cols], axis=2).reshape(-1, 2, *out).astype(np.float64)
