"""Recipes: everything about an export that is not code, as validated YAML. No torch, no ONNX."""

from lzu_export.recipes.load import list_recipes, load_recipe
from lzu_export.recipes.schema import Recipe

__all__ = ["Recipe", "list_recipes", "load_recipe"]
