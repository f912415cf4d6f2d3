"""Find the task's layout in which a data set is stored on disk.

Each task lists its layouts (`tasks.base.Task.layouts`) as text, since this package may import
`tasks` but not the reverse: there is no table of layouts here. The set that a layout opens brings
its metric and scorer.
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
    """One way in which frames and truth of a task are stored on disk."""

    what: str
    """Subject and verb of the refusal of another task's recipe, such as `nuScenes is`."""
    is_here: Callable[[Path], bool]
    """Returns whether a path has this layout; reads no image."""
    open: Callable[[Path, int | None, Any], EvaluationSet]
    """Opens the set at a path, with at most so many frames, for a recipe of the task or None.

    Raises:
        LzuError: files are missing or damaged, or the classes differ from the recipe's.
    """
    last: bool = False
    """Whether the layout is tried only where no other layout is recognised."""
    private: bool = False
    """Whether the layout is tried for recipes of its own task only."""


def open_path(path: str, task: str, frames: int | None, recipe: Recipe | None) -> EvaluationSet:
    """Open the data set at a path after finding its layout.

    Args:
        path: path of a file or a folder.
        task: name of the task.
        frames: largest number of frames.
        recipe: recipe of the task, whose classes the labels index; by default the set's own.

    Raises:
        LzuError: the set is of another task, or does not open.
    """
    # A layout is always found: the last one of segmentation takes any folder.
    owner, layout = next(each for each in _in_order(task) if each[1].is_here(Path(path)))
    if owner.name != task:
        raise LzuError(
            f"the evaluation set {path} belongs to task {owner.name}, as {layout.what}, but the "
            f"recipe to {task}; give another set, demo, or none"
        )
    return layout.open(Path(path), frames, recipe)


def _in_order(task: str) -> Iterator[tuple[Task, Layout]]:
    """Yield all layouts with their tasks: this task's first, and `last` ones at the end."""
    tasks = sorted(all_tasks(), key=lambda each: each.name != task)
    found = [(each, cast(Layout, load_object(place))) for each in tasks for place in each.layouts]
    found = [(owner, each) for owner, each in found if owner.name == task or not each.private]
    yield from (each for each in found if not each[1].last)
    yield from (each for each in found if each[1].last)
