"""The folder for Gst-nvinfer: its parsers equal the runtime, its graph the bundle's own."""

import configparser
import ctypes
import os
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lzu_export.bundle.bundle import Bundle
from lzu_export.compiler.derive import derive
from lzu_export.errors import LzuError
from lzu_export.graph.planar import PLANAR, planar_input
from lzu_export.packing.deepstream_layout import SOURCES, config_text, header_text
from lzu_export.packing.pack import pack
from lzu_export.recipes import Recipe
from lzu_export.runtime import CameraFrame, load
from lzu_export.runtime.fitting import fitting
from lzu_export.runtime.postprocess import suppress
from lzu_export.runtime.segmenter import placed_labels
from lzu_export.support.limits import IGNORED
from lzu_export.targets.onnxruntime import OnnxRuntimeSession
from lzu_export.tasks.pytorch import noise_frame
from samples import graph_model, tiny_recipe

HERE = Path(__file__).parent / "deepstream"
Array = NDArray[Any]


def build(recipe: Recipe, folder: Path, headers: Path = HERE) -> Any:
    """Compile the parsers with a recipe's settings, as the packed Makefile does."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("no g++: the parsers are C++")
    folder.mkdir()
    (folder / "lzu_bundle.h").write_text(header_text(recipe))
    library = folder / "parser.so"
    flags = ["-std=c++17", "-fPIC", "-shared", "-ffp-contract=off", "-O2", "-Wall", "-Wextra"]
    includes = [f"-I{each}" for each in (folder, SOURCES, headers)]
    command = [compiler, *flags, "-Werror", *includes, "-o", str(library)]
    subprocess.run([*command, str(HERE / "parser_calls.cpp")], check=True)
    return ctypes.CDLL(str(library))


def pointer(array: Array) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def parse_boxes(
    library: Any,
    recipe: Recipe,
    outputs: dict[str, Array],
    thresholds: list[float] | None = None,
    size: tuple[int, int] | None = None,
) -> Array | None:
    """Return the parser's objects (n, 6): x, y, width, height, score, label; None if refused."""
    boxes, scores, labels = (
        np.ascontiguousarray(outputs[n]) for n in ("boxes", "scores", "labels")
    )
    assert (boxes.dtype, scores.dtype, labels.dtype) == (np.float32, np.float32, np.int32)
    limits = np.zeros(len(recipe.classes), np.float32)
    if thresholds is not None:
        limits[:] = thresholds
    height, width = size or recipe.source
    found = np.full((len(scores) + 1, 6), np.nan, np.float32)
    count = library.parse_boxes(
        pointer(boxes), pointer(scores), pointer(labels), len(scores), len(labels), width, height,
        pointer(limits), len(limits), pointer(found),
    )  # fmt: skip
    return None if count < 0 else found[:count]


def expected(recipe: Any, outputs: dict[str, Array]) -> Array:
    """Return the runtime's detections as the objects of `parse_boxes`."""
    given = recipe.postprocess
    boxes, scores, labels = suppress(
        outputs["boxes"], outputs["scores"], outputs["labels"],
        score_threshold=given.score_threshold, iou_threshold=given.iou_threshold,
        max_detections=given.max_detections,
    )  # fmt: skip
    (top, left), (height, width) = recipe.corner, recipe.view
    clipped = np.clip(boxes, [left, top] * 2, [left + width, top + height] * 2).astype(np.float32)
    sides = clipped[:, 2:] - clipped[:, :2]
    columns = [clipped[:, :2], sides, scores[:, None], labels[:, None]]
    return np.concatenate(columns, axis=1).astype(np.float32)


