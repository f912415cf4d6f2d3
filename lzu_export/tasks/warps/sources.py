"""Base class of the sources from which the fixed part of a warp is made. No torch."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, NamedTuple

import numpy as np

from lzu_export.errors import LzuError
from lzu_export.recipes import Recipe
from lzu_export.warp.saliency import Array
from lzu_export.warp.warp import Knots, saliency_knots

FLAT = 1e-9
"""Relative spread of a saliency up to which it is only rounding, and the saliency constant."""


class Prepared(NamedTuple):
    """Data of a saliency that were read."""

    saliency: Callable[[Recipe], Array]
    """Function that makes the saliency (h, w) of the data, for recipes that differ from the one
    they were read for only in the settings that the source lists as `tuned`."""
    boxes: Array | None = None
    """Boxes (n, 4) that the saliency is made from, x1, y1, x2, y2 in pixels of the recipe's view;
    None if it is made from something else."""


class KnotSource(ABC):
    """Computes the knots of a fixed warp, and the saliency that adaptive warps mix in.

    A new source is a module with a subclass and one line in `lzu_export.tasks.warps.SOURCES`. A
    separate package announces an instance under the entry point `lzu_export.knot_sources`. Forward
    and inverse tables follow from the knots alone, so nothing else changes. A source with a
    saliency implements `saliency`; a source without one, such as a crop, overrides `knots`, too.
    """

    key: ClassVar[str]
    """Recipe key that chooses this source, such as `warp.logits`."""
    has_saliency: ClassVar[bool] = True
    """Whether the knots follow from a saliency; otherwise `saliency` returns a constant one."""
    tuned: ClassVar[tuple[str, ...]] = ()
    """Settings of the recipe's section `warp` that shape the saliency made from the same data."""

    @abstractmethod
    def applies(self, recipe: Recipe) -> bool:
        """Return whether the recipe asks for this source."""

    @abstractmethod
    def saliency(self, recipe: Recipe) -> Array:
        """Return the saliency (h, w) on the recipe's lattice: finite and not negative.

        Raises:
            LzuError: the saliency cannot be read or does not fit the recipe.
        """

    def prepared(self, recipe: Recipe) -> Prepared:
        """Read the data of the saliency once, so that many values of `tuned` can be tried.

        Raises:
            LzuError: the data cannot be read or do not fit the recipe.
        """
        saliency = self.saliency(recipe)
        return Prepared(lambda _: saliency)

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
