"""Bundles and frames for the tests of `lzu-export calibrate`."""

import json
from pathlib import Path
from typing import Any

import pytest

from lzu_export.manifest.schema import FILE
from samples import tiny_recipe, write_sealed


def float32_bundle(folder: Path, task: str = "det", **changes: Any) -> Path:
    """Export a verified float32 bundle whose recipe names no frames; return its folder."""
    from lzu_export.compiler.pipeline import export
    from lzu_export.evaluation import evaluate

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate, "SECONDS", 0.0)  # no test uses its latency
        return export(tiny_recipe(folder, task, precision=["fp32"], **changes), folder).folder


def change_recipe(bundle: Path, **changes: dict[str, Any]) -> None:
    """Change sections of the recipe in a bundle's manifest."""
    data = json.loads((bundle / FILE).read_text())
    for section, values in changes.items():
        data["recipe"][section].update(values)
    write_sealed(bundle, data)
