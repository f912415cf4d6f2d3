"""Find, check and rank a network's raw outputs."""

import difflib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lzu_export.errors import LzuError
from lzu_export.runtime.postprocessing.context import Outputs
from lzu_export.runtime.predictor import KNOTS

HIGHEST_SCORE = 1.01
"""Highest score that is accepted: 1, and the rounding of an integer engine."""


def take(outputs: Outputs, name: str | None, key: str) -> tuple[str, NDArray[Any]]:
    """Return the name and the values of one output.

    Args:
        outputs: one frame's outputs.
        name: name of the output; None for the only one, apart from the warp's knots.
        key: key of the recipe that has the name, for messages.

    Raises:
        LzuError: there is no such output, or more than one where none is named.
    """
    if name is not None and name in outputs:
        return name, np.asarray(outputs[name])
    names = [each for each in outputs if each not in KNOTS]
    listed = ", ".join(names) or "nothing"
    if name is None:
        if len(names) == 1:
            return names[0], np.asarray(outputs[names[0]])
        raise LzuError(f"the network returns {listed}; name one output in postprocess.{key}")
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {close[0]}?" if close else "name one of these"
    raise LzuError(f"postprocess.{key} names {name}, but the network returns {listed}; {hint}")


def numbers(name: str, values: NDArray[Any], axes: Sequence[str]) -> NDArray[np.float32]:
    """Return an output as float32, after a check of its axes and of its values.

    Infinite values pass: half precision overflows to them, and their candidates are dropped.

    Raises:
        LzuError: the output has another number of axes, has no numbers, or has NaN.
    """
    if values.ndim != len(axes) or values.dtype.kind not in "fiu":
        raise LzuError(
            f"output {name} is {values.dtype} of shape {values.shape} per frame, but this "
            f"post-processing takes numbers ({', '.join(axes)}); name another output or kind"
        )
    result = values.astype(np.float32, copy=False)
    if result.size and np.isnan(result.max()):  # max passes NaN on, without a mask as large
        raise LzuError(
            f"output {name} has values that are not a number (NaN); check the frame and the "
            "network, or run a higher precision"
        )
    return result


def check_classes(name: str, count: int, classes: tuple[str, ...], remedy: str) -> None:
    """Refuse an output with another number of classes than the recipe's, if that has names.

    Raises:
        LzuError: the numbers differ, or the output has no class.
    """
    if count < 1 or (classes and count != len(classes)):
        wanted = f"the recipe names {len(classes)}" if classes else "at least 1 is needed"
        raise LzuError(f"output {name} has {max(count, 0)} classes but {wanted}; {remedy}")


def check_scores(name: str, scores: NDArray[np.float32]) -> None:
    """Refuse scores above 1, which are logits or belong to another layout.

    Raises:
        LzuError: a finite score is above 1 by more than rounding.
    """
    highest = float(scores.max(initial=0.0, where=np.isfinite(scores)))
    if highest > HIGHEST_SCORE:
        raise LzuError(
            f"output {name} gives a score of {highest:.3g}, but scores are at most 1; set "
            "postprocess.activation to sigmoid, or name the output of the scores"
        )


def best(values: NDArray[np.float32], count: int) -> NDArray[np.intp]:
    """Return the indices of the `count` largest of (n,) values, best first, equal ones in order."""
    if count < len(values):
        lowest = np.partition(values, len(values) - count)[len(values) - count]
        above, equal = np.flatnonzero(values > lowest), np.flatnonzero(values == lowest)
        chosen = np.sort(np.concatenate([above, equal[: count - len(above)]]))
    else:
        chosen = np.arange(len(values))
    return chosen[np.argsort(-values[chosen], kind="stable")]


def sigmoid(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Compute 1 / (1 + exp(-x)) in float32."""
    with np.errstate(over="ignore"):  # to infinity, whose reciprocal is 0
        result: NDArray[np.float32] = np.float32(1) / (np.float32(1) + np.exp(-values))
    return result


def corners(centred: NDArray[np.float32]) -> NDArray[np.float32]:
    """Convert boxes (n, 4) from centre x, centre y, width, height to x1, y1, x2, y2."""
    half = centred[:, 2:] / 2
    with np.errstate(invalid="ignore", over="ignore"):  # such boxes are dropped
        return np.concatenate([centred[:, :2] - half, centred[:, :2] + half], axis=1)
