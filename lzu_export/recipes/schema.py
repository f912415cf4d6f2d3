"""The schema of all recipes: what tasks share, and a class for each task."""

from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias

from pydantic import Field

from lzu_export.recipes.boxes import BoxWarpSettings, Feedback
from lzu_export.recipes.det import DetPostprocess, DetRecipe
from lzu_export.recipes.det3d import Det3dPostprocess, Det3dRecipe
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
    KeepHigh,
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
    "KeepHigh",
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

TASKS: dict[str, type[Recipe]] = {"det": DetRecipe, "seg": SegRecipe, "det3d": Det3dRecipe}
"""The class of a task's recipes."""

AnyRecipe: TypeAlias = Annotated[DetRecipe | SegRecipe | Det3dRecipe, Field(discriminator="task")]
"""For what contains a recipe of any task."""


def recipe_class(data: Mapping[str, Any]) -> type[Recipe]:
    """The class that plain data names by its task.

    Raises:
        ValueError: it names none.
    """
    if "task" not in data:
        raise ValueError("the key task is missing; add it")
    task = data["task"]
    if not isinstance(task, str) or task not in TASKS:
        raise ValueError(f"task is {task!r} but must be one of {', '.join(TASKS)}; change it")
    return TASKS[task]
