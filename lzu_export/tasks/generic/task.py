"""Define the task `generic`: any network, with its raw outputs or a named post-processing."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lzu_export.errors import LzuError
from lzu_export.recipes.generic import GenericRecipe
from lzu_export.tasks.base import Outputs, ShippedTask, Sums
from lzu_export.tasks.registry import find_task
from lzu_export.warp.grids import AXIS_KNOTS, PLANE_KNOTS
from lzu_export.warp.warp import Warp

if TYPE_CHECKING:
    from lzu_export.models.traced_model import TracedModel
    from lzu_export.tasks.assemble import Parts
    from lzu_export.tasks.present import Presenter


class Generic(ShippedTask):
    """Task of networks of users' own."""

    name = "generic"
    title = "A network of your own"
    recipe = GenericRecipe
    default_recipe = "generic"
    predictor_class = "lzu_export.runtime.generic:GenericPredictor"
    presenter_class = "lzu_export.tasks.generic.presenter:OutputPresenter"

    def parts(self, recipe: GenericRecipe) -> "Parts":
        """Refuse: the network is hooked as it is, without parts."""
        raise LzuError("a network of task generic has no parts; it is assembled whole")

    def assemble(self, recipe: GenericRecipe, warp: Warp, *, from_source: bool) -> "TracedModel":
        """Assemble the network with its hooks, see `generic.parts.assemble`."""
        from lzu_export.tasks.generic.parts import assemble

        return assemble(recipe, warp, from_source=from_source)

    def deviation(
        self, recipe: GenericRecipe, value: Outputs, reference: Outputs
    ) -> dict[str, float]:
        """Compare each output, see `compare.relative_difference`.

        The knots of a learned warp are compared as probe points.
        """
        from lzu_export.runtime.compare import relative_difference

        return {
            name: relative_difference(each, reference[name])
            for name, each in value.items()
            if name not in (*AXIS_KNOTS, *PLANE_KNOTS)
        }

    def agreement(self, mine: Any, theirs: Any) -> Sums:
        """Compare raw outputs by the engine's part of the reference: sums of a * b and of b * b.

        If an engine's values are all too small by a tenth, so is their ratio. Results of a user's
        own post-processing have nothing in common to compare and count as equal.
        """
        if not isinstance(theirs, dict):
            return Sums(1.0, 1.0, 1.0, 1)
        product = square = 0.0
        for name, reference in theirs.items():
            b = np.asarray(reference, np.float64).ravel()
            a = np.asarray(mine[name], np.float64).ravel()
            usual = float(np.square(b).sum()) or 1.0
            product += float(a @ b) / usual if np.any(b) else 1.0 - float(np.any(a))
            square += 1.0
        return Sums(product, square, square, len(theirs))

    def presenter(self, recipe: GenericRecipe, folder: Path, lowest: float) -> "Presenter":
        """Make the presenter that fits what the post-processing returns."""
        if recipe.scored_as != self.name:
            return find_task(recipe.scored_as).presenter(recipe, folder, lowest)
        return super().presenter(recipe, folder, lowest)


TASK = Generic()
