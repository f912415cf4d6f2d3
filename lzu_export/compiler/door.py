"""The function `lzu_export.export`: recipes and wrapped networks alike."""

from pathlib import Path
from typing import Any

from lzu_export.compiler.pipeline import Outcome
from lzu_export.compiler.pipeline import export as export_recipe
from lzu_export.errors import LzuError
from lzu_export.recipes import Recipe


def export(what: Any, out: str | Path = "build", **options: Any) -> Outcome:
    """Export a recipe, or a network that `lzu_export.wrap` wrapped, into a verified bundle.

    Args:
        what: a `Recipe`, or a wrapped `torch.nn.Module`.
        out: folder of all bundles.
        options: for a recipe `force` (export again even if nothing changed), `report` (receiver of
            progress) and `cluster` (see `compiler.pipeline.export`); for a network all arguments of
            `compiler.wrapped.export_model`.

    Returns:
        Folder, manifest and status of the bundle.

    Raises:
        LzuError: an input is missing or unfit, a target refuses the graph, or an engine deviates
            from PyTorch.
    """
    if isinstance(what, Recipe):
        return export_recipe(what, Path(out), **options)
    from torch import nn

    from lzu_export.compiler.wrapped import export_model

    if not isinstance(what, nn.Module):
        raise LzuError(
            f"export was given {type(what).__name__}; give a Recipe, or a network that "
            "lzu_export.wrap wrapped"
        )
    return export_model(what, out, **options)
