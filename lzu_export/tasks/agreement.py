"""Measure how far an engine's predictions agree with a reference's, frame by frame. No torch.

A metric by ranks, such as AP, stays where all confidences fall alike; a user's threshold does not.
So the scores of what both find are held against each other. Detections are partners where they are
of one class and overlap by half or more, in space where their centres are within two metres on the
ground; the reference's surest choose first. Segmentation has no scores in its outputs: there it is
the share of pixels that get the reference's class.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lzu_export.errors import LzuError
from lzu_export.manifest.comparison import Agreement
from lzu_export.recipes import Recipe
from lzu_export.tasks.base import Sums
from lzu_export.tasks.registry import find_task


class Tally:
    """Adds up the agreement of one engine with a reference over frames."""

    def __init__(self, task: str) -> None:
        """Nothing is counted yet.

        Raises:
            LzuError: there is no such task.
        """
        self._task = find_task(task)
        self._sums = np.zeros(len(Sums._fields))

    def add(self, mine: Any, theirs: Any, weight: float = 1.0) -> None:
        """Count one frame's predictions.

        Args:
            mine: of the engine, as the task's predictor returns them.
            theirs: of the reference.
            weight: how much a difference counts, from 0 to 1, see `Reference.strength`.
        """
        own, partnered, everything, count = self._task.agreement(mine, theirs)
        own, everything = (partnered + weight * (each - partnered) for each in (own, everything))
        self._sums += np.array((own, partnered, everything, count))

    def result(self) -> Agreement:
        """What it came to."""
        compared = self._task.compared
        own, partnered, everything, count = self._sums.tolist()
        if not count:  # the reference finds nothing at all: there is nothing to agree on
            return Agreement(scores=1.0, matched=1.0, count=0, compared=compared)
        return Agreement(
            scores=own / partnered if partnered else 0.0,
            matched=partnered / everything if everything else 0.0,
            count=int(count),
            compared=compared,
        )

    def state(self) -> NDArray[np.float64]:
        """What was added up, for `restore`."""
        return self._sums.copy()

    def restore(self, state: NDArray[np.float64]) -> None:
        """Go on from there."""
        self._sums = np.array(state, np.float64).reshape(len(Sums._fields))


class Agreements:
    """Watches an evaluation: each predictor's agreement with one of them, see `evaluate`."""

    def __init__(self, recipe: Recipe, reference: str, others: Sequence[str]) -> None:
        """`reference` and `others` are names of predictors of the recipe's task."""
        self.reference = reference
        self._tallies = {name: Tally(recipe.task) for name in others if name != reference}
        self._theirs: Sequence[Any] | None = None

    def add(self, name: str, predictions: Sequence[Any]) -> None:
        """Count the frames of a batch; the reference's predictions come before the others'.

        Raises:
            LzuError: they did not.
        """
        if name == self.reference:
            self._theirs = predictions
        elif name in self._tallies:
            if self._theirs is None:
                raise LzuError(f"{self.reference} is to be evaluated before {name}; put it first")
            for mine, theirs in zip(predictions, self._theirs, strict=True):
                self._tallies[name].add(mine, theirs)

    def state(self) -> dict[str, NDArray[Any]]:
        """What was added up, by place."""
        return {str(i): tally.state() for i, tally in enumerate(self._tallies.values())}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from there."""
        for i, tally in enumerate(self._tallies.values()):
            tally.restore(state[str(i)])

    def result(self) -> dict[str, Agreement]:
        """By name."""
        return {name: tally.result() for name, tally in self._tallies.items()}


def against_fp32(recipe: Recipe, names: Sequence[str]) -> Agreements | None:
    """Agreement of engines, by `target/precision`, with FP32's if that comes first among them."""
    if not names or not names[0].endswith("/fp32"):
        return None
    return Agreements(recipe, names[0], names)
