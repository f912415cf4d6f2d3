"""Compare the final outputs of a task with PyTorch's. No torch."""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from lzu_export.errors import LzuError
from lzu_export.recipes import Recipe
from lzu_export.runtime.compare import NO_SCALE, Scale
from lzu_export.tasks.base import Outputs
from lzu_export.tasks.registry import find_task


def compare_outputs(
    recipe: Recipe,
    value: Outputs,
    reference: Outputs,
    usual: Mapping[str, Scale] = MappingProxyType({}),
) -> dict[str, float]:
    """Compute the worst relative difference of each of the task's final outputs over a batch.

    If outputs are choices, `reference` also holds PyTorch's `margins`. Scores and logits that are
    smaller than `usual` count as that large.

    Raises:
        LzuError: an output is missing from the reference, or has another number of frames there.
    """
    task = find_task(recipe.task)
    for name, array in value.items():
        # Knots are outputs, too, but they are already compared as probe points.
        if name in reference and reference[name].shape[:1] != array.shape[:1]:
            raise _missing(name, len(array))
    worst: dict[str, float] = {}
    for i in range(recipe.images):
        mine = {name: array[i] for name, array in value.items()}
        theirs = {name: array[i] for name, array in reference.items()}
        try:
            differences = task.deviation(recipe, mine, theirs)
        except KeyError as error:
            raise _missing(str(error.args[0]), recipe.images) from error
        for name, found in differences.items():
            difference = found
            if name in ("scores", "logits") and np.isfinite(found):
                own = float(np.abs(theirs[name]).max(initial=0.0))
                least = usual.get(name, NO_SCALE).largest
                difference *= (own or 1.0) / max(own, least) if least > own else 1.0
            worst[name] = max(worst.get(name, 0.0), difference)
    return worst


def _missing(name: str, frames: int) -> LzuError:
    return LzuError(
        f"the reference has no output {name} of {frames} frames; export or copy the bundle again"
    )
