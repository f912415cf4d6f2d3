"""Make the predictor of a bundle's task, without torch."""

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from lzu_export.recipes import Recipe
from lzu_export.runtime.predictor import Predictor
from lzu_export.support.session import Session
from lzu_export.tasks.registry import find_task


def make_predictor(
    recipe: Recipe, session: Session, warp: Mapping[str, NDArray[Any]], **settings: Any
) -> Predictor:
    """Make the predictor of the recipe's task on an opened engine; for `settings` see its class."""
    return find_task(recipe.task).predictor(recipe, session, warp, **settings)
