"""Compute knots from learned logits, which are a tensor of the checkpoint."""

import difflib

from lzu_export.errors import LzuError
from lzu_export.recipes import Recipe
from lzu_export.support.checkout import option
from lzu_export.tasks.warps.sources import KnotSource
from lzu_export.warp.saliency import Array, softmax_saliency


class LearnedLogits(KnotSource):
    """Source that takes the softmax, over all cells, of a tensor of the checkpoint.

    Reading the tensor imports torch.
    """

    key = "warp.logits"

    def applies(self, recipe: Recipe) -> bool:
        """Return whether the recipe names a tensor of logits."""
        return recipe.warp.logits is not None

    def describe(self, recipe: Recipe) -> str:
        """Name the tensor."""
        return f"learned logits {recipe.warp.logits}"

    def saliency(self, recipe: Recipe) -> Array:
        """Read the logits.

        Raises:
            LzuError: there is no checkpoint, or it has no such tensor.
        """
        name = recipe.warp.logits
        assert name is not None, "asked by `applies`"
        path = recipe.checkpoint.get(recipe.variant)
        if path is None:
            raise LzuError(
                f"warp.logits {name} is a tensor of the checkpoint, but variant {recipe.variant} "
                f"has none; give one ({option('checkpoint', 'FILE')}), or set warp.saliency instead"
            )
        from lzu_export.models.checkpoint import load_state

        state = load_state(path)
        if name not in state:
            close = difflib.get_close_matches(name, state, n=1)
            hint = (
                f"; did you mean {close[0]}?"
                if close
                else "; name the tensor that holds the logits"
            )
            raise LzuError(f"checkpoint {path} has no tensor {name}, which warp.logits names{hint}")
        return softmax_saliency(
            state[name].double().numpy(),
            lattice=recipe.warp.lattice,
            name=f"the tensor {name} of checkpoint {path}",
        )


SOURCE = LearnedLogits()
