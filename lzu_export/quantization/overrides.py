"""Calibration settings that differ from a bundle's recipe."""

from dataclasses import dataclass

from lzu_export.errors import LzuError
from lzu_export.inputs.frame_sources import named_frames
from lzu_export.quantization.calibration import check_method
from lzu_export.quantization.ranges import recipe_frames
from lzu_export.recipes import Recipe


@dataclass(frozen=True)
class CalibrationOverrides:
    """Calibration settings that replace those of a bundle's recipe; None keeps the recipe's."""

    frames: str | None = None
    count: int | None = None
    seed: int | None = None
    method: str | None = None
    percentile: float | None = None

    @property
    def options(self) -> list[str]:
        """Names of the fields that are set."""
        return [name for name, value in vars(self).items() if value is not None]


def with_overrides(recipe: Recipe, overrides: CalibrationOverrides) -> Recipe:
    """Return a bundle's recipe with other calibration settings.

    Raises:
        LzuError: no frames are named, or only by a path that the bundle does not hold; the method
            or percentile is unknown; or the frames cannot be read.
    """
    given = {name: getattr(overrides, name) for name in overrides.options}
    settings = recipe.calibration.model_copy(update={"cache": None, **given})
    if overrides.percentile is not None and settings.method != "percentile":
        raise LzuError(
            f"--percentile belongs to the method percentile, not to {settings.method}; leave it "
            "out, or add --method percentile"
        )
    check_method(settings.method, settings.percentile)
    if settings.frames is None:
        raise LzuError(
            "the bundle's recipe names no frames to calibrate on; name some of the training set "
            "(--calibration)"
        )
    if overrides.frames is None and settings.frames not in named_frames():
        raise LzuError(
            f"the bundle's recipe calibrates on {settings.frames}, whose path a bundle does not "
            "hold; give it (--calibration)"
        )
    changed: Recipe = recipe.model_copy(update={"calibration": settings})
    recipe_frames(changed)  # raises before any work is done
    return changed
