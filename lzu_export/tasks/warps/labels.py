"""Compute knots from the training label maps, in which places where classes meet are salient."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lzu_export.errors import LzuError
from lzu_export.inputs.label_sets import without_information
from lzu_export.inputs.training import training_maps
from lzu_export.recipes import Recipe
from lzu_export.recipes.schema import LabelWarpSettings
from lzu_export.support.limits import IGNORED
from lzu_export.tasks.warps.sources import KnotSource, Prepared
from lzu_export.warp.boundary_saliency import boundary_density, density_saliency
from lzu_export.warp.saliency import Array


class LabelMaps(KnotSource):
    """Source that takes the mean boundary saliency of a folder of label maps."""

    key = "warp.saliency"
    tuned = ("background",)

    def applies(self, recipe: Recipe) -> bool:
        """Return whether the path is a folder and the task has label maps."""
        settings = recipe.warp
        if not isinstance(settings, LabelWarpSettings) or settings.saliency is None:
            return False
        return settings.saliency.is_dir()

    def saliency(self, recipe: Recipe) -> Array:
        """Read all maps, see `label_saliency`."""
        settings = recipe.warp
        assert isinstance(settings, LabelWarpSettings), "asked by `applies`"
        assert settings.saliency is not None, "asked by `applies`"
        return label_saliency(settings.saliency, recipe, settings)

    def prepared(self, recipe: Recipe) -> Prepared:
        """Read the density of boundaries in all maps, see `label_densities`."""
        assert recipe.warp.saliency is not None, "asked by `applies`"
        densities = list(label_densities(recipe.warp.saliency, recipe))

        def saliency(changed: Recipe) -> Array:
            settings = changed.warp
            assert isinstance(settings, LabelWarpSettings), "asked by `applies`"
            return density_saliency(
                densities, boundary=settings.boundary, background=settings.background
            )

        return Prepared(saliency)


SOURCE = LabelMaps()


def label_saliency(folder: Path, recipe: Recipe, settings: LabelWarpSettings) -> Array:
    """Compute the mean boundary saliency (h, w) of a folder's label maps, see `label_densities`."""
    return density_saliency(
        label_densities(folder, recipe),
        boundary=settings.boundary,
        background=settings.background,
    )


def label_densities(folder: Path, recipe: Recipe) -> Iterator[Array]:
    """Yield the density of boundaries (h, w) in each of a folder's label maps.

    The maps are those of `training_maps`, of which the recipe's view counts.

    Raises:
        LzuError: there are no label maps; one is unreadable, has another size or unknown labels; or
            no two classes meet in any of them, which is known after the last one.
    """
    found = training_maps(folder, recipe.classes)
    top, left = recipe.corner
    height, width = recipe.view
    seen: set[int] = set()
    meet = False
    for path in found.files:
        labels = found.read(path)
        if labels.shape != recipe.source:
            raise LzuError(
                f"label map {path} is {labels.shape[0]}x{labels.shape[1]} but the recipe's source "
                f"{recipe.source[0]}x{recipe.source[1]}; make them equal"
            )
        view = labels[top : top + height, left : left + width]
        seen |= set(np.unique(view).tolist())
        density = boundary_density(view, recipe.warp.lattice, ignore=IGNORED)
        meet |= bool(density.any())
        yield density
    if not meet:
        if len(seen - {IGNORED}) < 2:
            raise LzuError(f"saliency {folder} {without_information(seen, recipe.classes)}")
        raise LzuError(
            f"saliency {folder} holds one class in each of its label maps, so that no two meet; "
            "give maps with boundaries between classes"
        )
