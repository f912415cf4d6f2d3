"""Find the weights of a recipe."""

from lzu_export.recipes import Recipe
from lzu_export.support.files.hashes import file_digest


def checkpoint_identity(recipe: Recipe) -> dict[str, str]:
    """Return the file name and hash of the weights, or the seed of random ones."""
    path = recipe.checkpoint.get(recipe.variant)
    if path is None:
        return {"random_weights": str(recipe.random_weights)}
    return {"file": path.name, "sha256": file_digest(path) or ""}
