"""Stand-ins for recipes with a named post-processing."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from lzu_export.recipes.det import DetRecipe
from lzu_export.recipes.postprocessing import Postprocess, RawPostprocess
from lzu_export.recipes.tasks import TASKS
from lzu_export.runtime.choice import Choice
from lzu_export.runtime.postprocessing.make import make_postprocess
from lzu_export.warp.geometry import Level, canvas_to_source, level_sizes, padded_size


class OwnRecipe(DetRecipe):
    """A recipe that takes every kind of post-processing."""

    task: Literal["own"]  # type: ignore[assignment]
    postprocess: Postprocess = RawPostprocess()  # type: ignore[assignment]


@contextmanager
def own_task() -> Iterator[None]:
    """Register a task `own`, whose recipes take every kind of post-processing."""
    task: Any = SimpleNamespace(recipe=OwnRecipe, default_recipe="own")
    TASKS.register("own", task)
    try:
        yield
    finally:
        TASKS.forget("own")


@dataclass(frozen=True)
class Setup:
    """The part of a recipe that post-processings read."""

    postprocess: Any
    source: tuple[int, int] = (130, 210)
    view: tuple[int, int] = (120, 200)
    corner: tuple[int, int] = (10, 4)
    canvas: tuple[int, int] = (60, 100)
    classes: tuple[str, ...] = ("near", "far", "sky")
    strides: tuple[int, ...] = (8, 16)

    @property
    def network_input(self) -> tuple[int, int]:
        return padded_size(self.canvas)

    @property
    def canvas_step(self) -> tuple[float, float]:
        return canvas_to_source(self.canvas, self.view)

    @property
    def levels(self) -> list[Level]:
        return level_sizes(self.canvas, self.strides)


def setup(section: Mapping[str, Any], **changes: Any) -> Setup:
    """Make the stand-in with a section given as in a recipe."""
    return Setup(TypeAdapter(Postprocess).validate_python(dict(section)), **changes)


def process(
    section: Mapping[str, Any],
    outputs: Mapping[str, Any],
    choice: Choice | None = None,
    **changes: Any,
) -> Any:
    """Post-process one frame's outputs by a section given as in a recipe."""
    return make_postprocess(setup(section, **changes), choice or Choice())(outputs)


def framed(boxes: NDArray[Any], **changes: Any) -> NDArray[np.float64]:
    """Map boxes from the canvas to the frame by its pixels' centres, one coordinate at a time."""
    recipe = Setup(None, **changes)
    moved = np.array(boxes, np.float64)
    for column in range(4):
        axis = 1 - column % 2
        ratio = (recipe.view[axis] - 1) / (recipe.canvas[axis] - 1)
        moved[:, column] = (moved[:, column] - 0.5) * ratio + recipe.corner[axis] + 0.5
    return moved


def overlap(one: NDArray[Any], other: NDArray[Any]) -> float:
    """Compute the intersection over union of two boxes."""
    sides = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    inner = float(np.prod(sides.clip(0)))
    areas = [float(np.prod(each[2:] - each[:2])) for each in (one, other)]
    return inner / (sum(areas) - inner)
