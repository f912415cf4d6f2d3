"""Bundles whose knots the host gives, of every task."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from lzu_export.bundle.bundle import Bundle
from lzu_export.bundle.run import apply
from lzu_export.compiler.pipeline import Outcome, export
from lzu_export.preview.openers import from_bundle
from lzu_export.recipes import Recipe
from lzu_export.runtime import load
from lzu_export.runtime.predictor import CameraFrame
from lzu_export.support.progress import Reporter
from lzu_export.tasks.pytorch import noise_frame, torch_predictor
from lzu_export.tasks.warps import make_warp
from lzu_export.verification.parity import verify_engine
from lzu_export.warp.families import gaze_knots, radial_knots
from lzu_export.warp.fixed_warp import FixedWarp
from lzu_export.warp.grids import zoom_at
from samples import SLOW_DET3D, noise_frames, tiny_recipe

SOURCE, LATTICE = (96, 160), (7, 11)
CAMERA: Any = [[128.0, 0, 79.5], [0, 128, 47.5], [0, 0, 1]]
TASKS: dict[str, dict[str, Any]] = {
    "det": {
        "precision": ["fp32", "int8"],
        "postprocess": {"score_threshold": 0.001, "candidates_per_level": 50},
        "tolerances": {"scores": {"int8": 0.1}},
    },
    "seg": {"precision": ["fp32", "fp16"]},
    "det3d": {"precision": ["fp32"], "postprocess": {"score_threshold": 0.001}},
}


def gaze(x: float) -> dict[str, Any]:
    return dict(gaze_knots((x, 40), SOURCE, lattice=LATTICE))


def external(folder: Path, task: str, **changes: Any) -> Recipe:
    """A recipe of the variant, with frames in `folder` to calibrate on."""
    frames = noise_frames(folder / "frames", 3, SOURCE)
    told = {"calibration": {"frames": str(frames), "count": 2}, **TASKS[task], **changes}
    return tiny_recipe(folder, task, variant="external", **told)


@pytest.fixture(scope="module")
def exported(each_task: str, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """A bundle of each task, with frames beside it; not to be changed."""
    folder = tmp_path_factory.mktemp("external")
    return export(external(folder, each_task), folder)


def test_knots_are_inputs_and_engines_equal_pytorch_at_several(exported: Outcome) -> None:
    manifest = exported.manifest
    inputs = [each.name for each in manifest.engines[0].inputs]
    cameras = ["cam2img", "img2cam"] if manifest.task == "det3d" else []
    assert inputs == ["frame", "knots_x", "knots_y", *cameras]
    assert manifest.warp.source == "knots of the host, at first even"
    for parity in manifest.parity:
        assert parity.status == ("graph passed" if parity.target == "emulated" else "passed")
        assert list(parity.probes)[:3] == ["clamped_knots_x", "clamped_knots_y", "zoomed"]
        assert parity.probes["clamped_knots_x"] == 0
    bundle = Bundle(exported.folder, manifest)
    assert [verify_engine(bundle, each).status for each in manifest.engines] == ["passed"] * len(
        manifest.engines
    )
    first, second = (each.inputs["knots_x"] for each in bundle.references)
    np.testing.assert_allclose(first, np.linspace(-1, 1, 11)[None], atol=1e-7)
    assert np.abs(second - first).max() > 0.1


def test_the_runtime_equals_pytorch_at_the_knots_that_are_set(
    exported: Outcome, tmp_path: Path
) -> None:
    task = exported.manifest.task
    recipe = external(tmp_path, task)
    reference: Any = torch_predictor(recipe, make_warp(recipe))
    engine = load(exported.folder)
    assert not engine.is_stateful
    camera = [CAMERA] if task == "det3d" else []
    frame, found = noise_frame(SOURCE, seed=0), []
    for knots in (None, gaze(30), gaze(120), None):
        for each in (reference, engine):
            each.reset()
            if knots is not None:
                each.set_knots(knots)
        theirs, mine = reference(frame, *camera), engine(frame, *camera)
        name = "labels" if task == "seg" else "scores"
        values = [getattr(each, name).astype(np.float64) for each in (mine, theirs)]
        assert len(values[0]) == len(values[1]) > 0
        assert (np.abs(values[0] - values[1]) > 1e-5).mean() < 1e-3
        found.append(values[0])
    np.testing.assert_array_equal(found[0], found[3])
    assert not np.array_equal(found[1], found[2])


def test_the_warp_of_each_frame_is_shown(exported: Outcome, tmp_path: Path) -> None:
    engine = load(exported.folder)
    camera = [CAMERA] if exported.manifest.task == "det3d" else []
    for x in (30, 120):
        engine.set_knots(FixedWarp.from_knots(knots=gaze(x), source=SOURCE, scale=0.5))
        engine(noise_frame(SOURCE, seed=0), *camera)
        used = {name: each.astype(np.float32) for name, each in gaze(x).items()}
        wanted = zoom_at(used, SOURCE, engine.recipe.canvas)
        for mine, theirs in zip(engine.tables, wanted, strict=True):
            np.testing.assert_array_equal(mine, theirs)
    constant = from_bundle(exported.folder).knots["knots_x"]
    np.testing.assert_allclose(constant, np.linspace(-1, 1, 11), atol=1e-7)
    if camera:
        return
    out = tmp_path / "run"
    frames = noise_frames(tmp_path / "frames", 3, SOURCE)
    counts = apply(exported.folder, frames, out, show_warp=True, report=Reporter(quiet=True))
    assert counts["frames"] == 3
    picture: Any = cv2.imread(str(out / "0.png"))
    assert picture.shape[1] > 2 * SOURCE[1]


def test_images_of_a_batch_have_knots_of_their_own(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path, variant="external", batch=2)
    model = torch_predictor(recipe, make_warp(recipe))
    model.set_knots(gaze(30))
    model.set_knots(gaze(120), stream=1)
    frames = [CameraFrame(noise_frame(SOURCE, seed=0))] * 2
    both = model.run(frames)
    model.set_knots(gaze(120))
    (_, alone) = model.run(frames)
    np.testing.assert_array_equal(both[1].scores, alone.scores)
    assert not np.array_equal(both[0].scores, both[1].scores)


@pytest.mark.parametrize("crop", [None, [64, 96]])
@pytest.mark.parametrize("task", ["det", "seg", SLOW_DET3D])
def test_a_file_s_knots_equal_a_fixed_warp_s(
    task: str, crop: list[int] | None, tmp_path: Path
) -> None:
    """Until the host gives knots, the model is the fixed one of the same file."""
    np.savez(tmp_path / "knots.npz", **gaze(50))
    warp = {"knots": str(tmp_path / "knots.npz"), "saliency": None}
    camera_frame = CameraFrame(noise_frame(SOURCE, seed=3), CAMERA if task == "det3d" else None)
    found = []
    for variant in ("fixed", "external"):
        recipe = tiny_recipe(tmp_path, task, variant=variant, warp=warp, crop=crop)
        model = torch_predictor(recipe, make_warp(recipe))
        found.append(model.infer([camera_frame])["labels" if task == "seg" else "scores"])
    if task == "seg":
        assert (found[0] != found[1]).mean() < 1e-3
    else:
        np.testing.assert_allclose(found[0], found[1], atol=1e-5)


def test_planes_of_knots_are_inputs_too(tmp_path: Path) -> None:
    """At a plane that the host gives, the model is the fixed one of that plane."""
    knots: Any = radial_knots((80, 50), SOURCE, radius=0.6, lattice=LATTICE)
    np.savez(tmp_path / "knots.npz", **knots)
    fixed = {"knots": str(tmp_path / "knots.npz"), "saliency": None}
    found = []
    for variant, settings in (("fixed", fixed), ("external", {})):
        warp = {"separable": False, **settings}
        recipe = tiny_recipe(tmp_path, variant=variant, warp=warp)
        model = torch_predictor(recipe, make_warp(recipe))
        if variant == "external":
            model.set_knots(knots)
        found.append(model.infer([CameraFrame(noise_frame(SOURCE, seed=0))])["scores"])
    np.testing.assert_allclose(found[0], found[1], atol=1e-5)


@pytest.mark.slow
def test_planes_of_knots_are_exported(tmp_path: Path) -> None:
    recipe = tiny_recipe(
        tmp_path, variant="external", warp={"separable": False}, precision=["fp32", "fp16"]
    )
    outcome = export(recipe, tmp_path)
    for parity in outcome.manifest.parity:
        assert parity.status == ("graph passed" if parity.target == "emulated" else "passed")
        assert list(parity.probes)[:2] == ["clamped_knots", "zoomed"]
    reference: Any = torch_predictor(recipe, make_warp(recipe))
    engine = load(outcome.folder)
    knots = radial_knots((80, 50), SOURCE, radius=0.6, lattice=LATTICE)
    frame = noise_frame(SOURCE, seed=0)
    for each in (engine, reference):
        each.set_knots(knots)
    np.testing.assert_allclose(engine(frame).scores, reference(frame).scores, atol=1e-5)
    assert engine.tables.whole.shape == (*recipe.canvas, 2)


@pytest.mark.parametrize("precision", ["fp16", pytest.param("int8", marks=pytest.mark.slow)])
def test_tensorrt_rtx_builds_it(precision: str, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx")
    recipe = external(tmp_path, "det", precision=[precision], targets=["tensorrt-rtx"])
    manifest = export(recipe, tmp_path).manifest
    (engine,) = manifest.engines
    assert [each.name for each in engine.inputs] == ["frame", "knots_x", "knots_y"]
    assert [each.status for each in manifest.parity] == ["graph passed"]
