"""Compare an engine's values with the reference's."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Scale(NamedTuple):
    """Usual magnitude of an array, so that a difference is not divided by almost zero."""

    largest: float = 0.0
    """Largest absolute value."""
    root_mean_square: float = 0.0

    @classmethod
    def over(cls, arrays: Sequence[NDArray[Any]]) -> "Scale":
        """Compute the scale over several arrays of one name, from their finite values."""
        values = np.concatenate([each.astype(np.float64).reshape(-1) for each in arrays])
        values = values[np.isfinite(values)]
        if not values.size:
            return cls()
        return cls(float(np.abs(values).max()), float(np.sqrt(np.square(values).mean())))


NO_SCALE = Scale()


def relative_difference(
    value: NDArray[Any], reference: NDArray[Any], usual: Scale = NO_SCALE
) -> float:
    """Compute max|a - b| / max|b|; infinite if shapes differ or any value is not finite.

    A reference that is smaller than `usual`, as from a covered lens, counts as that large.
    """
    a, b = value.astype(np.float64), reference.astype(np.float64)
    if a.shape != b.shape or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return float("inf")
    if a.size == 0:
        return 0.0
    largest = max(float(np.abs(b).max()), usual.largest)
    difference = float(np.abs(a - b).max())
    return difference / largest if largest > 0 else difference


def signal_to_noise(value: NDArray[Any], reference: NDArray[Any], usual: Scale = NO_SCALE) -> float:
    """Compute 10 log10(sum b^2 / sum (a - b)^2) in dB; infinite if both are equal.

    A reference that is weaker than `usual`, as from a covered lens, counts as that strong. The
    result is minus infinity if shapes differ, a value on either side is not finite, or there is
    noise but no signal.
    """
    a, b = value.astype(np.float64), reference.astype(np.float64)
    if a.shape != b.shape or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return -float("inf")
    signal = max(float(np.square(b).sum()), b.size * usual.root_mean_square**2)
    noise = float(np.square(a - b).sum())
    if noise == 0:
        return float("inf")
    return 10 * math.log10(signal / noise) if signal > 0 else -float("inf")


def choice_difference(value: NDArray[Any], reference: NDArray[Any], margins: NDArray[Any]) -> float:
    """Compute how far the logits must have deviated for the choices to differ as they do.

    Args:
        value: the engine's choices, such as classes.
        reference: PyTorch's choices, of the same shape.
        margins: relative deviation of PyTorch's logits that changes each choice, of that shape.

    Returns:
        The largest margin among differing choices; 0 where all are equal, infinite where shapes
        differ or a margin is NaN.
    """
    if value.shape != reference.shape or margins.shape != reference.shape:
        return float("inf")
    excuses = margins[value != reference]
    if np.isnan(excuses).any():  # a comparison with a limit would let NaN pass
        return float("inf")
    return float(excuses.max(initial=0.0))
