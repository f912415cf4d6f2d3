"""What the final outputs of a task are compared and judged by. No torch."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lzu_export.recipes import Recipe
from lzu_export.runtime.compare import Cut, candidate_difference

MAIN_METRICS = {"det": "AP"}
"""The metric of each task that limits and tables speak of."""


def compare_outputs(
    recipe: Recipe, value: Mapping[str, NDArray[Any]], reference: Mapping[str, NDArray[Any]]
) -> dict[str, float]:
    """Worst relative difference of each of the task's final outputs over a batch."""
    worst: dict[str, float] = {}
    for i in range(recipe.batch):
        # Where no candidate would become a detection, the best ones are compared all the same.
        best = float(np.max(reference["scores"][i]))
        differences = candidate_difference(
            {name: array[i] for name, array in value.items()},
            {name: array[i] for name, array in reference.items()},
            [Cut(*pair) for pair in zip(recipe.candidates, recipe.entries, strict=True)],
            floor=min(recipe.postprocess.score_threshold, best / 2),
        )
        worst = {name: max(worst.get(name, 0.0), d) for name, d in differences.items()}
    return worst
