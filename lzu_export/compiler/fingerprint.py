"""The hash of everything that a bundle depends on, by which an export notices changes."""

import hashlib
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import lzu_calibration
from lzu_export.evaluation.datasets import GROUP as DATASETS_GROUP
from lzu_export.quantization.ranges import recipe_frames
from lzu_export.recipes import Recipe
from lzu_export.support.entry_points import entry_points
from lzu_export.support.files.hashes import file_digest
from lzu_export.support.provenance import PACKAGES, source_digest, versions
from lzu_export.targets.registry import find
from lzu_export.tasks.custom import builder_digest
from lzu_export.tasks.weights import checkpoint_identity

CALIBRATION_SOURCE = Path(lzu_calibration.__file__).parent


def fingerprint(recipe: Recipe) -> str:
    """Return the hash of all that a bundle depends on: recipe, weights, saliency, annotations,
    calibration, code, packages, targets.
    """
    inputs = {
        **contents(recipe),
        "source": source_digest(),
        "versions": versions(PACKAGES),
        "targets": {name: find(name).version() for name in recipe.targets},
    }
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


def contents(recipe: Recipe) -> dict[str, Any]:
    """Return the part of a fingerprint that does not depend on the exporting machine's software:
    the recipe without paths, and the hashes of the files that it names.
    """
    dataset = recipe.evaluation.dataset
    return {
        "evaluation": _evaluation_digest(dataset) if dataset else None,
        "recipe": json.loads(
            recipe.model_dump_json(exclude={"checkpoint": True, "warp": {"saliency", "knots"}})
        ),
        "checkpoint": checkpoint_identity(recipe),
        "calibration": _calibration_digest(recipe),
        "saliency": file_digest(recipe.warp.saliency) if recipe.variant != "uniform" else None,
        "knots": file_digest(recipe.warp.knots) if recipe.variant != "uniform" else None,
        "custom_model": builder_digest(recipe),
    }


def _evaluation_digest(dataset: str) -> list[str | None]:
    """Return the hashes of the annotations and of the harness that opens evaluation sets."""
    packages = {entry.module.partition(".")[0] for entry in entry_points(group=DATASETS_GROUP)}
    found = (find_spec(package) for package in sorted(packages))
    roots = [Path(spec.origin).parent for spec in found if spec and spec.origin]
    return [file_digest(Path(dataset)), *(source_digest(root) for root in roots)]


def _calibration_digest(recipe: Recipe) -> list[str | None] | None:
    """Return the hashes of the frames and cache of the INT8 ranges, and of the calibration code."""
    if "int8" not in recipe.precision:
        return None
    frames = recipe_frames(recipe).digest
    return [frames, file_digest(recipe.calibration.cache), source_digest(CALIBRATION_SOURCE)]