@pytest.fixture(scope="module")
def cropped(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    """A detector that sees a part of the frame."""
    post = {"candidates_per_level": 100, "max_detections": 7, "score_threshold": 0.1}
    folder = tmp_path_factory.mktemp("cropped")
    return tiny_recipe(folder, "det", crop=[70, 96], postprocess=post)


@pytest.fixture(scope="module")
def cropped_parser(cropped: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return build(cropped, tmp_path_factory.mktemp("parser") / "built")


def test_recorded_outputs_give_the_runtime_s_detections(tiny_bundle: Path, tmp_path: Path) -> None:
    """To the bit, of every frame of the reference and of noise."""
    recipe = Bundle(tiny_bundle).recipe
    library, detector = build(recipe, tmp_path / "built"), load(tiny_bundle, threads=1)
    frames = [each.frames[0] for each in Bundle(tiny_bundle).references]
    for frame in (*frames, noise_frame((96, 160), 7)):
        outputs = detector.session.run({"frame": frame[None]})
        (found,) = detector.postprocess(outputs, [CameraFrame(frame)])
        mine = parse_boxes(library, recipe, {name: value[0] for name, value in outputs.items()})
        assert mine is not None
        assert len(found) > 3
        np.testing.assert_array_equal(mine[:, :2], found.boxes[:, :2])
        np.testing.assert_array_equal(mine[:, 2:4], found.boxes[:, 2:] - found.boxes[:, :2])
        np.testing.assert_array_equal(mine[:, 4], found.scores)
        np.testing.assert_array_equal(mine[:, 5], found.labels)


@settings(max_examples=200)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(0, 80))
def test_any_candidates_give_the_runtime_s_detections(
    cropped: Recipe, cropped_parser: Any, seed: int, count: int
) -> None:
    """Equal scores, touching boxes, boxes without area, and values that are not finite included."""
    generator = np.random.default_rng(seed)
    corners = np.round(generator.uniform(-20, 180, (count, 2)) / 8) * 8
    sides = np.round(generator.uniform(-8, 60, (count, 2)) / 8) * 8
    boxes = np.concatenate([corners, corners + sides], axis=1).astype(np.float32)
    boxes += generator.choice([0, 0, 0.3], boxes.shape).astype(np.float32)
    scores = np.round(generator.uniform(0, 1, count), 1).astype(np.float32)
    for values in (boxes, scores):
        odd = generator.random(values.shape) < 0.02
        values[odd] = generator.choice([np.nan, np.inf, -np.inf, 3e38], int(odd.sum()))
    labels = generator.integers(0, 2, count).astype(np.int32)
    outputs = {"boxes": boxes, "scores": scores, "labels": labels}
    mine = parse_boxes(cropped_parser, cropped, outputs)
    assert mine is not None
    np.testing.assert_array_equal(mine, expected(cropped, outputs))


def test_higher_thresholds_of_the_configuration_count(cropped: Recipe, cropped_parser: Any) -> None:
    """By class and inclusive, as Gst-nvinfer documents `pre-cluster-threshold`."""
    boxes = np.array([[34, 20, 44, 30], [50, 20, 60, 30], [70, 20, 80, 30]], np.float32)
    outputs = {
        "boxes": boxes,
        "scores": np.array([0.5, 0.5, 0.4375], np.float32),
        "labels": np.array([0, 1, 0], np.int32),
    }
    mine = parse_boxes(cropped_parser, cropped, outputs, thresholds=[0.5, 0.75])
    assert mine is not None
    np.testing.assert_array_equal(mine[:, 0], [34])


@pytest.mark.parametrize("wrong", ["size", "count"])
def test_other_outputs_are_refused(
    wrong: str, cropped: Recipe, cropped_parser: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    """With one sentence on stderr, and no objects."""
    outputs = {
        "boxes": np.zeros((3, 4), np.float32),
        "scores": np.ones(3, np.float32),
        "labels": np.zeros(2 if wrong == "count" else 3, np.int32),
    }
    size = (64, 64) if wrong == "size" else None
    assert parse_boxes(cropped_parser, cropped, outputs, size=size) is None
    told = capfd.readouterr().err
    words = {"size": "infer-dims are 3;64;64 but the bundle takes 3;96;160", "count": "differ in"}
    assert told.startswith("lzu: ")
    assert told.count("\n") == 1
    assert words[wrong] in told


@pytest.mark.parametrize("crop", [None, [70, 96]])
def test_class_maps_equal_the_runtime_s(crop: list[int] | None, tmp_path: Path) -> None:
    """In pixels of the frame; -1 outside of the view, where the runtime has 255."""
    changes = {} if crop is None else {"crop": crop}
    recipe = tiny_recipe(tmp_path, "seg", **changes)
    library = build(recipe, tmp_path / "built")
    generator = np.random.default_rng(3)
    labels = generator.integers(0, len(recipe.classes), recipe.view).astype(np.int32)
    height, width = recipe.source
    found = np.full(recipe.source, 7, np.int32)
    arguments = (*recipe.view, width, height, len(recipe.classes), pointer(found))
    assert library.parse_labels(pointer(labels), *arguments) == 0
    place = fitting(recipe.source, recipe.source, "exact")
    wanted = placed_labels(labels.astype(np.uint8), recipe, place, recipe.source).astype(np.int32)
    wanted[wanted == IGNORED] = -1
    np.testing.assert_array_equal(found, wanted)
    assert (crop is not None) == (found == -1).any()
    smaller = (recipe.view[0] - 1, recipe.view[1], width, height, len(recipe.classes))
    assert library.parse_labels(pointer(labels), *smaller, pointer(found)) == -1


@pytest.mark.parametrize("task", ["det", "seg"])
def test_the_planar_graph_computes_the_same(task: str, request: pytest.FixtureRequest) -> None:
    """From the values that Gst-nvinfer sends with a scale of 1, to the bit."""
    bundle = request.getfixturevalue({"det": "tiny_bundle", "seg": "tiny_seg_bundle"}[task])
    path = bundle / "model.fp32.onnxruntime.onnx"
    model = planar_input(onnx.load(path), "frame")
    frame = noise_frame((96, 160), 11)
    planar = np.ascontiguousarray(frame.transpose(2, 0, 1)[None]).astype(np.float32)
    mine = OnnxRuntimeSession(model.SerializeToString(), threads=1).run({PLANAR: planar})
    theirs = OnnxRuntimeSession(path, threads=1).run({"frame": frame[None]})
    assert mine.keys() == theirs.keys()
    for name, value in theirs.items():
        np.testing.assert_array_equal(mine[name], value)


def test_a_graph_with_other_inputs_has_no_planar_one() -> None:
    """The message lists them."""
    shapes = {"frame": (1, 4, 6, 3), "prev_boxes": (1, 4, 6, 3)}
    node = onnx.helper.make_node("Add", list(shapes), ["sum"])
    model = graph_model([node], shapes, {"sum": (1, 4, 6, 3)})
    with pytest.raises(LzuError, match="the graph takes frame, prev_boxes, and not only frame;"):
        planar_input(model, "frame")


def test_a_folder_for_gst_nvinfer_is_packed(bundle: Path, tmp_path: Path) -> None:
    """Model, configuration, parser with the bundle's settings; the numbers are the recipe's."""
    derive(bundle)
    archive = pack(bundle, layout="deepstream")
    assert archive.path == tmp_path / "bundle.deepstream.tar"
    with tarfile.open(archive.path) as tar:
        tar.extractall(tmp_path / "device", filter="data")
    folder = tmp_path / "device" / "bundle-deepstream"
    wanted = {"Makefile", "config_infer.fp32.txt", "labels.txt", "lzu_bundle.h", "lzu_parser.cpp"}
    assert {each.name for each in folder.iterdir()} == {*wanted, "model.fp32.onnx"}
    config = configparser.ConfigParser()
    config.read(folder / "config_infer.fp32.txt")
    told, recipe = config["property"], Bundle(bundle).recipe
    assert (folder / told["onnx-file"]).is_file()
    assert (folder / told["labelfile-path"]).read_text().split() == list(recipe.classes)
    assert int(told["num-detected-classes"]) == len(recipe.classes)
    (image,) = onnx.load(folder / told["onnx-file"]).graph.input
    shape = [each.dim_value for each in image.type.tensor_type.shape.dim]
    assert shape == [int(told["batch-size"]), *map(int, told["infer-dims"].split(";"))]
    assert float(config["class-attrs-all"]["pre-cluster-threshold"]) == 0.05
    function = f'extern "C" bool {told["parse-bbox-func-name"]}('
    assert function in (folder / "lzu_parser.cpp").read_text()


def test_the_packed_makefile_builds_what_the_configuration_names(
    bundle: Path, tmp_path: Path
) -> None:
    """Over the declarations of the test and a stand-in of trtexec, whose options are printed."""
    if shutil.which("make") is None or shutil.which("g++") is None:
        pytest.skip("no make and g++")
    derive(bundle)
    with tarfile.open(pack(bundle, layout="deepstream").path) as tar:
        tar.extractall(tmp_path / "device", filter="data")
    folder = tmp_path / "device" / "bundle-deepstream"
    includes = tmp_path / "sdk" / "sources" / "includes"
    shutil.copytree(HERE, includes)
    trtexec = tmp_path / "trtexec"
    trtexec.write_text('#!/bin/sh\necho "$@"\ntouch model.fp32.engine\n')
    trtexec.chmod(0o755)
    done = subprocess.run(
        ["make", "-s", f"DEEPSTREAM={tmp_path / 'sdk'}", f"TRTEXEC={trtexec}"],
        cwd=folder,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    )
    options = "--stronglyTyped --noTF32 --saveEngine=model.fp32.engine --skipInference"
    assert done.stdout.strip() == f"--onnx=model.fp32.onnx {options}"
    told = (folder / "config_infer.fp32.txt").read_text()
    for line in ("custom-lib-path=liblzu_parser.so", "model-engine-file=model.fp32.engine"):
        assert line in told
        assert (folder / line.partition("=")[2]).is_file()


def test_segmenters_get_the_parser_of_class_maps(tmp_path: Path) -> None:
    """With Gst-nvinfer's network type 2, and no thresholds of boxes."""
    recipe = tiny_recipe(tmp_path, "seg")
    config = configparser.ConfigParser()
    config.read_string(config_text(recipe, "model.fp16.onnx"))
    assert config.sections() == ["property"]
    assert config["property"]["network-type"] == "2"
    name = config["property"]["parse-segmentation-func-name"]
    assert f'extern "C" bool {name}(' in (SOURCES / "lzu_parser.cpp").read_text()
    assert config["property"]["model-engine-file"] == "model.fp16.engine"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"variant": "adaptive"}, "a bundle of variant adaptive needs more; pack one of variant"),
        ({"input": "zoomed"}, "Gst-nvinfer does not warp, and a bundle with input: zoomed"),
    ],
)
def test_bundles_that_gst_nvinfer_cannot_feed_are_refused(
    changes: dict[str, Any], words: str, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is written."""
    recipe = Bundle(bundle).recipe.model_copy(update=changes)
    monkeypatch.setattr(Bundle, "recipe", recipe)
    with pytest.raises(LzuError, match=words):
        pack(bundle, layout="deepstream")
    assert [each.name for each in bundle.parent.iterdir()] == ["bundle"]


def test_other_tasks_are_refused(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gst-nvinfer has metadata for boxes and class maps only."""
    monkeypatch.setattr(Bundle, "recipe", tiny_recipe(tmp_path, "det3d"))
    with pytest.raises(LzuError, match="no metadata for task det3d; pack a bundle of det or seg"):
        pack(bundle, layout="deepstream")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"target": "onnxruntime"}, "DeepStream runs TensorRT, not onnxruntime; leave --target"),
        ({"verifiable": True}, "--verifiable and --plugins are not for --format deepstream"),
        ({"layout": "zip"}, "no format zip; choose one of bundle, triton, deepstream"),
        ({}, "nothing for tensorrt; it has onnxruntime fp32; write the files first"),
        ({"precision": "int8"}, "nothing for tensorrt in int8; it has onnxruntime fp32"),
    ],
)
def test_other_options_are_refused(options: dict[str, Any], words: str, bundle: Path) -> None:
    """In one sentence, before anything is written."""
    with pytest.raises(LzuError, match=words):
        pack(bundle, **{"layout": "deepstream", **options})
    assert [each.name for each in bundle.parent.iterdir()] == ["bundle"]
