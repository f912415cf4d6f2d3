"""Compare a network that selects by rank at the entries that PyTorch selected. No torch.

Two-stage detectors such as RT-DETR pass on the candidates of the highest scores. Among nearly equal
scores, rounding decides which these are and in which order, and all later values follow from that.
So an engine's own selection is compared by its scores, and its outputs at PyTorch's selection.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lzu_export.recipes.limits import SignalLimits
from lzu_export.support.session import Session

FIGURES = 3
"""Outputs that `graph.selection.give_selections` adds for each selection."""


def noise_amplitude(decibels: float) -> float:
    """Return the ratio of noise to signal, as amplitudes, of a signal-to-noise ratio in dB."""
    return float(10 ** (-decibels / 20))


HALF_PRECISION = noise_amplitude(SignalLimits().fp16)
"""Deviation of scores that FP16 allows by default."""


class GivenSelections:
    """Engine's graph that takes selected indices as inputs, see `graph.selection`."""

    def __init__(self, session: Session, names: Sequence[str]) -> None:
        """Take the session of the graph, and the names of its selections in order."""
        self.session, self.names = session, tuple(names)

    def run(
        self, inputs: Mapping[str, NDArray[Any]], selections: Mapping[str, NDArray[Any]]
    ) -> tuple[dict[str, NDArray[Any]], dict[str, float]]:
        """Run the graph at PyTorch's selections.

        Args:
            inputs: inputs of the engine.
            selections: indices by name, int64.

        Returns:
            The outputs; and for each selection its deviation from PyTorch's, see `unlikeness`.
        """
        given = {name: selections[name] for name in self.names}
        values = self.session.run({**inputs, **given})
        outputs = list(values)[: len(values) - FIGURES * len(self.names)]
        figures = list(values.values())[len(outputs) :]
        return {name: values[name] for name in outputs}, {
            name: unlikeness(*figures[FIGURES * i : FIGURES * (i + 1)])
            for i, name in enumerate(self.names)
        }


def unlikeness(given: NDArray[Any], own: NDArray[Any], scores: NDArray[Any]) -> float:
    """Compute how far an engine's selection is from PyTorch's: `deviation`, or at least 1.

    It is at least 1 where the engine ranks PyTorch's entries nearer to its median score than to its
    own entries, by a deviation that half precision would not make. The limit of INT8 is relative to
    magnitudes, and would let scores in any order pass that lie close together.

    Args:
        given: the engine's scores of the entries that PyTorch selected.
        own: its scores of the entries that it selects itself, of the same shape and order.
        scores: all its scores.
    """
    real = ranked_scores(scores)
    chosen = np.concatenate([each[np.isfinite(each)].astype(np.float64) for each in (given, own)])
    usual = float(np.median(np.abs(real))) if real.size else 0.0
    found = deviation(given, own, max(usual, float(np.abs(chosen).max(initial=0.0))))
    if found <= HALF_PRECISION or not math.isfinite(found):
        return found
    middle = float(np.median(real))
    lead = own[np.isfinite(own)].astype(np.float64) - middle
    kept = given[np.isfinite(own)].astype(np.float64) - middle
    return found if np.vdot(kept, lead) >= np.vdot(lead, lead) / 2 else max(found, 1.0)


def ranked_scores(scores: NDArray[Any]) -> NDArray[np.float64]:
    """Return the scores between which rounding decides, without those that masks put in, flat.

    A mask sets entries to infinity or to one value below (or above) all others. If nothing else is
    left, all finite scores are returned.

    Args:
        scores: scores of any shape, which may have infinite values.
    """
    finite = scores[np.isfinite(scores)].astype(np.float64)
    if not finite.size:
        return finite
    real = finite
    for extreme in (finite.min(), finite.max()):
        if np.count_nonzero(finite == extreme) > 1:
            real = real[real != extreme]
    return real if real.size else finite


def deviation(given: NDArray[Any], own: NDArray[Any], largest: float) -> float:
    """Compute the relative deviation of scores that makes an engine select PyTorch's entries.

    It is half the largest gap, since the scores of both can deviate, divided by the largest
    magnitude; 0 if both select the same entries, infinite where one of two scores is infinite or
    NaN.

    Args:
        given: the engine's scores of the entries that PyTorch selected.
        own: its scores of the entries that it selects itself, of the same shape and order.
        largest: usual magnitude of its scores, those of a mask left out.
    """
    other = given != own
    gaps = np.abs(given[other].astype(np.float64) - own[other])
    if not np.isfinite(gaps).all():
        return math.inf
    gap = float(gaps.max(initial=0.0))
    return gap / 2 / largest if gap and largest else math.inf if gap else 0.0
