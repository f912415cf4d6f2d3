"""Find tasks by name; their table is in `recipes.tasks`, which gives the reason for that."""

from typing import cast

from lzu_export.recipes.tasks import TASKS
from lzu_export.tasks.base import Task


def find_task(name: str) -> Task:
    """Return the task of a name.

    Raises:
        LzuError: there is no such task, or the package that announces it does not import.
    """
    return cast(Task, TASKS.find(name))


def all_tasks() -> list[Task]:
    """Return every task, this package's first.

    Raises:
        LzuError: a package that announces a task does not import.
    """
    return [find_task(name) for name in TASKS.names()]


def register_task(task: Task) -> None:
    """Make a task known in this process; a later task of the same name replaces it."""
    TASKS.register(task.name, task)


def forget_task(name: str) -> None:
    """Remove a task that `register_task` added."""
    TASKS.forget(name)
