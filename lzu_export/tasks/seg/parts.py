"""Build the parts of a segmentation model: PSPNet, and a decode to the class map of the view."""

from collections.abc import Sequence

from torch import Tensor, nn

from lzu_export.models.margins import choice_margin, magnitude
from lzu_export.models.pspnet import ClassMap, build_pspnet, inference_state
from lzu_export.recipes.schema import SegRecipe
from lzu_export.recipes.sections import Size
from lzu_export.tasks.assemble import Parts
from lzu_export.warp.tables import TablePair, label_tables

GROUPS = ("logits",)


def class_map_tables(recipe: SegRecipe) -> tuple[TablePair, Size]:
    """Return the tables that resample the map of logits to the view, and that map's size."""
    (level,) = recipe.levels
    height, width = (n * recipe.unzoom_scale for n in level.size)
    tables = label_tables(
        (height, width),
        level.stride / recipe.unzoom_scale,
        recipe.canvas,
        recipe.view,
        canvas_step=recipe.canvas_step,
        upsampling=recipe.postprocess.upsampling,
    )
    return tables, (height, width)


class Decode(nn.Module):
    """Decodes a map of logits to a class for each pixel of the view."""

    def __init__(self, recipe: SegRecipe) -> None:
        """Place the map of logits on the recipe's padded canvas."""
        super().__init__()
        tables, _ = class_map_tables(recipe)
        self.class_map = ClassMap(*tables)

    def forward(self, groups: Sequence[Sequence[Tensor]]) -> tuple[Tensor, Tensor]:
        """Decode a map of logits to logits B x classes x view and class indices B x view, int32."""
        ((logits,),) = groups
        resized, labels = self.class_map(logits)
        return resized, labels

    def margins(self, groups: Sequence[Sequence[Tensor]]) -> Tensor:
        """Compute the margin B x view, float32, of each pixel's class; see
        `margins.choice_margin`.
        """
        resized, _ = self(groups)
        return choice_margin(resized, 1, magnitude([resized]))


def parts(recipe: SegRecipe) -> Parts:
    """Make the parts of a segmentation model."""
    decode = Decode(recipe)
    # A network of the user's own takes the place; the PSPNet has no map of some of its strides.
    own = recipe.custom_model is not None
    with_logits = recipe.postprocess.logits
    return Parts(
        model=nn.Identity() if own else build_pspnet(recipe.model),
        prepare_state=inference_state,
        decode=decode,
        margins=decode.margins,
        groups=GROUPS,
        decoded=() if with_logits else ("logits",),
        outputs=("logits", "labels") if with_logits else ("labels",),
    )
