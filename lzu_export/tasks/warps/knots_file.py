"""Read knots from a file, where they were computed elsewhere."""

from pathlib import Path

from lzu_export.errors import LzuError
from lzu_export.recipes import Recipe
from lzu_export.support.files.arrays import read_npz
from lzu_export.tasks.warps.sources import KnotSource
from lzu_export.warp.grids import PLANE_KNOTS
from lzu_export.warp.saliency import Array, uniform_saliency
from lzu_export.warp.warp import Knots, check_named_knots


class KnotsFile(KnotSource):
    """Source that reads knots by name from a `.npz` file."""

    key = "warp.knots"
    has_saliency = False

    def applies(self, recipe: Recipe) -> bool:
        """Return whether the recipe names a file of knots."""
        return recipe.warp.knots is not None

    def saliency(self, recipe: Recipe) -> Array:
        """Return a constant saliency: the knots follow from none."""
        return uniform_saliency(recipe.warp.lattice)

    def knots(self, recipe: Recipe, saliency: Array) -> Knots:
        """Read the knots.

        Raises:
            LzuError: the file cannot be read, or its knots are not finite, do not increase, or are
                of the other kind than `warp.separable` says.
        """
        path = recipe.warp.knots
        assert path is not None, "asked by `applies`"
        found = read_knots(path)
        if (PLANE_KNOTS[0] in found) == recipe.separable:
            kind = "of one on the plane" if recipe.separable else "of a separable warp"
            wanted = "false" if recipe.separable else "true"
            raise LzuError(f"{path} holds knots {kind}; set warp.separable to {wanted}")
        return found

    def describe(self, recipe: Recipe) -> str:
        """Name the file."""
        assert recipe.warp.knots is not None, "asked by `applies`"
        return f"knots {recipe.warp.knots.name}"


SOURCE = KnotsFile()


def read_knots(path: Path) -> dict[str, Array]:
    """Read the knots of a `.npz` file by name; its other arrays are left alone.

    Raises:
        LzuError: the file cannot be read, or its knots are no numbers, not finite, or decrease.
    """
    arrays = read_npz(path, remedy="give a .npz file of knots")
    named = {name: each for name, each in arrays.items() if name.startswith("knots")}
    for name, each in named.items():
        if each.dtype.kind not in "fiu":
            raise LzuError(f"{path} holds {name} of type {each.dtype}; give numbers")
    try:
        return check_named_knots(named)
    except LzuError as error:
        raise LzuError(f"{path}: {error}") from error
