"""Bundles whose warp a network makes of each frame, of every task."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from lzu_export.bundle.bundle import Bundle
from lzu_export.bundle.run import apply
from lzu_export.compiler import stages, whole_export
from lzu_export.compiler.pipeline import Outcome, export
from lzu_export.evaluation.datasets import Sample
from lzu_export.manifest.schema import read_manifest
from lzu_export.quantization import sensitivity
from lzu_export.runtime import load
from lzu_export.runtime.predictor import CameraFrame
from lzu_export.support.progress import Reporter
from lzu_export.tasks.pytorch import noise_frame, torch_predictor
from lzu_export.tasks.warps import make_warp
from lzu_export.verification.parity import verify_engine
from lzu_export.warp.tables import zoom_tables
from samples import CLASSES, SLOW_DET3D, TINY_NETWORK, noise_frames, tiny_recipe

SOURCE = (96, 160)
CAMERA = [[128.0, 0, 79.5], [0, 128, 47.5], [0, 0, 1]]
TASKS: dict[str, dict[str, Any]] = {
    # INT8 moves the scores of an untrained network on noise by 4 %.
    "det": {
        "postprocess": {"score_threshold": 0.001, "candidates_per_level": 50},
        "tolerances": {"scores": {"int8": 0.1}},
    },
    "seg": {"precision": ["fp32", "fp16"]},
    "det3d": {"precision": ["fp32", "fp16"], "postprocess": {"score_threshold": 0.001}},
}


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return noise_frames(tmp_path_factory.mktemp("frames"), 3, SOURCE)


def settings(task: str, frames: Path) -> dict[str, Any]:
    return {
        "variant": "adaptive",
        "warp": {"network": TINY_NETWORK},
        "precision": ["fp32", "fp16", "int8"],
        "calibration": {"frames": str(frames), "count": 2},
        **TASKS[task],
    }


@pytest.fixture(scope="module")
def exported(each_task: str, tmp_path_factory: pytest.TempPathFactory, frames: Path) -> Outcome:
    """A bundle of each task; not to be changed."""
    folder = tmp_path_factory.mktemp("network")
    return export(tiny_recipe(folder, each_task, **settings(each_task, frames)), folder)


def test_it_takes_frames_and_no_boxes(exported: Outcome) -> None:
    """Every probe point from the saliency on was compared; the warp itself stays exact in FP16."""
    manifest = exported.manifest
    inputs = [each.name for each in manifest.engines[0].inputs]
    assert inputs == ["frame", *(["cam2img", "img2cam"] if manifest.task == "det3d" else [])]
    assert manifest.warp.source == "saliency network, ResNet-18, on each frame"
    for parity in manifest.parity:
        assert parity.status == ("graph passed" if parity.target == "emulated" else "passed")
        assert list(parity.probes)[:4] == ["saliency", "knots_x", "knots_y", "zoomed"]
        assert parity.snr["knots_x"] > {"fp32": 120, "fp16": 80, "int8": 50}[parity.precision]
    kept = manifest.graphs["fp16"].kept["it computes where a warp samples"]
    assert not [name for name in kept if name.startswith("warp.network.backbone")]
    again = [
        verify_engine(Bundle(exported.folder, manifest), engine) for engine in manifest.engines
    ]
    assert [each.status for each in again] == ["passed"] * len(manifest.engines)


def test_the_runtime_equals_pytorch_and_remembers_nothing(
    exported: Outcome, frames: Path, tmp_path: Path
) -> None:
    task = exported.manifest.task
    recipe = tiny_recipe(tmp_path, task, **settings(task, frames))
    reference, engine = torch_predictor(recipe, make_warp(recipe)), load(exported.folder)
    assert not engine.is_stateful
    camera = [CAMERA] if task == "det3d" else []
    found = []
    for seed in (0, 1, 0):
        frame = noise_frame(SOURCE, seed=seed)
        theirs, mine = reference(frame, *camera), engine(frame, *camera)
        if task == "seg":
            assert (theirs.labels != mine.labels).mean() < 1e-3
            found.append(mine.labels)
            continue
        assert len(theirs.scores) == len(mine.scores) > 0
        np.testing.assert_allclose(mine.scores, theirs.scores, atol=1e-5)
        found.append(mine.boxes)
    np.testing.assert_array_equal(found[0], found[2])


def test_the_warp_of_each_frame_is_shown(exported: Outcome, frames: Path, tmp_path: Path) -> None:
    """Pictures show the zoom by the knots that the engine computed."""
    engine = load(exported.folder)
    camera = [CAMERA] if exported.manifest.task == "det3d" else []
    tables = []
    for seed in (0, 1):
        frame = noise_frame(SOURCE, seed=seed)
        engine(frame, *camera)
        inputs = engine.preprocess([tuple_of(engine, frame)])
        outputs = engine.session.run(inputs)
        knots = [outputs[name][0] for name in ("knots_x", "knots_y")]
        expected = zoom_tables(*knots, SOURCE, engine.recipe.canvas)
        for got, wanted in zip(engine.tables, expected, strict=True):
            np.testing.assert_array_equal(got, wanted)
        tables.append(expected.cols)
    assert np.abs(tables[0] - tables[1]).max() > 0.01
    if camera:
        return
    out = tmp_path / "run"
    quiet = Reporter(quiet=True)
    counts = apply(exported.folder, frames, out, show_warp=True, report=quiet)
    assert counts["frames"] == 3
    assert all(cv2.imread(str(out / f"{i}.png")).shape[1] > 2 * SOURCE[1] for i in range(3))


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_it_sees_for_non_separable_warps_too(task: str, frames: Path, tmp_path: Path) -> None:
    given = settings(task, frames)
    given["warp"] = {"network": TINY_NETWORK, "separable": False}
    precisions = ["fp32"] if task == "det3d" else ["fp32", "int8"]
    recipe = tiny_recipe(tmp_path, task, **{**given, "precision": precisions})
    outcome = export(recipe, tmp_path)
    for parity in outcome.manifest.parity:
        assert parity.status == ("graph passed" if parity.target == "emulated" else "passed")
        assert list(parity.probes)[:3] == ["saliency", "knots", "zoomed"]
    assert {each.target for each in outcome.manifest.engines} == set(recipe.targets)
    engine = load(outcome.folder)
    camera = [CAMERA] if task == "det3d" else []
    shown = []
    for seed in (0, 1):
        engine(noise_frame(SOURCE, seed=seed), *camera)
        shown.append(engine.tables.whole + engine.tables.fraction)
    assert np.abs(shown[0] - shown[1]).max() > 0.01


def tuple_of(engine: Any, frame: np.ndarray) -> Any:
    return CameraFrame(frame, CAMERA if engine.needs_camera else None)


def test_every_frame_of_a_batch_is_shown_with_its_own_warp(tmp_path: Path) -> None:
    recipe = tiny_recipe(
        tmp_path, variant="adaptive", warp={"network": TINY_NETWORK}, batch=2, precision=["fp32"]
    )
    engine = load(export(recipe, tmp_path).folder)
    engine.batch([noise_frame(SOURCE, seed=i) for i in range(2)])
    shown = []
    for i in range(2):
        shown.append(engine.tables_of(i).cols)
    assert np.abs(shown[0] - shown[1]).max() > 0.01


class Count:
    """An evaluation set of two frames, and the scorer that counts them."""

    name, note, metric = "two", "", "count"
    classes = tuple(CLASSES)

    def __init__(self, camera: Any = None) -> None:
        self.camera, self.count = camera, 0

    def __len__(self) -> int:
        return 2

    def samples(self) -> Iterator[Sample]:
        for i in range(2):
            yield Sample(i, CameraFrame(noise_frame(SOURCE, seed=i), self.camera), None)

    def scorer(self) -> "Count":
        return Count()

    def add(self, _sample: Sample, _prediction: Any) -> None:
        self.count += 1

    def summary(self) -> dict[str, float]:
        return {"count": float(self.count)}

    def state(self) -> None:
        """It cannot go on."""


@pytest.mark.parametrize("task", ["det", "seg", SLOW_DET3D])
def test_accuracy_is_measured_without_a_stream(
    task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No boxes are fed back, so frames are evaluated one by one, whatever the task."""
    data = Count(CAMERA if task == "det3d" else None)
    for module in (stages, whole_export):
        monkeypatch.setattr(module, "open_dataset", lambda *_: data)
    recipe = tiny_recipe(
        tmp_path,
        task,
        variant="adaptive",
        warp={"network": TINY_NETWORK},
        evaluation={"dataset": "two"},
    )
    accuracy = export(recipe, tmp_path).manifest.accuracy
    assert accuracy is not None
    assert accuracy.engines == {"onnxruntime/fp32": {"count": 2.0}}
    assert accuracy.stream is None


