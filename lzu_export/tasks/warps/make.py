"""Make a recipe's warp from its settings."""

from lzu_export.errors import LzuError
from lzu_export.recipes import Recipe
from lzu_export.support.checkout import option
from lzu_export.support.registry import Registry
from lzu_export.tasks.warps.knots_file import SOURCE as KNOTS_FILE
from lzu_export.tasks.warps.sources import KnotSource, recipe_knots, refuse_flat
from lzu_export.tasks.warps.uniform import Uniform
from lzu_export.warp.saliency import Array, mix, uniform_saliency
from lzu_export.warp.warp import Knots, Warp, WarpGeometry, knot_lattice

UNIFORM = Uniform()
SOURCES: Registry[KnotSource] = Registry(
    "source of knots",
    {
        "knots": "lzu_export.tasks.warps.knots_file:SOURCE",
        "logits": "lzu_export.tasks.warps.logits:SOURCE",
        "boxes": "lzu_export.tasks.warps.boxes:SOURCE",
        "labels": "lzu_export.tasks.warps.labels:SOURCE",
        "map": "lzu_export.tasks.warps.map_file:SOURCE",
    },
    group="lzu_export.knot_sources",
)
"""Sources of fixed knots. The first one that applies to a recipe is used: registered and installed
sources are tried first, then the table's in its order."""


def make_warp(recipe: Recipe) -> Warp:
    """Compute the recipe's warp: the identity for `uniform`, else from its source of knots.

    The warp of an adaptive variant is the one that applies without boxes, and that of an external
    one holds until the host gives knots. Their tables are not written into the graph, but the
    saliency of an adaptive one is mixed into each frame's.

    Raises:
        LzuError: no saliency is given, or it cannot be read or does not fit.
    """
    if recipe.takes_knots:
        saliency = uniform_saliency(recipe.warp.lattice)
        return Warp.of(constant_knots(recipe), warp_geometry(recipe), saliency)
    if recipe.adapts:
        saliency = uniform = uniform_saliency(recipe.warp.lattice)
        if recipe.warp.mix < 1:
            saliency = read_saliency(recipe)
        start = mix(saliency / saliency.sum(), uniform / uniform.sum(), recipe.warp.mix)
        return Warp.of(recipe_knots(recipe, start), warp_geometry(recipe), saliency)
    if recipe.variant == "uniform":
        source: KnotSource = UNIFORM
        saliency = source.saliency(recipe)
    else:
        source = fixed_source(recipe)
        saliency = read_saliency(recipe)
    return Warp.of(source.knots(recipe, saliency), warp_geometry(recipe), saliency)


def constant_knots(recipe: Recipe) -> Knots:
    """Return the knots of an external warp until the host gives others: a file's, or the identity.

    Raises:
        LzuError: the file cannot be read, or its knots do not fit the recipe.
    """
    lattice = recipe.warp.lattice
    if not KNOTS_FILE.applies(recipe):
        return recipe_knots(recipe, uniform_saliency(lattice))
    knots = KNOTS_FILE.knots(recipe, uniform_saliency(lattice))
    found = knot_lattice(knots)
    if found != lattice:
        raise LzuError(
            f"{recipe.warp.knots} holds {found[0]}x{found[1]} knots but warp.lattice is "
            f"{lattice[0]}x{lattice[1]}; set warp.lattice to [{found[0]}, {found[1]}]"
        )
    return knots


def warp_geometry(recipe: Recipe) -> WarpGeometry:
    """Return the picture, canvas and levels that the recipe's fixed warp samples.

    There is no unzoom for an adaptive warp, whose knots come with each frame, nor for the uniform
    variant, unless the recipe asks for a finer map than the level's.
    """
    settings = recipe.warp
    uniform = recipe.variant == "uniform"
    stays = recipe.adapts or (uniform and recipe.unzoom_scale == 1)
    return WarpGeometry(
        picture=recipe.span,
        canvas=recipe.canvas,
        levels=() if stays else recipe.levels,
        scale=recipe.unzoom_scale,
        geometry=settings.geometry,
        unfilled=() if uniform else settings.unfilled or (),
        antialias=recipe.sampler == "antialiased" and not recipe.adapts,
    )


def fixed_source(recipe: Recipe) -> KnotSource:
    """Return the source of the recipe's fixed knots.

    Raises:
        LzuError: the recipe names no source.
    """
    for source in SOURCES.others_first():
        if source.applies(recipe):
            return source
    made_from = recipe.warp.made_from
    files = "a .npy map" if made_from is None else f"a .npy map or to {made_from}"
    raise LzuError(
        f"the fixed warp needs a saliency: set warp.saliency ({option('saliency', 'FILE')}) to "
        f"{files}, or warp.logits to the name of learned ones in the checkpoint"
    )


def read_saliency(recipe: Recipe) -> Array:
    """Return the recipe's fixed saliency (h, w): a map, or made from boxes, label maps or logits.

    Logits are in the checkpoint, and reading them imports torch.

    Raises:
        LzuError: no source is given, the file or tensor cannot be read, the map does not have the
            lattice's shape, or it is the same everywhere.
    """
    source = fixed_source(recipe)
    saliency = source.saliency(recipe)
    if source.has_saliency:
        refuse_flat(saliency, source.describe(recipe))
    return saliency


def warp_source(recipe: Recipe) -> str:
    """Describe the source of the warp, for a manifest."""
    settings = recipe.warp
    named = [source for source in SOURCES.others_first() if source.applies(recipe)]
    fixed = (named or [UNIFORM])[0].describe(recipe)
    if not recipe.adapts:
        return UNIFORM.describe(recipe) if recipe.variant == "uniform" else fixed
    if recipe.takes_knots:
        return f"knots of the host, at first {settings.knots.name if settings.knots else 'even'}"
    looks = "boxes of the frame before"
    if settings.network is not None:
        looks = f"saliency network, ResNet-{settings.network.depth}, on each frame"
    return looks if settings.mix == 1 else f"{looks} (share {settings.mix:g}) and {fixed}"
