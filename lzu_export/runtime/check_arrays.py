"""Check the arrays of a bundle against its recipe, before anything uses them as indices."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lzu_export.recipes import Recipe

FARTHEST = 1e6
"""Largest magnitude accepted in a warp's arrays; valid cells and weights are far below it."""
_NAME = re.compile(r"saliency|knots|knots_[xy]|(zoom|unzoom_\d+_\d+)_(rows|cols|whole|fraction)")


def check_warp(arrays: Mapping[str, NDArray[Any]], recipe: Recipe) -> None:
    """Refuse arrays that do not form a warp of the recipe's canvas.

    Raises:
        ValueError: an array is missing or wrong; the message names it and its fault.
    """
    height, width = recipe.canvas
    axes = {"zoom_rows": (4, height), "zoom_cols": (4, width)}
    plane = dict.fromkeys(("zoom_whole", "zoom_fraction"), (height, width, 2))
    wanted: dict[str, tuple[int, ...]] = {**(axes if "zoom_rows" in arrays else plane)}
    for name in ("saliency", *wanted):
        if name not in arrays:
            raise ValueError(f"it has no array {name}")
    for name, array in arrays.items():
        if not _NAME.fullmatch(name):
            raise ValueError(f"it has an array {name[:40]!r}, which no warp has")
        if array.dtype.kind != "f" or not _shaped(name, array.shape):
            raise ValueError(f"its array {name} is {array.dtype} of shape {array.shape}")
        if name in wanted and array.shape != wanted[name]:
            raise ValueError(f"its array {name} has shape {array.shape}, not {wanted[name]}")
        if not array.size or not (np.abs(array) <= FARTHEST).all():  # false for NaN, too
            raise ValueError(f"its array {name} has values that are none of a warp's")
        if name.endswith(("_rows", "_cols")) and not (array[2] > 0).all():
            raise ValueError(f"its array {name} has weights of no width")


def _shaped(name: str, shape: Sequence[int]) -> bool:
    if name.endswith(("_rows", "_cols")):
        return len(shape) == 2 and shape[0] == 4
    if name.endswith(("_whole", "_fraction")) or name == "knots":
        return len(shape) == 3 and shape[2] == 2
    return len(shape) == (1 if name.startswith("knots_") else 2)
