"""Measure how far an engine's predictions agree with a reference's, frame by frame. No torch.

A metric by ranks, such as AP, does not change if all confidences fall alike, but a user's threshold
then finds less. So the scores of detections that both find are compared. Two detections of one
class are partners if they overlap by half or more, or in space if their centres are within two
metres on the ground. The reference's detections choose partners in the order of their scores.
Segmentation outputs no scores: its agreement is the share of pixels with the reference's class.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lzu_export.errors import LzuError
from lzu_export.manifest.comparison import Agreement
from lzu_export.recipes import Recipe
from lzu_export.support.exact_sums import ExactSums
from lzu_export.tasks.registry import find_task

STEP, LARGEST = 0.001, 2.0
"""Width of the bins of the histogram of score ratios, and the ratio of its last bin's middle, in
which larger ratios count."""
BINS = round(LARGEST / STEP) + 1
FIGURES = 4
"""Number of sums besides the histogram: the numbers in `Sums`."""
SPREAD = (0.05, 0.95)
"""Shares of the matched scores below the ends of `Agreement.spread`."""


class Tally:
    """Adds up the agreement of one engine with a reference over frames.

    Sums are exact, so that frames may be counted in any order and in parts.
    """

    def __init__(self, task: str) -> None:
        """Start with nothing counted.

        Raises:
            LzuError: there is no such task.
        """
        self._task = find_task(task)
        self._sums = ExactSums(FIGURES + BINS)

    def add(self, mine: Any, theirs: Any, weight: float = 1.0) -> None:
        """Count one frame's predictions.

        Args:
            mine: predictions of the engine, as the task's predictor returns them.
            theirs: predictions of the reference.
            weight: weight of a difference, from 0 to 1, see `Reference.strength`.
        """
        own, partnered, everything, count, ratios = self._task.agreement(mine, theirs)
        own, everything = (partnered + weight * (each - partnered) for each in (own, everything))
        self._sums.add(range(FIGURES), map(float, (own, partnered, everything, count)))
        values = np.nan_to_num(1 + weight * (ratios[0] - 1)).clip(0, LARGEST)
        places = FIGURES + np.rint(values / STEP).astype(np.int64)
        self._sums.add(places.tolist(), ratios[1].tolist())

    def result(self) -> Agreement:
        """Return the agreement over all counted frames."""
        compared = self._task.compared
        sums = self._sums.values()
        own, partnered, everything, count = sums[:FIGURES].tolist()
        if not count:  # the reference finds nothing, so there is nothing to compare
            return Agreement(scores=1.0, matched=1.0, count=0, compared=compared)
        return Agreement(
            scores=own / partnered if partnered else 0.0,
            matched=partnered / everything if everything else 0.0,
            count=int(count),
            compared=compared,
            spread=_spread(sums[FIGURES:]),
        )

    def state(self) -> NDArray[np.str_]:
        """Return the sums so far, for `merge`."""
        return self._sums.state()

    def merge(self, state: NDArray[np.str_]) -> None:
        """Add the sums over other frames, that `state` returned; their order does not matter."""
        self._sums.merge(state)


def _spread(ratios: NDArray[np.float64]) -> tuple[float, float] | None:
    """Return the ratios between which the matched scores are, see `Agreement.spread`.

    `ratios` is the histogram of score ratios (BINS,), weighted by scores.
    """
    below = np.cumsum(ratios)
    if not below[-1]:
        return None
    low, high = (int(np.searchsorted(below, share * below[-1])) for share in SPREAD)
    return round(low * STEP, 3), round(high * STEP, 3)


class Agreements:
    """Measures each predictor's agreement with one of them during an evaluation, see `evaluate`."""

    def __init__(self, recipe: Recipe, reference: str, others: Sequence[str]) -> None:
        """Take the names of the reference and of the other predictors in the evaluation."""
        self.reference = reference
        self._tallies = {name: Tally(recipe.scored_as) for name in others if name != reference}
        self._theirs: Sequence[Any] | None = None

    def add(self, name: str, predictions: Sequence[Any]) -> None:
        """Count the frames of a batch; the reference's predictions come before the others'.

        Raises:
            LzuError: the reference's predictions are missing.
        """
        if name == self.reference:
            self._theirs = predictions
        elif name in self._tallies:
            if self._theirs is None:
                raise LzuError(f"{self.reference} is to be evaluated before {name}; put it first")
            for mine, theirs in zip(predictions, self._theirs, strict=True):
                self._tallies[name].add(mine, theirs)

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the sums so far of each predictor, by its index."""
        return {str(i): tally.state() for i, tally in enumerate(self._tallies.values())}

    def merge(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Add the sums over other frames, that `state` returned; their order does not matter."""
        for i, tally in enumerate(self._tallies.values()):
            tally.merge(state[str(i)])

    restore = merge

    def result(self) -> dict[str, Agreement]:
        """Return the agreement of each predictor by name."""
        return {name: tally.result() for name, tally in self._tallies.items()}


def against_fp32(recipe: Recipe, names: Sequence[str]) -> Agreements | None:
    """Make the comparison of engines, named `target/precision`, with FP32 if that comes first."""
    if not names or not names[0].endswith("/fp32"):
        return None
    return Agreements(recipe, names[0], names)
