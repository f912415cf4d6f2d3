"""How far the final outputs of a task are from PyTorch's. No torch."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lzu_export.errors import LzuError
from lzu_export.recipes import Recipe
from lzu_export.recipes.schema import Det3dRecipe, DetRecipe, SegRecipe
from lzu_export.runtime.compare import (
    NO_SCALE,
    Cut,
    Scale,
    candidate_difference,
    choice_difference,
    difference_3d,
    relative_difference,
)

Outputs = Mapping[str, NDArray[Any]]


def compare_outputs(
    recipe: Recipe,
    value: Outputs,
    reference: Outputs,
    usual: Mapping[str, Scale] = MappingProxyType({}),
) -> dict[str, float]:
    """Worst relative difference of each of the task's final outputs over a batch.

    `reference` holds PyTorch's `margins` besides, where outputs are choices. Scores and logits that
    are smaller than `usual` are taken to be as large.

    Raises:
        LzuError: an output is missing from the reference, or of another number of frames.
    """
    compare: dict[str, Callable[[Any, Outputs, Outputs], dict[str, float]]] = {
        "det": _boxes,
        "seg": _labels,
        "det3d": _boxes_3d,
    }
    for name, array in value.items():
        # Knots are outputs, too; as arrows they are compared already.
        if name in reference and reference[name].shape[:1] != array.shape[:1]:
            raise _missing(name, len(array))
    worst: dict[str, float] = {}
    for i in range(recipe.batch):
        mine = {name: array[i] for name, array in value.items()}
        theirs = {name: array[i] for name, array in reference.items()}
        try:
            differences = compare[recipe.task](recipe, mine, theirs)
        except KeyError as error:
            raise _missing(str(error.args[0]), recipe.batch) from error
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


def _boxes(recipe: DetRecipe, value: Outputs, reference: Outputs) -> dict[str, float]:
    return candidate_difference(
        value, reference, _cuts(recipe), floor=_floor(recipe, reference["scores"])
    )


def _labels(recipe: SegRecipe, value: Outputs, reference: Outputs) -> dict[str, float]:
    found = {
        "labels": choice_difference(value["labels"], reference["labels"], reference["margins"])
    }
    if recipe.postprocess.logits:
        found["logits"] = relative_difference(value["logits"], reference["logits"])
    return found


def _boxes_3d(recipe: Det3dRecipe, value: Outputs, reference: Outputs) -> dict[str, float]:
    return difference_3d(value, reference, _cuts(recipe), floor=_floor(recipe, reference["scores"]))


def _cuts(recipe: DetRecipe | Det3dRecipe) -> list[Cut]:
    return [Cut(*pair) for pair in zip(recipe.candidates, recipe.entries, strict=True)]


def _floor(recipe: DetRecipe | Det3dRecipe, scores: NDArray[Any]) -> float:
    # Where no candidate would become a detection, the best ones are compared all the same.
    return min(recipe.postprocess.score_threshold, float(np.max(scores)) / 2)
