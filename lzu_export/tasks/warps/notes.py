"""Write the notes by which a checkpoint records the warp that it was trained with."""

import hashlib

import numpy as np

from lzu_export.recipes import Recipe
from lzu_export.recipes.schema import BoxWarpSettings
from lzu_export.warp.saliency import Array


def warp_note(geometry: str, fwhm: float, saliency: Array) -> dict[str, str]:
    """Return the note on a fixed warp for the `meta` of a checkpoint trained with it."""
    return {
        "variant": "fixed",
        "geometry": geometry,
        "fwhm": f"{fwhm:g}",
        "saliency": hashlib.sha256(saliency.astype(np.float32).tobytes()).hexdigest(),
    }


def box_warp_note(
    variant: str, lattice: tuple[int, int], fwhm: float, amplitude: float, bandwidth: float
) -> dict[str, str]:
    """Return the note on a warp by previous boxes for the `meta` of a checkpoint."""
    return {
        "variant": variant,
        "geometry": "consistent",
        "lattice": "x".join(map(str, lattice)),
        "fwhm": f"{fwhm:g}",
        "amplitude": f"{amplitude:g}",
        "bandwidth": f"{bandwidth:g}",
    }


def trained_note(recipe: Recipe, saliency: Array) -> dict[str, str]:
    """Return the note on a recipe's warp for the `meta` of a checkpoint trained by it."""
    settings = recipe.warp
    note: dict[str, str] = {"variant": recipe.variant}
    if recipe.takes_knots:
        note |= {"geometry": settings.geometry}
    elif settings.network is not None and recipe.adapts:
        note |= {"geometry": settings.geometry, "fwhm": f"{settings.fwhm:g}"}
    elif recipe.follows_boxes and isinstance(settings, BoxWarpSettings):
        note = box_warp_note(
            recipe.variant,
            settings.lattice,
            settings.fwhm,
            settings.amplitude,
            settings.bandwidth,
        )
    if recipe.variant == "fixed":
        note = warp_note(settings.geometry, settings.fwhm, saliency)
    if not recipe.separable:
        note["separable"] = "false"
    if recipe.unzoom_scale > 1:
        note["unzoom_scale"] = str(recipe.unzoom_scale)
    return note
