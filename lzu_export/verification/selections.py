"""Compare a network that selects by rank at the entries that PyTorch selected. No torch.

Two-stage detectors such as RT-DETR pass on the candidates of the highest scores. Among nearly equal
scores, rounding decides which these are and in which order, and all later values follow from that.
So an engine's own selection is compared by its scores, and its outputs at PyTorch's selection.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lzu_export.support.session import Session

FIGURES = 3
"""Outputs that `graph.selection.give_selections` adds for each selection."""


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
            The outputs; and for each selection the relative deviation of the scores that changes
            the engine's selection into PyTorch's, see `deviation`.
        """
        given = {name: selections[name] for name in self.names}
        values = self.session.run({**inputs, **given})
        outputs = list(values)[: len(values) - FIGURES * len(self.names)]
        figures = list(values.values())[len(outputs) :]
        return {name: values[name] for name in outputs}, {
            name: deviation(*figures[FIGURES * i : FIGURES * (i + 1)])
            for i, name in enumerate(self.names)
        }


def deviation(given: NDArray[Any], own: NDArray[Any], largest: NDArray[Any]) -> float:
    """Compute the relative deviation of scores that makes an engine select PyTorch's entries.

    It is half the largest gap, since the scores of both can deviate, divided by the largest
    magnitude; 0 if both select the same entries.

    Args:
        given: the engine's scores of the entries that PyTorch selected.
        own: its scores of the entries that it selects itself, of the same shape and order.
        largest: largest magnitude of all its scores.
    """
    gap = float(np.abs(given.astype(np.float64) - own).max(initial=0.0))
    return gap / 2 / float(largest) if gap else 0.0
