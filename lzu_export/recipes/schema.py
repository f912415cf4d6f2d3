"""Schema of all recipes: the base class, and a class for each task."""

from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias

from pydantic import BeforeValidator, SerializeAsAny

from lzu_export.recipes.boxes import BoxWarpSettings, Feedback
from lzu_export.recipes.det import DetPostprocess, DetRecipe
from lzu_export.recipes.det3d import Det3dPostprocess, Det3dRecipe
from lzu_export.recipes.former_keys import todays_recipe
from lzu_export.recipes.limits import (
    MatchLimits,
    MetricLimits,
    RegressionLimits,
    ScoreLimits,
    SignalLimits,
    Tolerances,
)
from lzu_export.recipes.recipe import PAD_MULTIPLE, Recipe
from lzu_export.recipes.sections import (
    Calibration,
    Crop,
    Evaluation,
    FolderName,
    HigherPrecision,
    Label,
    Lowering,
    LoweringSettings,
    Method,
    Normalisation,
    Precision,
    SaliencyNetworkSettings,
    Section,
    Size,
    Target,
    Untrained,
    Variant,
    WarpSettings,
    Window,
    check_distinct,
)
from lzu_export.recipes.seg import LabelWarpSettings, SegPostprocess, SegRecipe
from lzu_export.recipes.tasks import TASKS

__all__ = [
    "PAD_MULTIPLE",
    "AnyRecipe",
    "BoxWarpSettings",
    "Calibration",
    "Crop",
    "Det3dPostprocess",
    "Det3dRecipe",
    "DetPostprocess",
    "DetRecipe",
    "Evaluation",
    "Feedback",
    "FolderName",
    "HigherPrecision",
    "Label",
    "LabelWarpSettings",
    "Lowering",
    "LoweringSettings",
    "MatchLimits",
    "Method",
    "MetricLimits",
    "Normalisation",
    "Precision",
    "Recipe",
    "RegressionLimits",
    "SaliencyNetworkSettings",
    "ScoreLimits",
    "Section",
    "SegPostprocess",
    "SegRecipe",
    "SignalLimits",
    "Size",
    "Target",
    "Tolerances",
    "Untrained",
    "Variant",
    "WarpSettings",
    "Window",
    "check_distinct",
    "recipe_class",
]


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
