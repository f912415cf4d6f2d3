"""Finds out in which task's layout a data set lies on disk.

The layouts of a task are listed by the task (`tasks.base.Task.layouts`), as text, since this room
is above `tasks`: there is no table of layouts here. The metric and its scorer come with the set
that a layout opens.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, cast

from lzu_export.errors import LzuError
from lzu_export.evaluation.datasets import EvaluationSet
from lzu_export.recipes import Recipe
from lzu_export.support.registry import load_object
from lzu_export.tasks.base import Task
from lzu_export.tasks.registry import all_tasks


class Layout(NamedTuple):
    """One way in which frames and truth of a task lie on disk."""

    what: str
    """Subject and verb by which a recipe of another task is refused, such as `nuScenes is`."""
    is_here: Callable[[Path], bool]
    """Whether a path is laid out so; reads no image."""
    open: Callable[[Path, int | None, Any], EvaluationSet]
    """Opens the set of a path, at most so many frames of it, for a recipe of the task or None.

    Raises:
        LzuError: files are missing or damaged, or classes are other than the recipe's.
    """
    last: bool = False
    """Whether it is tried only where no other layout is recognised."""
    private: bool = False
    """Whether recipes of other tasks do not look for it."""


def open_path(path: str, task: str, frames: int | None, recipe: Recipe | None) -> EvaluationSet:
    """Open the data set at a path, whose layout is found out.

    Args:
        path: of a file or a folder.
        task: what is predicted.
        frames: at most so many frames.
        recipe: of the task, whose classes labels count; the set's own by default.

    Raises:
        LzuError: the set is of another task, or does not open.
    """
    # One is always found: the last layout of segmentation takes any folder.
    owner, layout = next(each for each in _in_order(task) if each[1].is_here(Path(path)))
    if owner.name != task:
        raise LzuError(
            f"the evaluation set {path} belongs to task {owner.name}, as {layout.what}, but the "
            f"recipe to {task}; give another set, demo, or none"
        )
    return layout.open(Path(path), frames, recipe)


def _in_order(task: str) -> Iterator[tuple[Task, Layout]]:
    """All layouts with their tasks: those of this task first, and those that are `last` last."""
    tasks = sorted(all_tasks(), key=lambda each: each.name != task)
    found = [(each, cast(Layout, load_object(place))) for each in tasks for place in each.layouts]
    found = [(owner, each) for owner, each in found if owner.name == task or not each.private]
    yield from (each for each in found if not each[1].last)
    yield from (each for each in found if each[1].last)
