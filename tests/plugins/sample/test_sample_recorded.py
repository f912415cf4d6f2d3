"""The C++ sample's steps around an engine equal Python's to the bit, on recorded outputs."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from host_kernels import Array, aligned, library
from sample_bundles import write_bundle

from lzu_export.inputs.images import read_image
from lzu_export.recipes import Recipe
from lzu_export.runtime.device_zoom import make_zoom
from lzu_export.runtime.predictor import CameraFrame
from lzu_export.support.session import TensorSpec
from lzu_export.tasks.predictors import make_predictor
from lzu_export.tasks.registry import find_task
from lzu_export.tasks.warps import make_warp
from lzu_export.warp.grids import stored_zoom
from samples import tiny_recipe

SOURCE = (96, 160)
FRAMES = 7
CANDIDATES = 60
CAMERA = [[128.0, 0, 79.5], [0, 120.0, 47.5], [0, 0, 1]]
LIMITS = {"score_threshold": 0.2, "iou_threshold": 0.3, "max_detections": 9}
ADAPTIVE: dict[str, Any] = {
    "variant": "adaptive",
    "crop": [80, 128],
    "warp": {"boxes": 20, "bandwidth": 20.0, "feedback": {"score_threshold": 0.5, "most": 5}},
    "postprocess": LIMITS,
}


class Recorded:
    """A session that gives recorded outputs and keeps the inputs that it gets."""

    def __init__(self, inputs: Any, outputs: list[dict[str, Array]]) -> None:
        self.inputs, self.waiting, self.given = inputs, list(outputs), list[Any]()

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        self.given.append({name: np.array(value) for name, value in inputs.items()})
        return self.waiting.pop(0)

    def close(self) -> None:
        """Release nothing."""


def det_outputs(random: np.random.Generator, batch: int) -> dict[str, Array]:
    """Draw candidates in clusters, with equal scores, and with boxes and scores to be dropped."""
    centres = random.uniform((0, 0), (SOURCE[1], SOURCE[0]), (batch, CANDIDATES // 6, 1, 2))
    corners = centres + random.normal(0, 2, (batch, CANDIDATES // 6, 6, 2))
    sizes = random.uniform(5, 40, corners.shape)
    boxes = np.concatenate([corners - sizes / 2, corners + sizes / 2], axis=-1)
    boxes = boxes.reshape(batch, CANDIDATES, 4).astype(np.float32)
    scores = random.uniform(0, 1, (batch, CANDIDATES)).round(1).astype(np.float32)
    boxes[:, 3, 2] = boxes[:, 3, 0]
    boxes[:, 4, 1], scores[:, 5], scores[:, 3:5] = np.nan, np.inf, 0.9
    labels = random.integers(0, 2, scores.shape).astype(np.int32)
    return {"boxes": boxes, "scores": scores, "labels": labels}


def det3d_outputs(random: np.random.Generator, batch: int) -> dict[str, Array]:
    """Draw boxes in space that overlap, some of them without a size or not finite."""
    boxes = random.uniform(-3, 3, (batch, CANDIDATES, 9))
    boxes[..., 3:6] = random.uniform(0.5, 4, (batch, CANDIDATES, 3))
    boxes[:, 2, 5], boxes[:, 3, 7] = 0, np.inf
    scores = random.uniform(0, 1, (batch, CANDIDATES, 2)).round(2)
    attributes = random.integers(0, 3, (batch, CANDIDATES))
    return {
        "boxes": boxes.astype(np.float32),
        "scores": scores.astype(np.float32),
        "attributes": attributes.astype(np.int32),
    }


def expected_of(
    recipe: Recipe, session: Any, frames: list[Array], folder: Path
) -> list[dict[str, Any]]:
    """Return the results of Python's predictor for frames in batches."""
    predictor = make_predictor(recipe, session, make_warp(recipe).arrays())
    presenter = find_task(recipe.task).presenter(recipe, folder, 0.3)
    camera = CAMERA if recipe.task == "det3d" else None
    for first in range(0, len(frames), recipe.batch):
        group = frames[first : first + recipe.batch]
        filled = group + group[-1:] * (recipe.batch - len(group))
        found = predictor.run([CameraFrame(each, camera) for each in filled])
        for number, each in enumerate(found[: len(group)], start=first + 1):
            presenter.add(number, f"{number}.ppm", each, None)
    results: list[dict[str, Any]] = json.loads(json.dumps(presenter.results()))
    return results


CASES: dict[str, tuple[str, dict[str, Any], Any]] = {
    "adaptive": ("det", ADAPTIVE, det_outputs),
    "batch": ("det", {"batch": 3, "postprocess": LIMITS}, det_outputs),
    "space": (
        "det3d",
        {"batch": 2, "crop": [80, 128], "postprocess": LIMITS, "classes": ["near", "far"]},
        det3d_outputs,
    ),
}
"""Task, recipe and the outputs' generator by name."""


