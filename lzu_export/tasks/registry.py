"""Tasks by name; the table of them is `recipes.tasks`, which says why it stands there."""

from typing import cast

from lzu_export.recipes.tasks import TASKS
from lzu_export.tasks.base import Task


def find_task(name: str) -> Task:
    """The task of a name.

    Raises:
        LzuError: there is none, or the package that announces it does not import.
    """
    return cast(Task, TASKS.find(name))


def all_tasks() -> list[Task]:
    """Every task: those of this package first.

    Raises:
        LzuError: a package that announces one does not import.
    """
    return [find_task(name) for name in TASKS.names()]


def register_task(task: Task) -> None:
    """Let recipes say `task: NAME` in this process; a later task of the same name replaces it."""
    TASKS.register(task.name, task)


def forget_task(name: str) -> None:
    """Take back what `register_task` added."""
    TASKS.forget(name)
