"""Recipe of any task: validated by the class of the task that it names, which alone is imported."""

from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias

from pydantic import BeforeValidator, SerializeAsAny

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


def _of_its_task(data: Any) -> Any:
    """Turn plain data into a recipe of its task's class; return anything else unchanged."""
    if not isinstance(data, Mapping):
        return data
    return recipe_class(data).model_validate(todays_recipe(data))


AnyRecipe: TypeAlias = Annotated[SerializeAsAny[Recipe], BeforeValidator(_of_its_task)]
"""Type of a field that contains a recipe of any task."""