@pytest.mark.parametrize("name", CASES)
def test_results_and_inputs_equal_python_s(name: str, on_recordings: Path, tmp_path: Path) -> None:
    """Over a sequence: the detections, and every byte that the engine would have got."""
    task, changes, draw = CASES[name]
    recipe, random = tiny_recipe(tmp_path, task, **changes), np.random.default_rng(7)
    outputs = [draw(random, recipe.batch) for _ in range(-(-FRAMES // recipe.batch))]
    frames = [random.integers(0, 256, (*SOURCE, 3)).astype(np.uint8) for _ in range(FRAMES)]
    session = Recorded(
        (TensorSpec("frame", "uint8", ()), TensorSpec("prev_boxes", "", ())), outputs
    )
    expected = expected_of(recipe, session, frames, tmp_path)
    write_bundle(tmp_path / "bundle", recipe, {"inputs": session.given[0], "outputs": outputs[0]})
    (tmp_path / "cameras.json").write_text(json.dumps({"cam2img": CAMERA}))
    options = ["--cameras", str(tmp_path / "cameras.json")] if task == "det3d" else []
    found = run_sample(on_recordings, tmp_path, frames, outputs, *options)
    assert len(expected) > 3 * FRAMES
    assert found == expected
    for number, given in enumerate(session.given):
        for key, value in given.items():
            written = np.fromfile(tmp_path / f"recording/{number}.{key}.bin", value.dtype)
            np.testing.assert_array_equal(written, value.ravel())
    if name == "adaptive":
        assert {int(given["prev_valid"].sum()) for given in session.given} >= {0, 5}


def run_sample(
    program: Path,
    folder: Path,
    frames: list[Array],
    outputs: list[dict[str, Array]],
    *options: str,
) -> Any:
    """Record outputs, run the sample with them and return what it prints."""
    recording = folder / "recording"
    recording.mkdir()
    for number, each in enumerate(outputs):
        for key, value in each.items():
            value.tofile(recording / f"{number}.{key}.bin")
    paths = [folder / f"{number}.ppm" for number in range(1, len(frames) + 1)]
    for path, frame in zip(paths, frames, strict=True):
        assert cv2.imwrite(str(path), frame)
    command = [program, folder / "bundle", *paths, "--engine", recording, *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_label_maps_and_shares_equal_python_s(on_recordings: Path, tmp_path: Path) -> None:
    recipe, random = tiny_recipe(tmp_path, "seg", crop=[64, 128]), np.random.default_rng(8)
    shape = (1, *recipe.view)
    outputs = [{"labels": random.integers(0, 2, shape).astype(np.int32)} for _ in range(2)]
    outputs[1]["labels"][:] = 1
    frames = [random.integers(0, 256, (*SOURCE, 3)).astype(np.uint8) for _ in range(2)]
    session = Recorded((TensorSpec("frame", "uint8", ()),), outputs)
    expected = expected_of(recipe, session, frames, tmp_path)
    write_bundle(tmp_path / "bundle", recipe, {"inputs": session.given[0], "outputs": outputs[0]})
    (tmp_path / "maps").mkdir()
    options = "--labels", str(tmp_path / "maps")
    found = run_sample(on_recordings, tmp_path, frames, outputs, *options)
    for each, other in zip(found, expected, strict=True):
        ours, theirs = (read_image(tmp_path / entry.pop("file_name")) for entry in (each, other))
        np.testing.assert_array_equal(ours, theirs)
        assert 255 in ours
    assert found == expected
    assert [len(each["shares"]) for each in found] == [2, 1]


@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_the_zoomed_image_is_that_of_the_kernel(
    order: str, on_recordings: Path, tmp_path: Path
) -> None:
    """To the bit what Python's session on a device would launch; in a crop, antialiased."""
    changes = {
        "input": "zoomed",
        "batch": 2,
        "crop": [80, 128],
        "sampler": "antialiased",
        "normalisation": {"order": order, "mean": [100.0, 120.0, 130.0], "std": [50.0, 60.0, 70.0]},
        "postprocess": LIMITS,
    }
    recipe, random = tiny_recipe(tmp_path, **changes), np.random.default_rng(9)
    frames = [random.integers(0, 256, (*SOURCE, 3)).astype(np.uint8) for _ in range(2)]
    spec = TensorSpec("image", "float32", recipe.image_shapes["image"])
    image = aligned(spec.shape, np.float32)
    write_bundle(
        tmp_path / "bundle", recipe, {"inputs": {"image": image}, "outputs": det_outputs(random, 2)}
    )
    run_sample(on_recordings, tmp_path, frames, [det_outputs(random, 2)])
    zoom = make_zoom(library(), recipe, stored_zoom(make_warp(recipe).arrays()), [spec])
    given = aligned((2, *SOURCE, 3), np.uint8)
    given[...] = frames
    addresses = {"frame": given.ctypes.data, "image": image.ctypes.data}
    addresses |= {key: value.ctypes.data for key, value in zoom.constants.items()}
    zoom.enqueue(addresses, 0)
    written = np.fromfile(tmp_path / "recording/0.image.bin", np.float32).reshape(spec.shape)
    np.testing.assert_array_equal(written, image)
    on_host = make_predictor(recipe, Recorded((), []), make_warp(recipe).arrays())  # type: ignore[arg-type]
    np.testing.assert_allclose(written, on_host.preprocess_image(frames)["image"], atol=2e-5)
