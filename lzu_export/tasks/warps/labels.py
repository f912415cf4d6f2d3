"""Compute knots from the training label maps, in which places where classes meet are salient."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lzu_export.errors import LzuError
from lzu_export.inputs.label_sets import without_information
from lzu_export.inputs.training import training_maps
from lzu_export.recipes import Recipe
from lzu_export.recipes.schema import LabelWarpSettings
from lzu_export.support.limits import IGNORED
from lzu_export.tasks.warps.sources import KnotSource, is_flat
from lzu_export.warp.boundary_saliency import mean_boundary_saliency
from lzu_export.warp.saliency import Array


class LabelMaps(KnotSource):
    """Source that takes the mean boundary saliency of a folder of label maps."""

    key = "warp.saliency"

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


SOURCE = LabelMaps()


def label_saliency(folder: Path, recipe: Recipe, settings: LabelWarpSettings) -> Array:
    """Compute the mean boundary saliency (h, w) of a folder's label maps, see `training_maps`.

    Raises:
        LzuError: there are no label maps; one is unreadable, has another size or unknown labels; or
            no two classes meet in any of them.
    """
    found = training_maps(folder, recipe.classes)
    top, left = recipe.corner
    height, width = recipe.view
    seen: set[int] = set()

    def views() -> Iterator[NDArray[Any]]:
        for path in found.files:
            labels = found.read(path)
            if labels.shape != recipe.source:
                raise LzuError(
                    f"label map {path} is {labels.shape[0]}x{labels.shape[1]} but the recipe's "
                    f"source {recipe.source[0]}x{recipe.source[1]}; make them equal"
                )
            view = labels[top : top + height, left : left + width]
            seen.update(np.unique(view).tolist())
            yield view

    mean = mean_boundary_saliency(
        views(),
        settings.lattice,
        boundary=settings.boundary,
        background=settings.background,
        ignore=IGNORED,
    )
    if is_flat(mean) and settings.boundary != settings.background:
        if len(seen - {IGNORED}) < 2:
            raise LzuError(f"saliency {folder} {without_information(seen, recipe.classes)}")
        raise LzuError(
            f"saliency {folder} holds one class in each of its label maps, so that no two meet; "
            "give maps with boundaries between classes"
        )
    return mean