@pytest.mark.parametrize("each_task", ["seg"], indirect=True)
def test_layers_are_ranked_without_boxes(
    exported: Outcome, frames: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No frame needs the frame before it."""
    monkeypatch.setattr(sensitivity, "open_dataset", lambda *_: Count())
    monkeypatch.setattr(sensitivity.Int8Metric, "__call__", lambda *_: 2.0)
    outcome = sensitivity.measure_sensitivity(
        exported.folder,
        dataset="two",
        limit=1,
        by="group",
        overrides=sensitivity.CalibrationOverrides(frames=str(frames), count=2),
        out=tmp_path / "found.json",
    )
    assert outcome.found.baseline == 2
    assert outcome.higher_precision == []


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_tensorrt_rtx_builds_it(precision: str, frames: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx")
    changes = {**settings("det", frames), "precision": [precision], "targets": ["tensorrt-rtx"]}
    outcome = export(tiny_recipe(tmp_path, **changes), tmp_path)
    (engine,) = read_manifest(outcome.folder).engines
    names = [each.name for each in engine.outputs]
    assert names == ["boxes", "scores", "labels", "knots_x", "knots_y"]
    (parity,) = outcome.manifest.parity
    assert parity.status == "graph passed"
    assert [each.place for each in engine.lowerings] == ["saliency_input"]


def test_fovea_looks_at_the_frame_too(tmp_path: Path) -> None:
    recipe = tiny_recipe(
        tmp_path, variant="fovea", warp={"network": TINY_NETWORK}, precision=["fp32"]
    )
    (parity,) = export(recipe, tmp_path).manifest.parity
    assert parity.status == "passed"
    assert not [name for name in parity.probes if name.startswith("unzoomed")]
