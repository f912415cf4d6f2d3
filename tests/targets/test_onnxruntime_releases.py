"""Lower precisions through `load` on the oldest, the pinned and the newest ONNX Runtime.

Up to 1.29 its CPU kernel cuts off what a QuantizeLinear reads as float16: the demonstration of
detection, whose INT8 file was written so, fell from AP 41.80 to 31.64 on 1.23.2.
"""

import os
import pickle
import re
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

pytest.importorskip("torch", reason="exporting needs torch")

from lzu_benchmarks.demo.evaluation import demo
from lzu_export.compiler.pipeline import export
from lzu_export.evaluation.datasets import EvaluationSet
from lzu_export.recipes import load_recipe
from lzu_export.tasks.agreement import Tally

ROOT = Path(__file__).resolve().parents[2]
RUNTIME = ("numpy", "opencv-python-headless", "pydantic", "pyyaml", "rich", "typer")
FRAMES = {"det": 128, "seg": 48, "det3d": 48}
LEAST_RATIO = 0.97
"""Of matched scores, INT8 over FP32."""


def lowest() -> str:
    """The oldest release that the package's metadata allows."""
    bound = re.search(r'"onnxruntime>=([\d.]+),', (ROOT / "pyproject.toml").read_text())
    assert bound is not None
    return f"{bound[1]}.*" if bound[1].count(".") < 2 else bound[1]


RELEASES = {"lowest": f"=={lowest()}", "python 3.10's": "==1.23.2", "newest": ""}


class Case(NamedTuple):
    """An exported demonstration and the frames to score it on."""

    bundle: Path
    dataset: EvaluationSet
    frames: Path


@pytest.fixture(scope="module", params=list(FRAMES))
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    task = request.param
    folder = tmp_path_factory.mktemp(task)
    changes = {"targets": ["onnxruntime"], "precision": ["fp32", "fp16", "int8"]}
    recipe = load_recipe(task, {**changes, "evaluation.frames": 8})
    bundle = export(recipe, folder / "out").folder
    dataset = demo(task=task, frames=FRAMES[task], recipe=recipe)
    camera_frames = [sample.camera_frame for sample in dataset.samples()]
    arrays: dict[str, Any] = {
        "frames": np.stack([camera_frame.frame for camera_frame in camera_frames])
    }
    if task == "det3d":
        arrays["cameras"] = np.stack(
            [np.asarray(camera_frame.cam2img) for camera_frame in camera_frames]
        )
    np.savez(folder / "frames.npz", **arrays)
    return Case(bundle, dataset, folder / "frames.npz")


@pytest.fixture(scope="module", params=list(RELEASES))
def release(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with this release and what the runtime needs."""
    folder = tmp_path_factory.mktemp("release") / "venv"
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    wanted = [f"onnxruntime{RELEASES[request.param]}", *RUNTIME]
    command = [str(python), "-m", "pip", "install", "--quiet", *wanted]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"{wanted[0]} cannot be installed here: {done.stderr.strip()[-200:]}")
    return python


@pytest.mark.slow
def test_int8_is_right_on_every_release(case: Case, release: Path, tmp_path: Path) -> None:
    out = tmp_path / "found.pickle"
    arguments = [case.bundle, case.frames, out, "fp32", "fp16", "int8"]
    subprocess.run(
        [str(release), str(Path(__file__).with_name("predict_by_load.py")), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
    )
    version, found = pickle.loads(out.read_bytes())
    metrics: dict[str, float] = {}
    for precision, predictions in found.items():
        scorer, tally = case.dataset.scorer(), Tally(case.bundle.parent.name)
        pairs = zip(case.dataset.samples(), predictions, found["fp32"], strict=True)
        for sample, mine, theirs in pairs:
            scorer.add(sample, mine)
            tally.add(mine, theirs)
        metrics[precision] = scorer.summary()[case.dataset.metric]
        agreement = tally.result()
        figures = f"{version} {case.bundle.parent.name} {precision}: {case.dataset.metric} "
        figures += f"{metrics[precision]:.2f}, {agreement}"
        print(figures, file=sys.stderr)
        lost = metrics["fp32"] - metrics[precision]
        assert lost <= {"fp32": 0, "fp16": 0.2, "int8": 1.0}[precision], figures
        assert agreement.count > 0
        assert agreement.first(1 - LEAST_RATIO) is None, figures
