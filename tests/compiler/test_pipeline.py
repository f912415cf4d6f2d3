"""Exports of a tiny detector: whole bundles or none, resumed, and done only when needed."""

import errno
import hashlib
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

pytest.importorskip("torch", reason="exporting needs torch")

from lzu_export.compiler import pipeline, stages, whole_export
from lzu_export.compiler.pipeline import Outcome, export
from lzu_export.evaluation.datasets import Sample
from lzu_export.graph.lowering import resample as lower_resample
from lzu_export.manifest.schema import FILE, read_manifest
from lzu_export.recipes import load_recipe
from lzu_export.runtime import CameraFrame, load
from lzu_export.targets.onnxruntime_target import OnnxRuntime
from lzu_export.tasks.pytorch import noise_camera_frame, noise_frame, torch_predictor
from lzu_export.tasks.warps import make_warp
from samples import CLASSES, SLOW_DET3D, loaded_by, refusal, saliency_file, tiny_recipe

STAGES = ["trace", "reference", "derive", "build", "verify", "latency"]
FILES = {
    "manifest.json",
    "recipe.yaml",
    "labels.txt",
    "warp.npz",
    "reference.npz",
    "model.fp32.onnx",
    "model.fp32.onnxruntime.onnx",
}
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


pytestmark = pytest.mark.usefixtures("sooner")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("inputs")


@pytest.fixture(scope="module", params=CASES)
def outcome(request: pytest.FixtureRequest, inputs: Path) -> Outcome:
    """A finished export of every kind."""
    return export(tiny_recipe(inputs, **CASES[request.param]), inputs / request.param)


@pytest.fixture(scope="module")
def finished(inputs: Path) -> Path:
    """A bundle's parent folder, to be copied: the fixed variant, no target but ONNX Runtime."""
    export(quick(inputs), inputs / "finished")
    return inputs / "finished"


def quick(inputs: Path, **changes: Any) -> Any:
    """A recipe whose lowerings are set, which saves the measurement."""
    return tiny_recipe(inputs, **{"lowering": {"zoom": "matmul", "unzoom": "matmul"}, **changes})


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def contents(folder: Path) -> dict[str, str]:
    return {path.name: digest(path) for path in folder.iterdir()}


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
    ("task", "other"), [("seg", "det"), ("det3d", "seg"), ("det", "det3d"), ("det3d", "det")]
)
def test_a_checkpoint_of_another_task_becomes_no_bundle(
    task: str, other: str, tmp_path: Path
) -> None:
    from lzu_export.models.checkpoint import save_checkpoint
    from lzu_export.tasks.pytorch import assemble

    made = tiny_recipe(tmp_path, other)
    model = assemble(made, make_warp(made), from_source=False).model
    save_checkpoint(tmp_path / "other.pth", model.state_dict())
    recipe = tiny_recipe(tmp_path, task, checkpoint={"fixed": str(tmp_path / "other.pth")})
    message = refusal(lambda: export(recipe, tmp_path))
    assert f"other.pth belongs to task {other}, but the recipe to {task}; give one" in message
    assert list((tmp_path / task).iterdir()) == []


