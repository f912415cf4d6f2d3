"""Base class of the sources from which the fixed part of a warp is made. No torch."""

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np

from lzu_export.errors import LzuError
from lzu_export.recipes import Recipe
from lzu_export.warp.saliency import Array
from lzu_export.warp.warp import Knots, saliency_knots

FLAT = 1e-9
"""Relative spread of a saliency up to which it is only rounding, and the saliency constant."""


class KnotSource(ABC):
    """Computes the knots of a fixed warp, and the saliency that adaptive warps mix in.

    A new source is a module with a subclass and one line in `lzu_export.tasks.warps.SOURCES`. A
    separate package announces an instance under the entry point `lzu_export.knot_sources`. Forward
    and inverse tables follow from the knots alone, so nothing else changes. A source with a
    saliency
    implements `saliency`; a source without one, such as a crop, overrides `knots`, too.
    """

    key: ClassVar[str]
    """Recipe key that chooses this source, such as `warp.logits`."""
    has_saliency: ClassVar[bool] = True
    """Whether the knots follow from a saliency; otherwise `saliency` returns a constant one."""

    @abstractmethod
    def applies(self, recipe: Recipe) -> bool:
        """Return whether the recipe asks for this source."""

    @abstractmethod
    def saliency(self, recipe: Recipe) -> Array:
        """Return the saliency (h, w) on the recipe's lattice: finite and not negative.

        Raises:
            LzuError: the saliency cannot be read or does not fit the recipe.
        """

    def knots(self, recipe: Recipe, saliency: Array) -> Knots:
        """Return the knots by name; by default they follow from the saliency.

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
        LzuError: the saliency is constant.
    """
    if is_flat(saliency):
        raise LzuError(
            f"{name} is the same everywhere, so that nothing is zoomed; give the "
            "one that the model was trained with, or export variant uniform"
        )
