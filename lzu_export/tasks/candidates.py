"""Select the candidates of a detector that are compared with PyTorch's."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lzu_export.recipes.det import DetRecipe
from lzu_export.recipes.det3d import Det3dRecipe
from lzu_export.runtime.compare import Cut


def cuts(recipe: DetRecipe | Det3dRecipe) -> list[Cut]:
    """How many candidates of how many entries the decode keeps of every level."""
    return [Cut(*pair) for pair in zip(recipe.candidates, recipe.entries, strict=True)]


def floor(recipe: DetRecipe | Det3dRecipe, scores: NDArray[Any]) -> float:
    """The score from which on PyTorch's candidates are compared.

    Where no candidate would become a detection, the best ones are compared all the same.
    """
    return min(recipe.postprocess.score_threshold, float(np.max(scores)) / 2)
