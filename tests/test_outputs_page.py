"""`docs/outputs.md` is right: every tensor is named there, and its steps give what `load` gives."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import onnx
import pytest
from onnx import helper

pytest.importorskip("torch", reason="exporting needs torch")

from lzu_export.compiler.pipeline import export
from lzu_export.manifest.schema import read_manifest
from lzu_export.runtime import load
from lzu_export.runtime.predictor import CameraFrame
from lzu_export.support.files import write_tensors
from lzu_export.tasks.predictors import make_predictor
from lzu_export.tasks.pytorch import noise_frame
from lzu_export.tasks.warps import make_warp
from plain_runtime import Plain, suppress_in_space
from samples import TINY_NETWORK, tiny_recipe

PAGE = Path(__file__).resolve().parents[1] / "docs/outputs.md"
SOURCE = (96, 160)
CAMERA = np.array([[128.0, 0, 79.5], [0, 128, 47.5], [0, 0, 1]])

LOW: dict[str, Any] = {"score_threshold": 0.001, "candidates_per_level": 50}
"""Post-processing of an untrained network, whose scores are low."""
ADAPTIVE: dict[str, Any] = {
    "variant": "adaptive",
    "warp": {"boxes": 20, "bandwidth": 20.0, "feedback": {"score_threshold": 0.002, "most": 12}},
    "postprocess": LOW,
    "crop": [80, 128],
}
BUNDLES: dict[str, tuple[str, dict[str, Any]]] = {
    "adaptive": ("det", ADAPTIVE),
    "zoomed": (
        "det",
        {"input": "zoomed", "sampler": "antialiased", "source_multiple": 32, "crop": [80, 128]},
    ),
    "zoomed on the plane": (
        "det",
        {"input": "zoomed", "warp": {"separable": False}, "normalisation": {"order": "bgr"}},
    ),
    "external": ("det", {"variant": "external", "warp": {"separable": False}}),
    "saliency network": (
        "seg",
        {
            "variant": "adaptive",
            "warp": {"network": TINY_NETWORK, "saliency": None},
            "postprocess": {"logits": True},
            "crop": [64, 128],
        },
    ),
}
"""Task and recipe of bundles besides the fixtures of `conftest.py`."""
FIXTURES = {"det": "tiny_bundle", "seg": "tiny_seg_bundle", "det3d": "tiny_det3d_bundle"}


class Tensor(NamedTuple):
    """A tensor's element type, and its number of axes."""

    dtype: str
    rank: int


def rows(heading: str) -> Iterator[list[str]]:
    """Yield the cells of the table that follows a heading of the page."""
    text = PAGE.read_text(encoding="utf-8").split(f"\n## {heading}\n")[1].split("\n#")[0]
    for line in re.findall(r"^\| (.*) \|$", text, flags=re.MULTILINE)[1:]:
        yield line.replace("`", "").split(" | ")


def told(dtype: str, shape: str) -> Tensor:
    return Tensor(dtype, shape.count(",") + 1)


def inputs() -> dict[str, Tensor]:
    return {name: told(dtype, shape) for name, dtype, shape, _ in rows("Inputs")}


def outputs(task: str) -> dict[str, Tensor]:
    return {
        name: told(dtype, shape)
        for of, name, dtype, shape, _ in rows("Outputs")
        if of in (task, "any")
    }


def tensors(values: Any) -> dict[str, Tensor]:
    """Return the inputs or outputs of a graph by name."""
    return {
        value.name: Tensor(
            np.dtype(helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)).name,
            len(value.type.tensor_type.shape.dim),
        )
        for value in values
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Function that returns the folder of a bundle of `BUNDLES`, exported once."""
    folder, known = tmp_path_factory.mktemp("outputs"), dict[str, Path]()

    def find(name: str) -> Path:
        if name not in known:
            task, changes = BUNDLES[name]
            plane = not changes.get("warp", {}).get("separable", True)
            kinds = ("gridsample", "gridsample") if plane else ("matmul", "matmul")
            lowering = dict(zip(("zoom", "unzoom"), kinds, strict=True))
            recipe = tiny_recipe(folder, task, **{"lowering": lowering, **changes})
            known[name] = export(recipe, folder / name).folder
        return known[name]

    return find


@pytest.mark.parametrize("name", [*FIXTURES, *BUNDLES])
def test_every_tensor_is_on_the_page(name: str, made: Any, request: pytest.FixtureRequest) -> None:
    """By its name, with its type and its number of axes; so is every image's size in the file."""
    folder = request.getfixturevalue(FIXTURES[name]) if name in FIXTURES else made(name)
    manifest = read_manifest(folder)
    for file in {each.onnx for each in manifest.engines}:
        graph = onnx.load(folder / file, load_external_data=False).graph
        assert tensors(graph.input).items() <= inputs().items()
        assert tensors(graph.output).items() <= outputs(manifest.task).items()
    text = PAGE.read_text(encoding="utf-8")
    plain = Plain(folder)
    for key in ("canvas_step", *plain.sizes):
        assert f"`{key}`" in text
    for array in plain.arrays:
        assert f"`{re.sub('unzoom_[0-9]+_[0-9]+', 'unzoom_L_P', array)}`" in text


