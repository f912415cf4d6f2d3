"""The C++ sample, whole on ONNX Runtime, prints what `lzu-export run` writes."""

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="exporting needs torch")

from lzu_export.bundle.run import apply
from lzu_export.compiler.pipeline import export
from lzu_export.inputs.images import read_image
from lzu_export.runtime.cameras import read_cameras
from lzu_export.support.progress import Reporter
from samples import noise_frames, tiny_recipe

CAMERA = [[128.0, 0, 79.5], [0, 120.0, 47.5], [0, 0, 1]]
OTHER_CAMERA = [[131.0, 0, 81.0], [0, 125.5, 45.0], [0, 0, 1]]
LOW: dict[str, Any] = {"score_threshold": 0.001, "candidates_per_level": 50}
"""Post-processing of an untrained network, whose scores are low."""
BUNDLES: dict[str, tuple[str, dict[str, Any]]] = {
    "det fixed": ("det", {"postprocess": LOW, "crop": [80, 128]}),
    "det adaptive": (
        "det",
        {
            "variant": "adaptive",
            "warp": {"boxes": 20, "bandwidth": 20.0, "feedback": {"score_threshold": 0.002}},
            "postprocess": LOW,
        },
    ),
    "det external": ("det", {"variant": "external", "postprocess": LOW}),
    "seg fixed": ("seg", {"crop": [64, 128]}),
    "det3d fixed": ("det3d", {"batch": 2, "postprocess": LOW}),
}
"""Task and recipe by name."""


@pytest.mark.parametrize("name", BUNDLES)
def test_the_sample_prints_the_results_of_run(
    name: str, on_onnxruntime: Path, tmp_path: Path
) -> None:
    """Over a sequence whose last batch is not full; for det3d, of two cameras."""
    task, changes = BUNDLES[name]
    bundle = export(tiny_recipe(tmp_path, task, **changes), tmp_path / "bundles").folder
    folder = noise_frames(tmp_path / "frames", 5)
    paths = sorted(folder.iterdir())
    options: list[str | Path] = []
    cameras = None
    if task == "det3d":
        options = ["--cameras", two_cameras(tmp_path / "cameras.json", paths)]
        cameras = read_cameras(tmp_path / "cameras.json")
    if task == "seg":
        (tmp_path / "maps").mkdir()
        options = ["--labels", tmp_path / "maps"]
    command = [on_onnxruntime, bundle, *paths, *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    out = tmp_path / "run"
    apply(bundle, folder, out, show_warp=False, report=Reporter(quiet=True), cameras=cameras)
    expected = json.loads((out / "results.json").read_text())
    if task == "seg":
        for each, other in zip(found, expected, strict=True):
            ours, theirs = read_image(Path(each["file_name"])), read_image(out / other["file_name"])
            np.testing.assert_array_equal(ours, theirs)
            del each["file_name"], other["file_name"]
    assert len(expected) >= (5 if task == "seg" else 20)
    assert {each["image_id"] for each in expected} == {1, 2, 3, 4, 5}
    assert found == expected


def two_cameras(file: Path, paths: list[Path]) -> Path:
    """Write a calibration by which two cameras took the frames in turns."""
    matrices = [CAMERA, OTHER_CAMERA, CAMERA, OTHER_CAMERA, CAMERA]
    listed = {path.name: {"cam2img": k} for path, k in zip(paths, matrices, strict=True)}
    file.write_text(json.dumps({"cameras": listed}))
    return file
