"""Recipes: everything about an export that is not code, as validated YAML. No torch, no ONNX.

Names are imported on first use: a bundle's recipe is in its manifest, so a device reads no YAML.
"""

from typing import TYPE_CHECKING

from lzu_export.support.lazy import lazily

if TYPE_CHECKING:
    from lzu_export.recipes.load import list_recipes, load_recipe
    from lzu_export.recipes.recipe import Recipe

__all__ = ["Recipe", "list_recipes", "load_recipe"]
__getattr__ = lazily(
    __name__,
    {
        "Recipe": "lzu_export.recipes.recipe",
        "list_recipes": "lzu_export.recipes.load",
        "load_recipe": "lzu_export.recipes.load",
    },
)
