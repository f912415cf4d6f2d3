"""Compute knots from a saliency map in a file."""

from lzu_export.recipes import Recipe
from lzu_export.tasks.warps.sources import KnotSource
from lzu_export.warp.saliency import Array
from lzu_export.warp.saliency_file import load_saliency


class MapFile(KnotSource):
    """Source that reads a saliency map: .npy, or the released .pkl, read as data."""

    key = "warp.saliency"

    def applies(self, recipe: Recipe) -> bool:
        """Return whether a path is given; sources that read other paths come first."""
        return recipe.warp.saliency is not None

    def saliency(self, recipe: Recipe) -> Array:
        """Read the map.

        Raises:
            LzuError: the file cannot be read, or the map does not have the lattice's shape.
        """
        assert recipe.warp.saliency is not None, "asked by `applies`"
        return load_saliency(recipe.warp.saliency, recipe.warp.lattice)


SOURCE = MapFile()
