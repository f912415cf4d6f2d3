"""Run a model over its inputs and find the range of each output."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lzu_calibration.errors import CalibrationError
from lzu_calibration.histogram import Histogram, NotFinite
from lzu_calibration.methods import PERCENTILE, check_method, limit_of

Arrays = Mapping[str, NDArray[Any]]
"""Arrays by tensor name."""
Run = Callable[[Arrays], Mapping[str, NDArray[Any]]]
"""Function that runs a model once: it maps inputs by name to the tensors to calibrate by name.

The tensors are in model order.
"""


def calibrate(
    run: Run,
    feeds: Iterable[tuple[str, Arrays]],
    *,
    method: str,
    percentile: float = PERCENTILE,
    advance: Callable[[int], None] = lambda feeds: None,
) -> dict[str, float]:
    """Find the symmetric INT8 limit of every tensor that `run` returns, by name.

    Args:
        run: function that runs the model and returns the tensors to calibrate.
        feeds: pairs of a frame's name and the model's inputs; iterated once.
        method: one of `METHODS`.
        percentile: percentile of the magnitudes, for method `percentile`.
        advance: called with 1 after each feed.

    Raises:
        CalibrationError: see `collect` and `check_method`.
    """
    check_method(method, percentile)
    histograms = collect(run, feeds, advance, count=method != "max")
    return {name: limit_of(each, method, percentile) for name, each in histograms.items()}


def collect(
    run: Run,
    feeds: Iterable[tuple[str, Arrays]],
    advance: Callable[[int], None] = lambda feeds: None,
    *,
    count: bool = True,
) -> dict[str, Histogram]:
    """Fill one histogram per tensor over all feeds; methods can then be compared on them.

    Memory holds the tensors of one feed and the histograms, whatever the number of feeds.

    Args:
        run: function that runs the model and returns the tensors to calibrate.
        feeds: pairs of a frame's name and the model's inputs; iterated once.
        advance: called with 1 after each feed.
        count: whether values are counted. Method `max` needs only the largest one, which takes a
            fifth of the time.

    Raises:
        CalibrationError: there are no feeds, a tensor is not floating-point, or a value is NaN or
            infinite. The message names the tensor, and for a value also the frame.
    """
    histograms: dict[str, Histogram] = {}
    frame = None
    for frame, inputs in feeds:
        outputs = dict(run(inputs))
        for name in list(outputs):  # in model order, so that a NaN is reported at its source
            values = outputs.pop(name)  # freed at once: memory never holds two runs' tensors
            if not np.issubdtype(values.dtype, np.floating):
                raise CalibrationError(
                    f"tensor {name} is {values.dtype}; only floating-point tensors have a range, "
                    "leave it out"
                )
            histogram = histograms.setdefault(name, Histogram())
            try:
                (histogram.add if count else histogram.see)(values)
            except NotFinite as error:
                raise CalibrationError(
                    f"tensor {name} holds {error} on frame {frame}; check the weights and that "
                    "frame"
                ) from error
        advance(1)
    if frame is None:
        raise CalibrationError("there are no frames to calibrate on; give at least 2")
    return histograms
