"""A source of knots: what the fixed part of a warp is made of. No torch."""

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np

from lzu_export.errors import LzuError
from lzu_export.recipes import Recipe
from lzu_export.warp.saliency import Array
from lzu_export.warp.warp import Knots, saliency_knots

FLAT = 1e-9
"""Relative spread of a saliency below which it counts as constant: rounding, no more."""


class KnotSource(ABC):
    """Gives the knots of a fixed warp, and the saliency that adaptive warps mix in.

    A new source is a module with a subclass and one line in `lzu_export.tasks.warps.SOURCES`; a
    package of your own announces an instance under the entry point `lzu_export.knot_sources`.
    Forward and inverse tables follow from the knots alone, so nothing else changes. A source that
    has a saliency implements `saliency`; one that has none, such as a crop, overrides `knots`, too.
    """

    key: ClassVar[str]
    """The recipe key that chooses this source, such as `warp.logits`."""

    @abstractmethod
    def applies(self, recipe: Recipe) -> bool:
        """Return whether the recipe asks for this source."""

    @abstractmethod
    def saliency(self, recipe: Recipe) -> Array:
        """Return the saliency (h, w) on the recipe's lattice: finite and not negative.

        Raises:
            LzuError: it cannot be read or does not fit the recipe.
        """

    def knots(self, recipe: Recipe, saliency: Array) -> Knots:
        """Return the knots by name; by default those of the saliency.

        Raises:
            LzuError: the saliency has no warp.
        """
        return recipe_knots(recipe, saliency)

    def describe(self, recipe: Recipe) -> str:
        """Name the source in the manifest, such as `saliency train.json`."""
        assert recipe.warp.saliency is not None, "other sources name themselves"
        return f"saliency {recipe.warp.saliency.name}"


def recipe_knots(recipe: Recipe, saliency: Array) -> dict[str, Array]:
    """Return a saliency's knots by name, for the recipe's kind of warp."""
    settings = recipe.warp
    return saliency_knots(
        saliency, settings.fwhm, separable=recipe.separable, anti_crop=settings.anti_crop
    )


def is_flat(saliency: Array) -> bool:
    """Return whether a saliency is constant, so that it zooms nothing."""
    return bool(np.ptp(saliency) <= FLAT * saliency.max())


def refuse_flat(saliency: Array, name: str) -> None:
    """Refuse a constant saliency.

    Raises:
        LzuError: it is constant.
    """
    if is_flat(saliency):
        raise LzuError(
            f"{name} is the same everywhere, so that nothing is zoomed; give the "
            "one that the model was trained with, or export variant uniform"
        )