@pytest.mark.parametrize("task", ["seg", SLOW_DET3D])
def test_an_output_that_deviates_becomes_no_bundle_in_any_task(
    task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One wrong pixel or one box off by a metre stops the export."""
    from lzu_export.targets import onnxruntime
    from lzu_export.targets.onnxruntime import OnnxRuntimeSession

    class Wrong(OnnxRuntimeSession):
        def run(self, inputs: Any) -> dict[str, Any]:
            values = super().run(inputs)
            if "labels" in values:
                values["labels"][0, 40, 70] ^= 1
            if "boxes" in values:
                values["boxes"][0, :, 2] += 1.0
            return values

    monkeypatch.setattr(onnxruntime, "OnnxRuntimeSession", Wrong)  # what load() opens files with
    recipe = tiny_recipe(tmp_path, task, lowering={"zoom": "matmul", "unzoom": "matmul"})
    message = refusal(lambda: export(recipe, tmp_path))
    assert "the onnxruntime engine in fp32 deviates from PyTorch: the first" in message
    assert not (tmp_path / task / f"tiny-{recipe.label}").exists()


@pytest.fixture
def bundle(finished: Path, tmp_path: Path) -> Path:
    """A copy of a finished bundle, in a folder of all bundles."""
    shutil.copytree(finished, tmp_path / "out")
    return tmp_path / "out" / "det" / "tiny-fixed-0.5x"


@pytest.fixture
def out(bundle: Path) -> Path:
    return bundle.parents[1]


def forbid(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Make stages fail that must not run."""

    def fail(*_: Any) -> Any:
        raise AssertionError("a finished stage ran again")

    for name in names:
        monkeypatch.setattr(pipeline.Export, f"_{name}", fail)


def test_nothing_changed_nothing_done(
    inputs: Path, bundle: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = {path: path.stat().st_mtime_ns for path in bundle.iterdir()}
    forbid(monkeypatch, "trace")
    start = time.process_time()
    outcome = export(quick(inputs), out)
    assert time.process_time() - start < 1.0
    assert outcome.status == "up to date"
    assert outcome.manifest == read_manifest(bundle)
    assert {path: path.stat().st_mtime_ns for path in bundle.iterdir()} == times


@pytest.mark.parametrize("damage", ["changed", "missing", "manifest"])
def test_a_damaged_bundle_is_made_again(damage: str, inputs: Path, bundle: Path, out: Path) -> None:
    before = contents(bundle)
    if damage == "changed":
        (bundle / "labels.txt").write_text("other\n")
    elif damage == "missing":
        (bundle / "warp.npz").unlink()
    else:
        (bundle / FILE).write_text("{")
    outcome = export(quick(inputs), out)
    assert outcome.status == "exported"
    assert set(contents(bundle)) == set(before)
    assert digest(bundle / "labels.txt") == before["labels.txt"]


def test_the_fingerprint_follows_what_the_bundle_depends_on(inputs: Path, tmp_path: Path) -> None:
    weights, annotations = tmp_path / "weights.pth", tmp_path / "frames.json"
    other = saliency_file(tmp_path, seed=9)

    def prints() -> list[str]:
        recipes = [
            quick(inputs),
            quick(inputs, tolerances={"probe": 1e-3}),
            quick(inputs, random_weights=1),
            quick(inputs, warp={"saliency": str(other)}),
            quick(inputs, checkpoint={"fixed": str(weights)}),
            quick(inputs, evaluation={"dataset": str(annotations)}),
        ]
        return [pipeline.fingerprints.fingerprint(recipe) for recipe in recipes]

    weights.write_text("one")
    annotations.write_text("one")
    first = prints()
    assert len(set(first)) == len(first)
    assert prints() == first
    weights.write_text("two")
    annotations.write_text("two")
    second = prints()
    assert second[:4] == first[:4]
    assert second[4] != first[4]
    assert second[5] != first[5]


def test_the_fingerprint_ignores_where_the_saliency_lies(inputs: Path, tmp_path: Path) -> None:
    fingerprint = pipeline.fingerprints.fingerprint
    assert fingerprint(quick(tmp_path)) == fingerprint(quick(inputs))


@pytest.mark.parametrize("part", ["versions", "source_digest"])
def test_other_code_or_packages_change_the_fingerprint(
    part: str, inputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = pipeline.fingerprints.fingerprint(quick(inputs))
    monkeypatch.setattr(pipeline.fingerprints, part, lambda *_: "other")
    assert pipeline.fingerprints.fingerprint(quick(inputs)) != before


def test_a_changed_recipe_exports_again(inputs: Path, bundle: Path, out: Path) -> None:
    before = read_manifest(bundle)
    outcome = export(quick(inputs, postprocess={"score_threshold": 0.2}), out)
    assert outcome.status == "exported"
    assert outcome.folder == bundle
    after = read_manifest(bundle)
    assert after.fingerprint != before.fingerprint
    assert after.recipe.postprocess.score_threshold == 0.2


METHODS = {
    "trace": "trace",
    "reference": "reference",
    "derive": "derive",
    "build": "build",
    "verify": "verify",
    "latency": "latency",
}


@pytest.mark.parametrize("stage", ["reference", "verify", "latency"])
def test_an_interrupted_export_goes_on_where_it_stopped(
    stage: str, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pipeline.Export, f"_{METHODS[stage]}", interrupt)
        with pytest.raises(KeyboardInterrupt):
            export(quick(inputs), tmp_path)
    assert not (tmp_path / "det" / "tiny-fixed-0.5x").exists()
    done = STAGES[: STAGES.index(stage)]
    forbid(monkeypatch, *(METHODS[each] for each in done))
    outcome = export(quick(inputs), tmp_path)
    assert outcome.status == "resumed"
    assert set(contents(outcome.folder)) == FILES
    assert read_manifest(outcome.folder) == outcome.manifest


def test_a_stage_whose_file_was_lost_is_done_again(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any) -> Any:
        raise RuntimeError("stopped")

    with monkeypatch.context() as patch:
        patch.setattr(pipeline.Export, "_latency", interrupt)
        with pytest.raises(RuntimeError, match="stopped"):
            export(quick(inputs), tmp_path)
    partial = tmp_path / "det" / ".tiny-fixed-0.5x.partial"
    (partial / "reference.npz").write_bytes(b"cut off")
    forbid(monkeypatch, "trace")
    verified = []
    verify = pipeline.Export._verify

    def watched(run: Any, engine: Any) -> Any:
        verified.append(engine.target)
        return verify(run, engine)

    monkeypatch.setattr(pipeline.Export, "_verify", watched)
    outcome = export(quick(inputs), tmp_path)
    assert digest(outcome.folder / "reference.npz") == outcome.manifest.files["reference.npz"]
    assert verified == ["onnxruntime"]  # what rests on the lost file is done again too


@pytest.fixture
def wrong_lowering(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Matrices of the lowering off by one part in a thousand."""
    right = lower_resample.table_matrix
    with monkeypatch.context() as patch:
        patch.setattr(lower_resample, "table_matrix", lambda *a: 1.001 * right(*a))
        yield patch


@pytest.mark.parametrize("variant", ["fixed", "uniform"])
def test_an_engine_that_deviates_becomes_no_bundle(
    variant: str, inputs: Path, tmp_path: Path, wrong_lowering: pytest.MonkeyPatch
) -> None:
    recipe = quick(inputs, variant=variant)
    message = refusal(lambda: export(recipe, tmp_path))
    assert "deviates from PyTorch: the first difference is at zoomed, which differs" in message
    assert "no bundle was written" in message
    assert not (tmp_path / "det" / f"tiny-{variant}-0.5x").exists()
    assert "at zoomed" in refusal(lambda: export(recipe, tmp_path))  # nor on another try
    wrong_lowering.undo()
    assert export(recipe, tmp_path, force=True).manifest.parity[0].status == "passed"


def test_deviation_behind_the_zoom_is_named_where_it_begins(
    inputs: Path, tmp_path: Path, wrong_lowering: pytest.MonkeyPatch
) -> None:
    message = refusal(lambda: export(quick(inputs, input="zoomed"), tmp_path))
    assert "the first difference is at unzoomed_0" in message


def test_deviation_leaves_the_old_bundle(
    inputs: Path, bundle: Path, out: Path, wrong_lowering: pytest.MonkeyPatch
) -> None:
    before = contents(bundle)
    refusal(lambda: export(quick(inputs), out, force=True))
    assert contents(bundle) == before


FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    "writer",
    ["onnx.save", "np.savez_compressed", "write_reference", "Path.write_text", "os.replace"],
)
def test_a_full_disk_is_one_sentence_and_leaves_the_old_bundle(
    writer: str, inputs: Path, bundle: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise FULL

    before = contents(bundle)
    target = {
        "Path.write_text": (Path, "write_text"),
        "os.replace": (pipeline.Workspace.__init__.__globals__["os"], "replace"),
    }.get(writer)
    with monkeypatch.context() as patch:
        if target:
            patch.setattr(*target, full)
        else:
            patch.setattr(f"lzu_export.compiler.stages.{writer}", full)
        message = refusal(lambda: export(quick(inputs), out, force=True))
    assert "the disk is full; free space and run again" in message
    assert str(bundle) in message
    assert contents(bundle) == before
    assert export(quick(inputs), out).status == "up to date"


def test_a_full_disk_at_the_first_export_leaves_nothing_in_place(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise FULL

    with monkeypatch.context() as patch:
        patch.setattr("lzu_export.compiler.stages.write_reference", full)
        assert "disk is full" in refusal(lambda: export(quick(inputs), tmp_path))
    assert not (tmp_path / "det" / "tiny-fixed-0.5x").exists()
    assert export(quick(inputs), tmp_path).status == "resumed"


def test_an_output_that_cannot_be_written(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    message = refusal(lambda: export(quick(inputs), tmp_path / "file"))
    assert "part of the path is a file; choose another folder (OUT)" in message

    def denied(*_: Any, **__: Any) -> Any:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", denied)
    message = refusal(lambda: export(quick(inputs), tmp_path / "other"))
    assert "permission is denied; make the folder writable or choose another" in message


def test_inputs_are_refused_before_any_work(inputs: Path, tmp_path: Path) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"random_weights": None}, "recipe tiny has no checkpoint for the variant fixed"),
        ({"checkpoint": {"fixed": "absent.pth"}}, "checkpoint absent.pth does not exist"),
        ({"warp": {"saliency": "absent.npy"}}, "saliency absent.npy does not exist"),
    ]
    for changes, words in cases:
        recipe = quick(inputs, **changes)
        assert words in refusal(lambda recipe=recipe: export(recipe, tmp_path))
    assert not list(tmp_path.iterdir())
    no_saliency = quick(inputs, warp={"saliency": None})
    assert "needs a saliency" in refusal(lambda: export(no_saliency, tmp_path))


class FakeSet:
    """Two frames; the metric is scripted."""

    name = "fake"
    note = "no sizes"
    metric = "AP"
    classes = tuple(CLASSES)

    def __init__(self, metrics: list[float], frames: int = 2, size: tuple[int, int] = (96, 160)):
        self.metrics, self.count, self.size = list(metrics), frames, size

    def __len__(self) -> int:
        return self.count

    def samples(self) -> Iterator[Sample]:
        for i in range(self.count):
            yield Sample(i, CameraFrame(noise_frame(self.size, seed=i)), None)

    def scorer(self) -> "FakeScorer":
        return FakeScorer(self)


class FakeScorer:
    """Sees every frame once."""

    def __init__(self, dataset: FakeSet) -> None:
        self.dataset = dataset
        self.seen: list[int] = []

    def add(self, sample: Sample, prediction: Any) -> None:
        assert len(prediction.scores) == len(prediction)
        self.seen.append(sample.number)

    def summary(self) -> dict[str, float]:
        assert self.seen == list(range(self.dataset.count))
        return {"AP": self.dataset.metrics.pop(0)}

    def state(self) -> None:
        """It cannot go on."""


def test_accuracy_of_pytorch_and_engine_is_in_the_manifest(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (stages, whole_export):
        monkeypatch.setattr(module, "open_dataset", lambda *_: FakeSet([40.0, 40.05]))
    outcome = export(quick(inputs, evaluation={"dataset": "fake"}), tmp_path)
    accuracy = outcome.manifest.accuracy
    assert accuracy is not None
    assert (accuracy.dataset, accuracy.frames) == ("fake", 2)
    assert accuracy.pytorch == {"AP": 40.0}
    assert accuracy.engines == {"onnxruntime/fp32": {"AP": 40.05}}


def test_an_engine_that_loses_accuracy_becomes_no_bundle(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (stages, whole_export):
        monkeypatch.setattr(module, "open_dataset", lambda *_: FakeSet([40.0, 39.8]))
    recipe = quick(inputs, evaluation={"dataset": "fake"})
    message = refusal(lambda: export(recipe, tmp_path))
    assert "AP of onnxruntime/fp32 differs from PyTorch's by 0.20 points" in message
    assert not (tmp_path / "det" / "tiny-fixed-0.5x").exists()
    for module in (stages, whole_export):
        monkeypatch.setattr(module, "open_dataset", lambda *_: FakeSet([40.0, 40.0]))
    assert export(recipe, tmp_path).status == "resumed"


def test_an_evaluation_set_that_does_not_fit_is_refused(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = quick(inputs, evaluation={"dataset": "fake"})
    for module in (stages, whole_export):
        monkeypatch.setattr(module, "open_dataset", lambda *_: FakeSet([], frames=0))
    assert "fake holds no frames" in refusal(lambda: export(recipe, tmp_path))
    for module in (stages, whole_export):
        monkeypatch.setattr(module, "open_dataset", lambda *_: FakeSet([], size=(90, 160)))
    assert "frame 0 of fake is 90x160" in refusal(lambda: export(recipe, tmp_path))


def test_frames_are_padded_to_whole_batches(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (stages, whole_export):
        monkeypatch.setattr(module, "open_dataset", lambda *_: FakeSet([1, 1], frames=3))
    recipe = quick(inputs, batch=2, evaluation={"dataset": "fake"})
    outcome = export(recipe, tmp_path)
    assert outcome.manifest.accuracy is not None
    with np.load(outcome.folder / "reference.npz") as stored:
        assert stored["0/frames"].shape == stored["1/frames"].shape == (2, 96, 160, 3)
        assert (stored["1/frames"][0] == stored["1/frames"][1]).all()


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


def kinds_of(outcome: Outcome) -> dict[str, str]:
    return {each.place: each.kind for each in outcome.manifest.engines[0].lowerings}


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What is timed, a list a comparison; in each another kind is three times faster."""
    asked: list[list[str]] = []

    def fake(models: Any) -> list[list[float]]:
        kinds = ["GridSample" in {node.op_type for node in each.graph.node} for each in models]
        asked.append([len(models)])
        fast = len(asked) % 2 == 0
        return [[1.0 if each == fast else 3.0] * 9 for each in kinds]

    monkeypatch.setattr(OnnxRuntime, "timer", property(lambda _: fake))
    return asked


@pytest.mark.parametrize("together", [True, False])
def test_variants_take_the_same_lowering_of_the_same_step(
    together: bool, inputs: Path, tmp_path: Path, timed: list[Any]
) -> None:
    """This holds for one export command or two, and a forced export keeps the choice."""
    recipes = [tiny_recipe(inputs, variant=each) for each in ("uniform", "fixed")]
    if together:
        uniform, fixed = pipeline.export_all(recipes, tmp_path)
    else:
        uniform, fixed = (export(each, tmp_path) for each in recipes)
    assert {each.status for each in (uniform, fixed)} == {"exported"}
    assert set(kinds_of(fixed)) > set(kinds_of(uniform)) == {"zoom"}
    assert kinds_of(uniform)["zoom"] == kinds_of(fixed)["zoom"]
    assert len(timed) == len(kinds_of(fixed))
    assert timed[0] == ([6] if together else [3])
    (zoom,) = [each for each in fixed.manifest.engines[0].lowerings if each.place == "zoom"]
    names = "tiny-uniform-0.5x, tiny-fixed-0.5x" if together else "tiny-uniform-0.5x"
    assert zoom.reason.startswith(f"measured with {names}: ")
    if together:  # timed in turns, as their manifests say, and not again without need
        assert fixed.manifest.comparison.base == uniform.folder.name
        assert read_manifest(fixed.folder) == fixed.manifest
        known = pipeline.export_all(recipes, tmp_path)
        assert [each.status for each in known] == ["up to date"] * 2
        assert known[1].manifest == fixed.manifest
    again = export(recipes[0], tmp_path, force=True)
    assert kinds_of(again) == kinds_of(uniform)
    assert len(timed) == len(kinds_of(fixed))
    assert export(recipes[1], tmp_path).status == "up to date"


def test_a_bundle_that_lowers_a_shared_step_otherwise_is_made_again(
    inputs: Path, tmp_path: Path, timed: list[Any]
) -> None:
    """The older bundle's choice of lowering is the one that counts."""
    recipes = [tiny_recipe(inputs, variant=each) for each in ("uniform", "fixed")]
    first, second = (
        export(each, tmp_path / name) for each, name in zip(recipes, "ab", strict=True)
    )
    assert kinds_of(first)["zoom"] != kinds_of(second)["zoom"]
    shutil.copytree(second.folder, tmp_path / "a" / "det" / second.folder.name)
    moved = export(recipes[1], tmp_path / "a")
    assert moved.status == "exported"
    assert kinds_of(moved) == {**kinds_of(second), "zoom": kinds_of(first)["zoom"]}


def test_two_exports_give_the_same_graphs(inputs: Path, tmp_path: Path) -> None:
    """The graphs are equal byte for byte, although both exports timed the lowerings."""
    recipe = tiny_recipe(inputs, precision=["fp32", "fp16"])
    one, other = (export(recipe, tmp_path / name) for name in "ab")
    graphs = [name for name in one.manifest.files if name.endswith(".onnx")]
    assert len(graphs) == 4
    for name in graphs:
        assert one.manifest.files[name] == other.manifest.files[name], name
    (zoom,) = [each for each in other.manifest.engines[0].lowerings if each.place == "zoom"]
    assert zoom.reason.startswith("measured with ")
