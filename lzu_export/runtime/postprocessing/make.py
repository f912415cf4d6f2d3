"""Make the post-processing that a recipe names."""

from collections.abc import Callable
from typing import Any, cast

from lzu_export.runtime.choice import Choice
from lzu_export.runtime.postprocessing.context import Context, Postprocessing
from lzu_export.runtime.postprocessing.custom import Custom, Function
from lzu_export.runtime.predictor import NO_CHOICE
from lzu_export.support.registry import load_object

PLACE = "lzu_export.runtime.postprocessing"
MAKERS = {
    "raw": f"{PLACE}.raw:Raw",
    "yolo": f"{PLACE}.yolo:Yolo",
    "detr": f"{PLACE}.detr:Detr",
    "anchors": f"{PLACE}.anchors:Anchors",
    "labels": f"{PLACE}.labels:Labels",
    "custom": f"{PLACE}.custom:Custom",
}
"""Class of the post-processings of each kind in `recipes.postprocessing.KINDS`, as text, so that
only the recipe's own is imported."""


def make_postprocess(
    recipe: Any, choice: Choice = NO_CHOICE, function: Function | None = None
) -> Postprocessing:
    """Make the function that turns one frame's outputs into its result.

    Its result is `runtime.detector.Kept`, in pixels of the source, for the kinds `yolo`, `detr` and
    `anchors`; a label map (height, width) of the view, uint8, for `labels`; the outputs by name for
    `raw`; anything for a function of the user's own. A frame that does not fit raises LzuError.

    Args:
        recipe: a recipe whose `postprocess` is a section of `recipes.postprocessing`.
        choice: the user's settings in place of the recipe's.
        function: a function of the user's own in place of the recipe's `postprocess`.

    Raises:
        LzuError: the settings do not fit the recipe's levels, or name no known function.
    """
    context = Context.of(recipe, choice)
    if function is not None:
        return Custom(context, function)
    return make_view(context, recipe.postprocess.kind)


def make_view(context: Context, kind: str) -> Postprocessing:
    """Make the post-processing of a kind for one view of the frame.

    Raises:
        LzuError: the settings do not fit the context's levels, or name no known function.
    """
    maker = cast(Callable[[Context], Postprocessing], load_object(MAKERS[kind]))
    return maker(context)
