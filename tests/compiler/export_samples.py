"""What tests of exports share: a recipe that is exported fast, and the files of its bundle."""

import hashlib
from pathlib import Path
from typing import Any

from samples import tiny_recipe

FILES = {
    "manifest.json",
    "recipe.yaml",
    "labels.txt",
    "warp.npz",
    "warp.safetensors",
    "reference.npz",
    "model.fp32.onnx",
    "model.fp32.onnxruntime.onnx",
}
"""Names of the files of a bundle in FP32 for ONNX Runtime."""


def quick(inputs: Path, **changes: Any) -> Any:
    """A recipe whose lowerings are set, which saves a measurement; `inputs` holds its saliency."""
    return tiny_recipe(inputs, **{"lowering": {"zoom": "matmul", "unzoom": "matmul"}, **changes})


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def contents(folder: Path) -> dict[str, str]:
    """SHA-256 of each file of a bundle by its name."""
    return {path.name: digest(path) for path in folder.iterdir()}
