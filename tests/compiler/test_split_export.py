"""Exports of the demonstration in two processes and in one: equal bundles.

Slow: each exports a model twice, and scores it with PyTorch.
"""

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="exporting needs torch")

from lzu_export.cluster.cluster import open_cluster
from lzu_export.compiler import split
from lzu_export.compiler.pipeline import export
from lzu_export.recipes import load_recipe
from reporters import Notes

pytestmark = pytest.mark.slow

FRAMES = 24
QUICK: dict[str, Any] = {
    "targets": ["onnxruntime"],
    "precision": ["fp32"],
    "evaluation.frames": FRAMES,
    # Lowerings that are measured may differ from one export to the next.
    "lowering.zoom": "matmul",
    "lowering.unzoom": "matmul",
}


@pytest.mark.parametrize(
    ("task", "changes"),
    [
        ("det", {"variant": "fixed", "precision": ["fp32", "int8"], "calibration.count": 24}),
        ("det", {"variant": "adaptive"}),
        ("det", {"variant": "fixed", "batch": 5}),
        ("seg", {"variant": "fixed"}),
        ("det3d", {"variant": "fixed"}),
    ],
)
def test_a_split_export_is_the_whole_one_to_the_bit(
    task: str, changes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(split, "LEAST", 8)
    recipe = load_recipe(task, {**QUICK, **changes})
    one = export(recipe, tmp_path / "one")
    notes = Notes()
    with open_cluster(workers=2) as cluster:
        two = export(recipe, tmp_path / "two", cluster=cluster, report=notes)
    stages = 2 if "int8" in recipe.precision else 1
    assert sum("frames in 2 parts on this machine" in note for note in notes.notes) == stages
    assert one.manifest.accuracy is not None
    accuracy = one.manifest.accuracy.model_dump_json()
    assert two.manifest.accuracy is not None
    assert two.manifest.accuracy.model_dump_json() == accuracy
    assert one.manifest.accuracy.agreement
    assert (one.manifest.accuracy.stream is None) == (recipe.variant != "adaptive")
    assert not list((tmp_path / "two").glob("*/.*"))
    if stages == 2:
        ranges = [json.loads((each.folder / "calibration.json").read_text()) for each in (one, two)]
        for each in ranges:
            del each["created"]
        assert ranges[0] == ranges[1]
