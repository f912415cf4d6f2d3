"""The zoom on the device: sessions over stand-ins, the kernel in its build for the host."""

import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from host_kernels import library

from fakes.fake_kernels import Kernels
from fakes.fake_tensorrt import RELEASES, plan
from fakes.install import install_cuda, install_tensorrt
from fakes.world import World
from lzu_export.bundle.bundle import Bundle
from lzu_export.compiler.build_tensorrt import build_on_device
from lzu_export.compiler.derive import derive
from lzu_export.compiler.pipeline import export
from lzu_export.errors import LzuError
from lzu_export.inputs.pixel_formats import shape_in
from lzu_export.manifest.schema import read_manifest
from lzu_export.recipes import Recipe
from lzu_export.runtime import device_zoom, load
from lzu_export.runtime.device_zoom import make_zoom, zoom_refusal
from lzu_export.runtime.predictor import CameraFrame, Predictor
from lzu_export.runtime.preprocess import ZoomedInput
from lzu_export.support.session import TensorSpec
from lzu_export.targets.base import OpenOptions
from lzu_export.targets.cuda.interface import open_cuda
from lzu_export.targets.onnxruntime import OnnxRuntimeSession
from lzu_export.targets.tensorrt import open as device
from lzu_export.targets.tensorrt.session import LoadedEngine, TensorRtSession
from lzu_export.tasks.predictors import make_predictor
from lzu_export.tasks.pytorch import noise_frame
from lzu_export.tasks.warps import make_warp
from lzu_export.warp.grids import stored_zoom
from pixel_samples import FORMATS, pixels_of
from samples import tiny_recipe

SOURCE, BATCH = (96, 160), 2
ATOL = {"float32": 2e-5, "float16": 2e-3}
"""Of normalised pixels; `test_kernel_camera` has the same."""


def compute(inputs: Any) -> dict[str, Any]:
    """An engine that tells what it sees."""
    return {"seen": inputs["image"].astype(np.float32)}


@pytest.fixture
def world() -> World:
    return World(compute=compute)


Open = Callable[..., TensorRtSession]


