"""Targets and precisions of a recipe that are possible on this machine."""

from lzu_export.recipes import Recipe
from lzu_export.support.checkout import option
from lzu_export.support.progress import Reporter
from lzu_export.targets.registry import DEFAULT_TARGET, find


def for_this_machine(recipe: Recipe, report: Reporter) -> Recipe:
    """Return the recipe without targets that are not installed, unless no target would be left."""
    others = [each for each in recipe.targets if each != DEFAULT_TARGET]
    missing = [each for each in others if find(each).version() is None]
    kept = tuple(each for each in recipe.targets if each not in missing)
    if not missing or not kept:
        return recipe
    for each in missing:
        report.note(f"  {each} is not installed and left out (extra {find(each).extra})")
    return recipe.model_copy(update={"targets": kept})


def with_frames(recipe: Recipe, report: Reporter) -> Recipe:
    """Return the recipe without INT8 if it has no calibration frames and other precisions."""
    kept = tuple(each for each in recipe.precision if each != "int8")
    if recipe.calibration.frames is not None or not kept or kept == recipe.precision:
        return recipe
    frames = option("calibration", "FOLDER")
    report.note(f"  int8 is left out: it needs frames of the training set ({frames})")
    return recipe.model_copy(update={"precision": kept})
