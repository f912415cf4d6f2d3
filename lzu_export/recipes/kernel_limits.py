"""Refuse recipes whose warps are larger than the plugin library's kernels take.

A graph of standard operators has no such limits. But a bundle is made for every device, and on a
device the kernels of `plugins/` compute adaptive warps.
"""

from collections.abc import Iterator

from lzu_export.errors import LzuError
from lzu_export.recipes.boxes import BoxRecipe
from lzu_export.recipes.recipe import Recipe
from lzu_export.support import limits


def check_kernels(recipe: Recipe) -> None:
    """Refuse a recipe with an adaptive warp that a kernel does not take.

    Raises:
        LzuError: the recipe is beyond a limit; the message names the key, the limit and the remedy.
    """
    for sentence in beyond_kernels(recipe):
        raise LzuError(f"recipe {recipe.name}, variant {recipe.variant}: {sentence}")


def beyond_kernels(recipe: Recipe) -> Iterator[str]:
    """Yield one sentence, with the remedy, for each limit of a kernel that a recipe is beyond."""
    if not recipe.adapts:
        return
    if isinstance(recipe, BoxRecipe) and recipe.follows_boxes:
        yield from _beyond_boxes(recipe)
    if recipe.follows_boxes and recipe.separable and max(recipe.warp.lattice) > limits.MOST_LATTICE:
        yield _beyond(
            "lattice points on an axis", max(recipe.warp.lattice), limits.MOST_LATTICE,
            "make warp.lattice smaller",
        )  # fmt: skip
    if recipe.variant == "fovea":
        return  # it unzooms nothing
    if not recipe.separable:
        yield from _beyond_tiles(recipe)
    elif len(recipe.levels) > limits.MOST_LEVELS:
        yield _beyond(
            "feature levels", len(recipe.levels), limits.MOST_LEVELS, "lower model.num_outs"
        )


def _beyond_boxes(recipe: BoxRecipe) -> Iterator[str]:
    if recipe.warp.boxes > limits.MOST_BOXES:
        yield _beyond(
            "fed-back boxes", recipe.warp.boxes, limits.MOST_BOXES,
            f"lower warp.boxes to {limits.MOST_BOXES}",
        )  # fmt: skip
    candidates = sum(recipe.candidates)
    if candidates > limits.MOST_CANDIDATES:
        fitting = limits.MOST_CANDIDATES // len(recipe.candidates)
        yield _beyond(
            "candidates per frame", candidates, limits.MOST_CANDIDATES,
            f"lower postprocess.candidates_per_level to {fitting}",
        )  # fmt: skip


def _beyond_tiles(recipe: Recipe) -> Iterator[str]:
    rows, columns = (side - 1 for side in recipe.warp.lattice)
    if rows > limits.MOST_TILE_ROWS:
        yield _beyond(
            "rows of tiles between knots", rows, limits.MOST_TILE_ROWS,
            "give warp.lattice fewer rows",
        )  # fmt: skip
    elif rows * columns > limits.MOST_TILES:
        yield _beyond(
            "tiles between knots", rows * columns, limits.MOST_TILES, "make warp.lattice smaller"
        )


def _beyond(what: str, value: int, most: int, remedy: str) -> str:
    return f"it has {value} {what}, but the kernels of the plugins take {most} at most; {remedy}"
