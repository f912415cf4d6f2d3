"""Run a model over frames and find the range of each of its outputs."""

from collections.abc import Callable, Iterable

import numpy as np

from lzu_calibration.histogram import Histogram, NotFinite
from lzu_calibration.methods import PERCENTILE, check_method, limit_of
from lzu_export.errors import LzuError
from lzu_export.support.session import Arrays, Session


def calibrate(
    session: Session,
    feeds: Iterable[tuple[str, Arrays]],
    *,
    method: str,
    percentile: float = PERCENTILE,
    advance: Callable[[int], None] = lambda feeds: None,
) -> dict[str, float]:
    """The symmetric INT8 limit of every output of `session`, by name.

    Args:
        session: its outputs are the tensors to calibrate.
        feeds: a frame's name and the session's inputs, read once.
        method: one of `METHODS`.
        percentile: of the method of that name.
        advance: told 1 after each feed.

    Raises:
        LzuError: what `collect` or `check_method` refuses.
    """
    check_method(method, percentile)
    histograms = collect(session, feeds, advance)
    return {name: limit_of(each, method, percentile) for name, each in histograms.items()}


def collect(
    session: Session,
    feeds: Iterable[tuple[str, Arrays]],
    advance: Callable[[int], None] = lambda feeds: None,
) -> dict[str, Histogram]:
    """The histogram of every output over all feeds, for methods to be compared on.

    Memory holds one feed's outputs and a histogram each, whatever the number of feeds.

    Raises:
        LzuError: an output is no floating-point tensor, there are no feeds, or a value is NaN or
            infinite, naming tensor and frame.
    """
    for spec in session.outputs:
        if not np.issubdtype(np.dtype(spec.dtype), np.floating):
            raise LzuError(
                f"tensor {spec.name} is {spec.dtype}; only floating-point tensors have a range, "
                "leave it out"
            )
    histograms = {spec.name: Histogram() for spec in session.outputs}
    frame = None
    for frame, inputs in feeds:
        outputs = session.run(inputs)
        for name, histogram in histograms.items():  # in the session's order: NaN names its source
            try:
                histogram.add(outputs.pop(name))  # freed at once: not two runs' outputs in memory
            except NotFinite as error:
                raise LzuError(
                    f"tensor {name} holds {error} on frame {frame}; check the weights and that "
                    "frame"
                ) from error
        advance(1)
    if frame is None:
        raise LzuError("there are no frames to calibrate on; give at least 2")
    return histograms
