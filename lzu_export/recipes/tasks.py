"""Table of tasks.

A line of the table is all that a task needs outside its own folder. The table is here, and not
in `tasks`, because a recipe is validated by the class that its task names: reading a recipe must
find the task. Places are text and imported when a task is first named, so that no import points
upwards. `tasks.base` defines what a task is, and `tasks.registry` returns them.
"""

from pathlib import Path
from typing import Protocol

from lzu_export.recipes.recipe import Recipe
from lzu_export.support.registry import Registry


class RecipeTask(Protocol):
    """The part of a task that recipes need; see `tasks.base.Task` for all of it."""

    @property
    def recipe(self) -> type[Recipe]:
        """Class of the task's recipes."""

    @property
    def default_recipe(self) -> str | Path:
        """Recipe that the task's name stands for: a shipped recipe's name, or a path."""


TASKS: Registry[RecipeTask] = Registry(
    "task",
    {
        "det": "lzu_export.tasks.det.task:TASK",
        "seg": "lzu_export.tasks.seg.task:TASK",
        "det3d": "lzu_export.tasks.det3d.task:TASK",
        "generic": "lzu_export.tasks.generic.task:TASK",
    },
    group="lzu_export.tasks",
)
"""All tasks by name."""
