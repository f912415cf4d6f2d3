"""Recipe of any task: validated by the class of the task that it names, which alone is imported."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from pydantic import AfterValidator

from lzu_export.recipes.former_keys import todays_recipe
from lzu_export.recipes.recipe import Recipe
from lzu_export.recipes.tasks import TASKS


def recipe_class(data: Mapping[str, Any]) -> type[Recipe]:
    """Return the recipe class for the task that plain data names.

    Raises:
        ValueError: the data names no known task.
    """
    if "task" not in data:
        raise ValueError("the key task is missing; add it")
    task = data["task"]
    if not isinstance(task, str) or task not in TASKS:
        known = ", ".join(TASKS.names())
        raise ValueError(f"task is {task!r} but must be one of {known}; change it")
    return TASKS.find(task).recipe


def _of_its_task(data: Any) -> Recipe:
    """Turn plain data into a recipe of its task's class; return a recipe unchanged."""
    if isinstance(data, Recipe):
        return data
    if not isinstance(data, Mapping):
        raise ValueError("a recipe must be a mapping; change it")
    return recipe_class(data).model_validate(todays_recipe(data))


if TYPE_CHECKING:
    AnyRecipe: TypeAlias = Recipe
else:  # pydantic would build the base class's schema too, which validates nothing
    AnyRecipe = Annotated[Any, AfterValidator(_of_its_task)]
"""Type of a field that contains a recipe of any task."""
