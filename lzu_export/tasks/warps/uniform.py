"""Compute the knots of the uniform variant, which are the identity warp."""

from lzu_export.recipes import Recipe
from lzu_export.tasks.warps.sources import KnotSource
from lzu_export.warp.saliency import Array, uniform_saliency


class Uniform(KnotSource):
    """Source that samples every place alike."""

    key = "variant"

    def applies(self, recipe: Recipe) -> bool:
        """Return whether the variant is `uniform`."""
        return recipe.variant == "uniform"

    def saliency(self, recipe: Recipe) -> Array:
        """Return a constant saliency."""
        return uniform_saliency(recipe.warp.lattice)

    def describe(self, recipe: Recipe) -> str:
        """Return the description, which is the same for every recipe."""
        return "nothing: every place alike"
