"""Schema of all recipes: the base class, and a class for each task.

Modules that a device loads import from the modules below, for it needs the class of one task.
"""

from lzu_export.recipes.any_recipe import AnyRecipe, recipe_class
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
