"""Post-processing `custom`: a function of the user's own, found by name, never by code in a file.

The recipe, and so the bundle, only has the name. The program registers the function, or an
installed package announces it as an entry point of the group `lzu_export.postprocessings`::

    def best_score(outputs, context):
        return float(outputs["scores"].max())

    register_postprocess("best_score", best_score)
"""

from collections.abc import Callable
from typing import Any

from lzu_export.errors import LzuError
from lzu_export.recipes.postprocessing import CustomPostprocess
from lzu_export.runtime.postprocessing.context import Context, Outputs
from lzu_export.support.registry import Registry

GROUP = "lzu_export.postprocessings"
"""Group of entry points by which packages announce post-processings."""

Function = Callable[[Outputs, Context], Any]
"""Function from one frame's outputs by name, without the batch's axis, and the bundle's context to
the frame's result. `Context.detections` makes detections of boxes on the canvas."""

FUNCTIONS: Registry[Function] = Registry("post-processing", {}, GROUP)
"""Users' own post-processings by name."""


def register_postprocess(name: str, function: Function) -> None:
    """Make a post-processing available in this process to recipes with `kind: custom`."""
    FUNCTIONS.register(name, function)


class Custom:
    """Calls a function of the user's own."""

    def __init__(self, context: Context, function: Function | None = None) -> None:
        """Take the function, by default the one that the recipe names.

        Raises:
            LzuError: no function of that name is registered or installed, or it cannot be called.
        """
        name = "given to load"
        if function is None:
            settings: CustomPostprocess = context.settings
            name = settings.name
            if name not in FUNCTIONS:
                known = ", ".join(FUNCTIONS.names()) or "none"
                raise LzuError(
                    f"postprocess.name {name} is not known here, {known} is; call "
                    "register_postprocess before, or install the package that announces it as an "
                    f"entry point of {GROUP}"
                )
            function = FUNCTIONS.find(name)
        if not callable(function):
            raise LzuError(
                f"the post-processing {name} is {type(function).__name__}, which cannot be called; "
                "give a function of a frame's outputs and a context"
            )
        self._context, self._function = context, function

    def __call__(self, outputs: Outputs) -> Any:
        """Return what the function makes of one frame's outputs."""
        return self._function(outputs, self._context)