@pytest.mark.parametrize("name", ["det", "zoomed", "zoomed on the plane", "external"])
def test_detections_are_those_of_the_steps(
    name: str, made: Any, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(FIXTURES[name]) if name in FIXTURES else made(name)
    predictor, plain = load(folder), Plain(folder)
    frame = noise_frame(SOURCE, 3)
    feeds = {"frame": frame[None]}
    if plain.recipe["input"] == "zoomed":
        feeds = {"image": plain.image(frame)}
        given = predictor.preprocess_image([frame])["image"]
        np.testing.assert_array_equal(feeds["image"], given)
        assert np.abs(given).max() > 1
    if name == "external":
        feeds["knots"] = plain.arrays["knots"].astype(np.float32)[None]
    result = predictor.session.run(feeds)
    found = plain.detections(*(result[key][0] for key in ("boxes", "scores", "labels")))
    same(found, predictor(frame))


def same(found: Any, expected: Any) -> None:
    assert len(expected) > 5
    for key in ("boxes", "scores", "labels"):
        np.testing.assert_array_equal(getattr(found, key), getattr(expected, key))


def test_boxes_are_fed_back_as_the_steps_say(made: Any) -> None:
    """Over a sequence, in a crop, by fewer boxes than there are detections."""
    predictor, plain = load(made("adaptive")), Plain(made("adaptive"))
    boxes, valid = np.zeros((1, 20, 4), np.float32), np.zeros((1, 20), np.float32)
    for seed in range(3):
        frame = noise_frame(SOURCE, seed)
        feeds = {"frame": frame[None], "prev_boxes": boxes, "prev_valid": valid}
        result = predictor.session.run(feeds)
        found = plain.detections(*(result[key][0] for key in ("boxes", "scores", "labels")))
        same(found, predictor(frame))
        boxes, valid = plain.fed_back(found)
        assert 0 < valid.sum() <= 12 < len(found.scores)


@pytest.mark.parametrize("name", ["seg", "saliency network"])
def test_labels_are_those_of_the_steps(
    name: str, made: Any, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(FIXTURES[name]) if name in FIXTURES else made(name)
    predictor, plain = load(folder), Plain(folder)
    frame = noise_frame(SOURCE, 4)
    result = predictor.session.run({"frame": frame[None]})
    expected = predictor(frame)
    np.testing.assert_array_equal(plain.label_map(result["labels"][0]), expected.labels)
    if "logits" in result:
        best = np.take_along_axis(result["logits"], result["labels"][:, None], axis=1)[:, 0]
        np.testing.assert_array_equal(best, result["logits"].max(axis=1))
    assert ("logits" in result) == (name == "saliency network")


def test_boxes_in_space_are_those_of_the_steps(tiny_det3d_bundle: Path) -> None:
    plain = Plain(tiny_det3d_bundle)
    frames = [noise_frame(SOURCE, seed) for seed in range(2)]
    cameras = [CAMERA, np.diag([1.05, 1.1, 1]) @ CAMERA]
    pairs = [plain.cameras(each) for each in cameras]
    feeds = {
        "frame": np.stack(frames),
        "cam2img": np.stack([pair[0] for pair in pairs]),
        "img2cam": np.stack([pair[1] for pair in pairs]),
    }
    with load(tiny_det3d_bundle) as predictor:
        result = predictor.session.run(feeds)
    lowest = float(np.quantile(result["scores"], 0.4))
    chosen = {"score_threshold": lowest, "iou_threshold": 0.7, "max_detections": 15}
    with load(tiny_det3d_bundle, **chosen) as predictor:
        shots = [CameraFrame(*pair) for pair in zip(frames, cameras, strict=True)]
        given = predictor.preprocess(shots)
        for key, value in feeds.items():
            np.testing.assert_array_equal(given[key], value)
        found = predictor.batch(frames, cameras)
    for i, expected in enumerate(found):
        boxes, scores = result["boxes"][i], result["scores"][i]
        kept = suppress_in_space(boxes, scores, **chosen)
        entries = [entry for entry, _ in kept]
        assert len(kept) > 5
        np.testing.assert_array_equal(boxes[entries], expected.boxes)
        np.testing.assert_array_equal([scores[pair] for pair in kept], expected.scores)
        assert [label for _, label in kept] == expected.labels.tolist()
        np.testing.assert_array_equal(result["attributes"][i][entries], expected.attributes)
        best = suppress_in_space(boxes, scores, **{**chosen, "iou_threshold": 1.1})
        assert kept != best, "something was suppressed"


def camera_inputs(recipe: Any, warp: Any) -> Any:
    session: Any = SimpleNamespace(inputs=())
    predictor = make_predictor(recipe, session, warp)
    return predictor.other_inputs([CameraFrame(noise_frame(SOURCE, 0), CAMERA)])


def test_cameras_of_a_crop_are_those_of_the_steps(tmp_path: Path) -> None:
    """With the files that a program reads, but no engine: they come before it."""
    recipe = tiny_recipe(tmp_path, "det3d", crop=[80, 128])
    warp = make_warp(recipe).arrays()
    write_tensors(tmp_path / "warp.safetensors", warp, recipe.places)
    data = {"recipe": recipe.model_dump(mode="json")}
    (tmp_path / "manifest.json").write_text(json.dumps(data))
    given = camera_inputs(recipe, warp)
    plain = Plain(tmp_path)
    assert plain.view == (16, 8, 144, 88)
    for key, value in zip(("cam2img", "img2cam"), plain.cameras(CAMERA), strict=True):
        np.testing.assert_array_equal(given[key][0], value)
