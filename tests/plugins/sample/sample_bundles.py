"""Bundles for the C++ sample without an engine's file."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from lzu_export.recipes import Recipe
from lzu_export.support.files import write_tensors
from lzu_export.tasks.warps import make_warp


def write_bundle(
    folder: Path,
    recipe: Recipe,
    tensors: Mapping[str, Mapping[str, NDArray[Any]]],
    target: str = "onnxruntime",
) -> None:
    """Write what the sample reads of a bundle whose engine has these inputs and outputs.

    Args:
        folder: new folder of the bundle.
        recipe: recipe, by which the warp is made.
        tensors: `inputs` and `outputs` of the engine by name, for their types and shapes.
        target: target of the engine, whose file is not written.
    """
    folder.mkdir()
    warp = make_warp(recipe).arrays()
    write_tensors(folder / "warp.safetensors", warp, recipe.places)
    described = {
        role: [
            {"name": name, "dtype": value.dtype.name, "shape": value.shape}
            for name, value in values.items()
        ]
        for role, values in tensors.items()
    }
    engine = {"target": target, "precision": "fp32", "file": "none", **described}
    data = {"task": recipe.task, "recipe": recipe.model_dump(mode="json"), "engines": [engine]}
    (folder / "manifest.json").write_text(json.dumps(data))