@pytest.fixture
def opened(world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Open:
    def made(
        recipe: Recipe, version: str = "10.3.0", dtype: str = "FLOAT", **options: Any
    ) -> TensorRtSession:
        back_end = options.pop("back_end", "cuda-python")
        install_cuda(monkeypatch, world, back_end)
        trt = install_tensorrt(monkeypatch, world, version)
        shape = (recipe.batch, 3, *recipe.network_input)
        tensors = ("image", "INPUT", dtype, shape), ("seen", "OUTPUT", "FLOAT", shape)
        (tmp_path / "model.engine").write_bytes(plan(*tensors))
        loaded = LoadedEngine(trt, tmp_path / "model.engine", open_cuda())
        kernels: Any = Kernels(world, library())
        zoom = stored_zoom(make_warp(recipe).arrays())
        pixel_format = options.pop("pixel_format", "bgr")
        prologue = make_zoom(kernels, recipe, zoom, loaded.inputs, pixel_format)
        return TensorRtSession(loaded, prologue=prologue, **options)

    return made


def zoomed(folder: Path, task: str = "det", **changes: Any) -> Recipe:
    settings = {"batch": BATCH, "input": "zoomed", **changes}
    return tiny_recipe(folder, task, **settings)


def camera_frames(number: int) -> list[CameraFrame]:
    return [CameraFrame(noise_frame(SOURCE, BATCH * number + i)) for i in range(BATCH)]


def check(recipe: Recipe, session: TensorRtSession, dtype: str = "float32") -> None:
    """The engine sees what the host's zoom would have sent."""
    warp = make_warp(recipe).arrays()
    mine: Predictor = make_predictor(recipe, session, warp)
    mine.other_inputs = lambda _: {}  # type: ignore[method-assign]  # the stand-in sees images only
    host = ZoomedInput(recipe, stored_zoom(warp))
    for number in range(2):
        seen = mine.infer(camera_frames(number))["seen"]
        wanted = host([camera_frame.frame for camera_frame in camera_frames(number)])
        assert np.abs(wanted).max() > 1
        np.testing.assert_allclose(seen, wanted, rtol=0, atol=ATOL[dtype])
        height, width = recipe.canvas
        assert not seen[:, :, height:].any()
        assert not seen[:, :, :, width:].any()


SETTINGS: tuple[dict[str, Any], ...] = (
    {},
    {"crop": [70, 96]},
    {"reduce": 2, "scale": 1},
    {"crop": [70, 95], "reduce": 2, "sampler": "antialiased"},
    {"sampler": "antialiased", "normalisation": {"order": "bgr"}},
    {"source_multiple": 36},
)


@pytest.mark.parametrize("changes", SETTINGS, ids=lambda each: "-".join(each) or "plain")
@pytest.mark.parametrize("task", ["det", "seg", "det3d"])
def test_the_engine_sees_what_the_host_would_send(
    task: str, changes: dict[str, Any], tmp_path: Path, opened: Open
) -> None:
    recipe = zoomed(tmp_path, task, **changes)
    session = opened(recipe)
    assert session.inputs == (TensorSpec("frame", "uint8", (BATCH, *SOURCE, 3)),)
    assert "image made there" in session.provider
    check(recipe, session)


@pytest.mark.parametrize("changes", [*SETTINGS[:4], {"crop": [70, 94]}], ids=str)
@pytest.mark.parametrize("pixel_format", FORMATS)
def test_frames_of_every_format_become_the_host_s_image(
    pixel_format: Any, changes: dict[str, Any], tmp_path: Path, opened: Open
) -> None:
    """The device takes the camera's bytes as they are; the CPU's predictor the same arrays."""
    recipe = zoomed(tmp_path, **changes)
    if pixel_format == "nv12" and any(n % 2 for n in recipe.corner):
        pytest.skip("the host zooms, see the next test")
    session = opened(recipe, pixel_format=pixel_format)
    assert session.inputs[0].shape == (BATCH, *shape_in(SOURCE, pixel_format))
    warp = make_warp(recipe).arrays()
    mine = make_predictor(recipe, session, warp, pixel_format=pixel_format)
    image = TensorSpec("image", "float32", (BATCH, 3, *recipe.network_input))
    host: Any = SimpleNamespace(inputs=(image,), pixel_format="bgr")
    theirs = make_predictor(recipe, host, warp, pixel_format=pixel_format)
    for number in range(2):
        both = [pixels_of(pixel_format, SOURCE, BATCH * number + i) for i in range(BATCH)]
        given = [CameraFrame(raw) for raw, _ in both]
        seen = mine.infer(given)["seen"]
        wanted = ZoomedInput(recipe, stored_zoom(warp))([bgr for _, bgr in both])
        np.testing.assert_array_equal(theirs.preprocess(given)["image"], wanted)
        np.testing.assert_allclose(seen, wanted, rtol=0, atol=ATOL["float32"])
        assert [mine.frame_size(each) for each in given] == [SOURCE] * BATCH


def test_nv12_that_a_view_cuts_between_chroma_is_zoomed_by_the_host(tmp_path: Path) -> None:
    recipe = zoomed(tmp_path, crop=[70, 95], reduce=2)
    zoom = stored_zoom(make_warp(recipe).arrays())
    image = TensorSpec("image", "float32", (BATCH, 3, *recipe.network_input))
    assert any(n % 2 for n in recipe.corner)
    why = zoom_refusal(recipe, zoom, (image,), "nv12")
    assert why is not None
    assert "between the pixels that share NV12's chroma" in why
    assert zoom_refusal(recipe, zoom, (image,), "gray") is None


@pytest.mark.parametrize("variant", ["uniform", "fixed"])
@pytest.mark.parametrize("version", RELEASES)
@pytest.mark.parametrize("integrated", [False, True])
@pytest.mark.parametrize("back_end", ["cuda-python", "pycuda"])
def test_on_every_release_and_back_end(
    variant: str,
    version: str,
    integrated: bool,
    back_end: str,
    world: World,
    tmp_path: Path,
    opened: Open,
) -> None:
    """Two sessions of one engine, whose memory is all given back."""
    world.integrated = integrated
    recipe = zoomed(tmp_path, variant=variant)
    session = opened(recipe, version, back_end=back_end)
    other = session.another()
    check(recipe, session)
    session.close()
    check(recipe, other)
    other.close()
    assert not world.blocks
    assert not world.streams


def test_an_engine_may_take_halves(tmp_path: Path, opened: Open) -> None:
    recipe = zoomed(tmp_path)
    check(recipe, opened(recipe, dtype="HALF"), "float16")


def test_a_frame_is_one_graph_and_tables_are_sent_once(
    world: World, tmp_path: Path, opened: Open
) -> None:
    """Bytes in, the kernel for each frame, engine, outputs out; nothing is allocated later."""
    recipe = zoomed(tmp_path)
    session = opened(recipe)
    assert world.captured() == [
        "cudaMemcpyAsync",
        *["lzu_zoom_camera"] * BATCH,
        "IExecutionContext.execute_async_v3",
        "cudaMemcpyAsync",
    ]
    names = world.names()
    first = names.index("lzu_zoom_camera")
    assert names[:first].count("cudaMemcpyAsync") == 3  # two tables, the first frame
    world.calls.clear()
    frames = np.stack([camera_frame.frame for camera_frame in camera_frames(0)])
    session.run({"frame": frames})
    frame = ["cuCtxPushCurrent", "cudaGraphLaunch", "cudaStreamSynchronize"]
    assert world.names() == [*frame, "cuCtxPopCurrent"]
    with pytest.raises(LzuError, match="no input image; its inputs are frame"):
        session.run({"frame": frames, "image": frames})


@pytest.mark.parametrize(("sampler", "said"), [("bilinear", 1), ("antialiased", 0)])
def test_the_kernel_learns_whether_tables_are_bilinear(
    sampler: str, said: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = zoomed(tmp_path, sampler=sampler)
    calls: list[Any] = []
    monkeypatch.setattr(device_zoom, "launch", lambda *given: calls.append(given[2]))
    image = TensorSpec("image", "float32", (BATCH, 3, *recipe.network_input))
    zoom = stored_zoom(make_warp(recipe).arrays())
    made = make_zoom(library(), recipe, zoom, [image])
    made.enqueue({"frame": 1, "image": 2, "table_x": 3, "table_y": 4}, 0)
    assert [call.bilinear for call in calls] == [said] * BATCH


def test_a_kernel_that_does_not_start_is_told(world: World, tmp_path: Path, opened: Open) -> None:
    vars(world)["launch_error"] = 98
    with pytest.raises(LzuError, match=r"lzu_zoom_camera was not launched \(error 98\)"):
        opened(zoomed(tmp_path))
    assert not world.blocks


@pytest.mark.parametrize(
    ("changes", "dtype", "why"),
    [
        ({"variant": "uniform", "sampler": "opencv"}, "float32", "rounds as OpenCV's resize"),
        ({"warp": {"separable": False}}, "float32", "the warp is not separable"),
        ({}, "int8", "writes float32 or float16, not int8"),
        ({}, "float32", "has no lzu_zoom_camera"),
    ],
)
def test_where_the_host_has_to_zoom_the_session_says_why(
    changes: dict[str, Any],
    dtype: str,
    why: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    recipe = zoomed(tmp_path, **changes)
    shape = (BATCH, 3, *recipe.network_input)
    image = TensorSpec("image", dtype, shape)
    loaded: Any = SimpleNamespace(inputs=(image,), plan=Path("model.engine"))
    zoom = stored_zoom(make_warp(recipe).arrays())
    options = OpenOptions(zoom=zoom)
    made, note = device._zoom(recipe, options, loaded, SimpleNamespace, named=False)  # type: ignore[arg-type]
    assert made is None
    assert why in note
    assert f"model.engine: the host zooms: {note}" in caplog.text
    off: Any = {"kernels": SimpleNamespace, "named": True}
    assert device._zoom(recipe, OpenOptions(), loaded, **off) == (None, "switched off")
    source = recipe.model_copy(update={"input": "source"})  # zooms by itself
    assert device._zoom(source, options, loaded, **off) == (None, "")
    if "no lzu" in why:  # a library that was named has to fit
        with pytest.raises(LzuError, match=why):
            device._zoom(recipe, options, loaded, **off)


def bundled(folder: Path) -> Path:
    made = export(zoomed(folder, batch=1), folder / "bundles").folder
    derive(made)
    return made


@pytest.mark.parametrize("at_hand", [True, False])
def test_a_bundle_gets_frames_where_there_is_a_library(
    at_hand: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Built, opened and run over stand-ins; either way the detections are ONNX Runtime's."""
    bundle = bundled(tmp_path)
    run = OnnxRuntimeSession(bundle / "model.fp32.tensorrt.onnx", threads=1).run
    world = World(compute=run)
    install_cuda(monkeypatch, world, "cuda-python")
    install_tensorrt(monkeypatch, world, "10.3.0")
    monkeypatch.setenv("LZU_PLUGINS", str(tmp_path / "lib.so"))
    if at_hand:
        (tmp_path / "lib.so").touch()
        monkeypatch.setattr(device, "load_kernels", lambda _: Kernels(world, library()))
    build_on_device(bundle)
    mine, theirs = load(bundle, target="tensorrt"), load(bundle, threads=1)
    assert ("image made there" in mine.session.provider) == at_hand
    assert ("there is no plugin library" in mine.session.zoom_note) != at_hand
    if at_hand:  # unfit, such as for another card: one found by chance, or named
        vars(world)["launch_error"] = 209
        session = load(bundle, target="tensorrt").session
        assert "lzu_zoom_camera was not launched (error 209)" in session.zoom_note
        assert [each.name for each in session.inputs] == ["image"]
        with pytest.raises(LzuError, match="error 209"):
            load(bundle, target="tensorrt", plugins=tmp_path / "lib.so")
        vars(world)["launch_error"] = 0
    (engine,) = (each for each in read_manifest(bundle).engines if each.target == "tensorrt")
    for pixel_format in FORMATS:
        one, other = (
            load(bundle, target=target, pixel_format=pixel_format)
            for target in ("tensorrt", "onnxruntime")
        )
        assert one.session.pixel_format == (pixel_format if at_hand else "bgr")
        raw, bgr = pixels_of(pixel_format, SOURCE, 4)
        found, same, wanted = one(raw), other(raw), theirs(bgr)
        np.testing.assert_array_equal(same.boxes, wanted.boxes)
        np.testing.assert_allclose(found.boxes, wanted.boxes, atol=1e-3)
        np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-5)
    opened = Bundle(bundle).open(engine)
    assert [each.name for each in opened.inputs] == ["frame" if at_hand else "image"]
    for number in range(2):
        found, wanted = (each(noise_frame(SOURCE, number)) for each in (mine, theirs))
        assert len(wanted) > 0
        np.testing.assert_allclose(found.boxes, wanted.boxes, atol=1e-3)
        np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-5)
