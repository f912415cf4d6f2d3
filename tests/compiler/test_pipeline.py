"""Exports of tiny networks of every task and kind: whole bundles, verified, that predict."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

pytest.importorskip("torch", reason="exporting needs torch")

from export_samples import FILES, contents

from lzu_export.compiler.pipeline import Outcome, export
from lzu_export.manifest.schema import FILE, read_manifest
from lzu_export.recipes import load_recipe
from lzu_export.runtime import load
from lzu_export.tasks.pytorch import noise_camera_frame, noise_frame, torch_predictor
from lzu_export.tasks.warps import make_warp
from samples import CLASSES, loaded_by, tiny_recipe

RTX_FILES = {"model.fp32.tensorrt-rtx.onnx", "model.fp32.rtx.engine"}

CASES: dict[str, dict[str, Any]] = {
    "fixed": {},
    "uniform": {"variant": "uniform"},
    "zoomed by the host": {"input": "zoomed"},
    "antialiased": {"sampler": "antialiased", "input": "zoomed", "normalisation": {"order": "bgr"}},
    "opencv": {"sampler": "opencv", "variant": "uniform", "input": "zoomed"},
    "batch 2": {"batch": 2},
    "published": {"warp": {"geometry": "published", "unfilled": ["bottom"]}},
    "cropped": {"crop": [64, 128]},
}


@pytest.fixture(scope="module", params=CASES)
def outcome(request: pytest.FixtureRequest, inputs: Path) -> Outcome:
    """A finished export of every kind."""
    return export(tiny_recipe(inputs, **CASES[request.param]), inputs / request.param)


def test_the_bundle_is_whole_and_its_hashes_are_right(outcome: Outcome) -> None:
    assert outcome.status == "exported"
    manifest = outcome.manifest
    assert outcome.folder.name == f"tiny-{manifest.variant}-0.5x"
    there = contents(outcome.folder)
    assert set(there) == FILES
    assert there.pop(FILE)
    assert manifest.files == there
    assert manifest.warp.sha256 == there["warp.npz"]
    assert (outcome.folder / "labels.txt").read_text().split() == CLASSES
    assert not [path for path in outcome.folder.parent.iterdir() if path.name.startswith(".")]


def test_the_manifest_round_trips_and_names_no_folder_of_this_machine(
    outcome: Outcome, inputs: Path
) -> None:
    assert read_manifest(outcome.folder) == outcome.manifest
    for path in outcome.folder.iterdir():
        assert str(inputs).encode() not in path.read_bytes(), path.name
    manifest = outcome.manifest
    assert list(manifest.stages) == [
        "trace",
        "reference",
        "lowerings onnxruntime",
        "derive onnxruntime fp32",
        "build onnxruntime fp32",
        "verify onnxruntime fp32",
        "latency",
    ]
    assert manifest.latency is not None
    assert set(manifest.latency.engines) == {"onnxruntime/fp32"}
    assert {name: graph.opset for name, graph in manifest.graphs.items()} == {"fp32": 18}
    again = load_recipe(str(outcome.folder / "recipe.yaml"))
    assert again.model == manifest.recipe.model
    assert again.levels == manifest.recipe.levels


def test_every_probe_point_was_compared_and_passed(outcome: Outcome) -> None:
    (parity,) = outcome.manifest.parity
    recipe = outcome.manifest.recipe
    assert parity.status == "passed"
    expected = [] if recipe.sampler == "opencv" else ["zoomed"]
    expected += [f"level_{i}" for i in range(3)]
    if recipe.variant == "fixed":
        expected += [f"unzoomed_{i}" for i in range(3)]
    expected += [f"bbox_{i}" for i in range(3)] + [f"cls_{i}" for i in range(3)]
    assert list(parity.probes) == expected
    assert list(parity.outputs) == ["boxes", "scores", "labels"]
    assert max({**parity.probes, **parity.outputs}.values()) < 1e-5


def test_every_warp_was_lowered_with_a_reason(outcome: Outcome) -> None:
    (engine,) = outcome.manifest.engines
    recipe = outcome.manifest.recipe
    levels = len(recipe.levels) if recipe.variant == "fixed" else 0
    copied = recipe.warp.geometry == "published"
    zooms = recipe.input == "source"
    assert len(engine.lowerings) >= levels + zooms
    assert (len(engine.lowerings) > levels + zooms) == copied
    assert all(each.reason.startswith("measured with ") for each in engine.lowerings)
    assert [each["name"] for each in engine.passes] == ["lower-resample", "fold-constants"]
    derived = onnx.load(outcome.folder / engine.onnx)
    canonical = onnx.load(outcome.folder / "model.fp32.onnx")
    calls = [node for node in canonical.graph.node if node.domain == "lzu"]
    assert len(calls) == len(engine.lowerings)
    assert not [node for node in derived.graph.node if node.domain]
    assert not derived.functions


def test_the_bundle_detects(outcome: Outcome) -> None:
    recipe = outcome.manifest.recipe
    frames = [noise_frame(recipe.source, seed=i) for i in range(recipe.batch)]
    found = load(outcome.folder).batch(frames)
    assert len(found) == recipe.batch
    assert all(len(each) > 0 for each in found)


def test_the_canonical_file_runs_as_it_is(outcome: Outcome) -> None:
    """Run by its function bodies, it equals the engine made from it."""
    from lzu_export.targets.onnxruntime import OnnxRuntimeSession

    engine = OnnxRuntimeSession(outcome.folder / "model.fp32.onnxruntime.onnx")
    canonical = OnnxRuntimeSession(outcome.folder / "model.fp32.onnx")
    (spec,) = engine.inputs
    assert canonical.inputs == engine.inputs
    feeds = {spec.name: np.random.default_rng(0).integers(0, 99, spec.shape).astype(spec.dtype)}
    expected = engine.run(feeds)["scores"]
    np.testing.assert_allclose(canonical.run(feeds)["scores"], expected, rtol=1e-4)


def test_a_rtx_engine_is_built_beside(inputs: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    recipe = tiny_recipe(inputs, targets=["tensorrt-rtx"], compute_capabilities=["8.9"])
    outcome = export(recipe, inputs / "rtx")
    assert set(contents(outcome.folder)) == FILES - {"model.fp32.onnxruntime.onnx"} | RTX_FILES
    (engine,), (parity,) = outcome.manifest.engines, outcome.manifest.parity
    assert engine.compute_capabilities == ("8.9",)
    assert {each.place: each.kind for each in engine.lowerings} == {
        "zoom": "gridsample",
        **{f"unzoomed_{i}": "matmul" for i in range(3)},
    }
    assert parity.status == "graph passed"
    assert "RTX" in parity.note
    assert set(parity.outputs) == {"boxes", "scores", "labels"}
    assert all(value < parity.limit for value in {**parity.probes, **parity.outputs}.values())
    assert outcome.manifest.latency is None


TASK_CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "seg": ("seg", {}),
    "seg uniform": ("seg", {"variant": "uniform"}),
    "seg opencv": (
        "seg",
        {"variant": "uniform", "sampler": "opencv", "input": "zoomed", "crop": [64, 96]},
    ),
    "seg cropped, with logits": (
        "seg",
        {"crop": [64, 96], "postprocess": {"logits": True, "upsampling": "half-pixel"}},
    ),
    "seg reduced": ("seg", {"reduce": 3, "batch": 2, "input": "zoomed"}),
    "seg backbone": ("seg", {"model": {"cut": "backbone"}, "warp": {"unzoom_scale": 1}}),
    "det3d": ("det3d", {"batch": 2}),
    "seg published": (
        "seg",
        {"source_multiple": 64, "warp": {"geometry": "published", "unfilled": ["bottom"]}},
    ),
    "det3d uniform": ("det3d", {"variant": "uniform", "sampler": "antialiased"}),
    "det3d published": (
        "det3d",
        {"source_multiple": 64, "warp": {"geometry": "published", "unfilled": ["bottom"]}},
    ),
    "det3d cropped": ("det3d", {"crop": [64, 128], "reduce": 2, "scale": 0.7, "input": "zoomed"}),
}


FAST_CASES = ("seg", "det3d")


@pytest.mark.parametrize(
    "case",
    [
        case if case in FAST_CASES else pytest.param(case, marks=pytest.mark.slow)
        for case in TASK_CASES
    ],
)
def test_every_task_is_exported_verified_and_run(case: str, tmp_path: Path) -> None:
    """On both targets the bundle predicts what PyTorch predicts."""
    from lzu_export.targets.tensorrt import rtx as tensorrt_rtx

    task, changes = TASK_CASES[case]
    lowering = {"zoom": "banded", "unzoom": "matmul"}
    there = ["tensorrt-rtx"] if tensorrt_rtx.version() is not None else []
    targets = ["onnxruntime", *there]
    recipe = tiny_recipe(tmp_path, task, targets=targets, lowering=lowering, **changes)
    outcome = export(recipe, tmp_path)
    manifest = outcome.manifest
    assert outcome.folder == tmp_path / task / f"tiny-{recipe.label}"
    assert [parity.status for parity in manifest.parity] == [
        "passed",
        *["graph passed"] * len(there),
    ]
    wanted = {"seg": {"labels"}, "det3d": {"boxes", "scores", "attributes"}}[task]
    if "logits" in str(changes):
        wanted = wanted | {"logits"}
    for parity in manifest.parity:
        assert set(parity.outputs) == wanted
        assert {"level_0", "zoomed"} <= set(parity.probes) or changes.get("sampler") == "opencv"
    for engine in manifest.engines:
        model = onnx.load(outcome.folder / engine.onnx)
        assert not [node for node in model.graph.node if node.domain]
        deforms = {"DeformConv"} & {node.op_type for node in model.graph.node}
        assert bool(deforms) == (task == "det3d" and engine.target == "onnxruntime")
    camera_frames = [noise_camera_frame(recipe, seed=3 + i) for i in range(recipe.batch)]
    found = load(outcome.folder).run(camera_frames)
    expected = torch_predictor(recipe, make_warp(recipe)).run(camera_frames)
    for a, b in zip(found, expected, strict=True):
        if task == "seg":
            assert a.labels.shape == recipe.source
            assert (a.labels == b.labels).mean() > 0.999
            np.testing.assert_array_equal(a.labels == 255, b.labels == 255)
            assert (a.logits is not None) == ("logits" in wanted)
            if a.logits is not None:
                assert a.logits.shape == (2, *recipe.view)
                np.testing.assert_allclose(a.logits, b.logits, atol=1e-3)
        else:
            assert len(a.scores) > 0
            np.testing.assert_allclose(a.boxes, b.boxes, atol=1e-2)
            np.testing.assert_allclose(a.scores, b.scores, atol=1e-4)
            np.testing.assert_array_equal(a.labels, b.labels)
            np.testing.assert_array_equal(a.attributes, b.attributes)
    assert export(recipe, tmp_path).status == "up to date"


@pytest.mark.parametrize(
    "modules",
    [
        "lzu_export.runtime",
        "lzu_export.verification.parity, lzu_export.evaluation.evaluate, lzu_export.recipes",
        "lzu_export.tasks.warps, lzu_export.tasks.predictors",
        "lzu_export.compiler.pipeline, lzu_export.bundle.workspace",
        "lzu_export.graph.passes, lzu_export.graph.lowering.resample, lzu_export.graph.lint",
        "lzu_export.ops.registry, lzu_export.ops.bodies, lzu_export.ops.contracts",
        "lzu_export.graph.lowering.choose, lzu_export.graph.derivation, lzu_export.warp.tables",
        "lzu_export.targets.onnxruntime, lzu_export.targets.tensorrt.rtx",
    ],
)
def test_no_torch_outside_models_and_operators(modules: str) -> None:
    assert loaded_by(modules, ("torch", "onnxscript")) == []


def test_the_manifest_is_plain_json(finished: Path) -> None:
    data = json.loads((finished / "det" / "tiny-fixed-0.5x" / FILE).read_text())
    assert data["checkpoint"] == {"random_weights": "0"}
    assert data["format"] == 6
