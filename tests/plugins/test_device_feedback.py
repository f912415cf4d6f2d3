"""Boxes that stay on the device: sessions over stand-ins, kernels in their build for the host."""

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
from lzu_export.bundle import load as bundle
from lzu_export.errors import LzuError
from lzu_export.recipes.schema import DetRecipe
from lzu_export.runtime import plugin_library
from lzu_export.runtime.detector import Detector
from lzu_export.runtime.device_feedback import make_feedback
from lzu_export.runtime.kernels import FeedBoxes, launch
from lzu_export.runtime.predictor import CameraFrame
from lzu_export.support.session import TensorSpec
from lzu_export.targets.cuda.interface import open_cuda
from lzu_export.targets.tensorrt import open as device
from lzu_export.targets.tensorrt.session import LoadedEngine, TensorRtSession
from lzu_export.tasks.pytorch import noise_frame
from lzu_export.tasks.warps import make_warp
from samples import stub_library, tiny_recipe

SOURCE, CANDIDATES, BOXES = (96, 160), 60, 6
BATCH = 2
TENSORS: tuple[tuple[str, str, str, tuple[int, ...]], ...] = (
    ("frame", "INPUT", "UINT8", (BATCH, *SOURCE, 3)),
    ("prev_boxes", "INPUT", "FLOAT", (BATCH, BOXES, 4)),
    ("prev_valid", "INPUT", "FLOAT", (BATCH, BOXES)),
    ("boxes", "OUTPUT", "FLOAT", (BATCH, CANDIDATES, 4)),
    ("scores", "OUTPUT", "FLOAT", (BATCH, CANDIDATES)),
    ("labels", "OUTPUT", "INT32", (BATCH, CANDIDATES)),
)


def compute(inputs: Any) -> dict[str, Any]:
    """Candidates that depend on the frame and on every box of the frame before."""
    boxes, scores, labels = [], [], []
    for frame, before, valid in zip(*(inputs[name] for name, *_ in TENSORS[:3]), strict=True):
        rng = np.random.default_rng(int(frame.sum()))
        corner = rng.uniform(-20, 140, (CANDIDATES, 2)) + float((before.T * valid).sum()) % 7
        boxes.append(np.concatenate([corner, corner + rng.uniform(-2, 60, (CANDIDATES, 2))], 1))
        scores.append(rng.integers(0, 20, CANDIDATES) / 20)
        labels.append(rng.integers(0, 2, CANDIDATES))
    return {
        "boxes": np.array(boxes, np.float32),
        "scores": np.array(scores, np.float32),
        "labels": np.array(labels, np.int32),
    }


class Host:
    """The same engine, whose boxes go through the host."""

    provider = "host"
    inputs = tuple(TensorSpec(name, "", shape) for name, _, _, shape in TENSORS[:3])
    outputs: tuple[TensorSpec, ...] = ()

    def run(self, inputs: Any) -> dict[str, Any]:
        return compute(inputs)

    def close(self) -> None:
        pass


@pytest.fixture
def world() -> World:
    return World(compute=compute)


@pytest.fixture
def recipe(tmp_path: Path) -> DetRecipe:
    made = tiny_recipe(
        tmp_path,
        variant="adaptive",
        batch=BATCH,
        warp={"boxes": BOXES, "feedback": {"score_threshold": 0.3, "most": 5}},
        postprocess={"score_threshold": 0.1, "iou_threshold": 0.4, "max_detections": 12},
    )
    assert isinstance(made, DetRecipe)
    return made


Open = Callable[..., TensorRtSession]


@pytest.fixture
def opened(
    world: World, recipe: DetRecipe, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Open:
    def made(version: str, back_end: str = "cuda-python", **options: Any) -> TensorRtSession:
        install_cuda(monkeypatch, world, back_end)
        trt = install_tensorrt(monkeypatch, world, version)
        (tmp_path / "model.engine").write_bytes(plan(*TENSORS))
        loaded = LoadedEngine(trt, tmp_path / "model.engine", open_cuda())
        kernels: Any = Kernels(world, library())
        epilogue = make_feedback(kernels, recipe, loaded.outputs)
        return TensorRtSession(loaded, epilogue=epilogue, **options)

    return made


def camera_frames(number: int) -> list[CameraFrame]:
    return [CameraFrame(noise_frame(SOURCE, BATCH * number + i)) for i in range(BATCH)]


def same(mine: Detector, theirs: Detector, frames: range) -> None:
    for number in frames:
        pairs = zip(mine.run(camera_frames(number)), theirs.run(camera_frames(number)), strict=True)
        for found, wanted in pairs:
            assert len(wanted) > 0
            for name in ("boxes", "scores", "labels"):
                np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))
        for found, wanted in zip(mine.tables, theirs.tables, strict=True):
            np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("version", RELEASES)
@pytest.mark.parametrize("back_end", ["cuda-python", "pycuda"])
@pytest.mark.parametrize("integrated", [False, True])
def test_a_sequence_is_the_one_that_the_host_feeds(
    version: str, back_end: str, integrated: bool, world: World, recipe: DetRecipe, opened: Open
) -> None:
    """To the bit: frame after frame, from the start again, and zoomed by given boxes."""
    world.integrated = integrated
    session = opened(version, back_end)
    assert [each.name for each in session.inputs] == ["frame"]
    assert "prev_boxes, prev_valid stay there" in session.provider
    warp = make_warp(recipe).arrays()
    mine, theirs = Detector(recipe, session, warp), Detector(recipe, Host(), warp)
    same(mine, theirs, range(3))
    for each in (mine, theirs):
        each.reset()
    same(mine, theirs, range(1, 3))
    for each in (mine, theirs):
        each.set_boxes([[10, 10, 40, 50]], stream=1)
    same(mine, theirs, range(2))
    for each in (mine, theirs):
        with pytest.raises(LzuError, match="NaN"):
            each.set_boxes([[0, 0, np.nan, 1]])
    same(mine, theirs, range(2))
    session.close()
    assert not world.blocks
    assert not world.streams


def test_a_frame_is_one_graph_and_no_box_is_sent(
    world: World, recipe: DetRecipe, opened: Open
) -> None:
    """Frame in, engine, both kernels, detections out; nothing is allocated after the start."""
    session = opened("10.3.0")
    assert world.captured() == [
        "cudaMemcpyAsync",
        "IExecutionContext.execute_async_v3",
        "lzu_suppress",
        "lzu_feed_boxes",
        *["cudaMemcpyAsync"] * 4,
    ]
    detector = Detector(recipe, session, make_warp(recipe).arrays())
    world.calls.clear()
    for number in range(2):
        detector.run(camera_frames(number))
    frame = ["cuCtxPushCurrent", "cudaGraphLaunch", "cudaStreamSynchronize"]
    assert world.names() == 2 * [*frame, "cuCtxPopCurrent"]
    world.calls.clear()
    detector.reset()
    assert world.names().count("cudaMemcpyAsync") == 2
    assert "cudaMalloc" not in world.names()
    assert "cudaHostAlloc" not in world.names()


def test_cameras_on_streams_of_their_own_remember_their_own(
    recipe: DetRecipe, opened: Open
) -> None:
    session = opened("11.4.0")
    warp = make_warp(recipe).arrays()
    left, right = Detector(recipe, session, warp), Detector(recipe, session.another(), warp)
    for number in range(3):
        left.run(camera_frames(number))
    same(right, Detector(recipe, Host(), warp), range(3))  # as if the left had seen nothing


def test_a_second_detector_of_a_session_begins_afresh(recipe: DetRecipe, opened: Open) -> None:
    """It does not zoom by what the first one has left on the device."""
    session, warp = opened("11.4.0"), make_warp(recipe).arrays()
    Detector(recipe, session, warp).run(camera_frames(5))
    same(Detector(recipe, session, warp), Detector(recipe, Host(), warp), range(2))


def test_state_of_another_shape_is_refused(opened: Open) -> None:
    session = opened("10.3.0")
    with pytest.raises(LzuError, match=r"prev_valid is missing"):
        session.set_state({"prev_boxes": np.zeros((BATCH, BOXES, 4), np.float32)})
    session.close()
    state = {
        "prev_boxes": np.zeros((BATCH, BOXES, 4), np.float32),
        "prev_valid": np.zeros((BATCH, BOXES), np.float32),
    }
    with pytest.raises(LzuError, match="is closed"):
        session.set_state(state)


def test_a_kernel_that_does_not_start_is_told(world: World, opened: Open) -> None:
    vars(world)["launch_error"] = 98
    launch = r"lzu_suppress was not launched \(error 98\).*lzu-export plugins"
    with pytest.raises(LzuError, match=launch):
        opened("10.3.0")
    assert not world.blocks


@pytest.mark.parametrize(
    ("code", "why"),
    [
        (
            98,
            r"lzu_feed_boxes was not launched \(error 98\); build the plugin library on",
        ),
        (-1, r"was not launched \(error -1\); its arguments do not fit together"),
        (700, r"^work on the GPU failed: an illegal memory access .*; end this process"),
    ],
)
def test_a_launchers_error_has_its_own_remedy(code: int, why: str) -> None:
    """A build for another card, arguments beyond a limit, and work that had failed before."""
    refusing: Any = SimpleNamespace(lzu_feed_boxes=lambda *_: code)
    with pytest.raises(LzuError, match=why):
        launch(refusing, "lzu_feed_boxes", FeedBoxes(), 0)


@pytest.mark.parametrize(("boxes", "fits"), [(1024, True), (1025, False)])
def test_the_stand_in_keeps_the_launchers_limits(boxes: int, fits: bool, world: World) -> None:
    address = world.allocate(1 << 16).device
    call = FeedBoxes(address, address, address, 1, 8, boxes, 1, 0.5, 0, 0, 9, 9, address, address)
    kernels, stream = Kernels(world, library()), world.create_stream()
    if fits:
        launch(kernels, "lzu_feed_boxes", call, stream)
        return
    with pytest.raises(LzuError, match=r"error -1"):
        launch(kernels, "lzu_feed_boxes", call, stream)


def test_without_kernels_boxes_go_through_the_host_and_the_log_says_why(
    recipe: DetRecipe, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    outputs = tuple(TensorSpec(n, "int32", s) for n, m, _, s in TENSORS if m == "OUTPUT")
    loaded: Any = SimpleNamespace(outputs=outputs, plan=Path("model.engine"))

    def missing() -> Any:
        raise LzuError("there is no plugin library")

    cases: tuple[tuple[Any, str], ...] = (
        (missing, "no plugin library"),
        (SimpleNamespace, "has no lzu_suppress"),
    )
    for kernels, why in cases:
        caplog.clear()
        epilogue, note = device._feedback(recipe, loaded, kernels, wanted=True, named=False)
        assert epilogue is None
        assert why in note
        assert "boxes go through the host" in caplog.text
        assert why in caplog.text
        with pytest.raises(LzuError, match=why):
            device._feedback(recipe, loaded, kernels, wanted=True, named=True)
    more = recipe.model_copy(update={"warp": recipe.warp.model_copy(update={"boxes": 2000})})
    with pytest.raises(LzuError, match="1024 boxes at most, not 60 and 2000"):
        make_feedback(library(), more, outputs)


@pytest.fixture
def loaded(
    world: World, recipe: DetRecipe, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., Detector]:
    """`load` of a bundle of one engine for TensorRT-RTX."""
    world.capability = (8, 9)
    install_cuda(monkeypatch, world, "cuda-python")
    install_tensorrt(monkeypatch, world, "1.7.1")
    (tmp_path / "model.engine").write_bytes(plan(*TENSORS))
    np.savez(tmp_path / "warp.npz", **make_warp(recipe).arrays())
    names = {"FLOAT": "float32", "INT32": "int32", "UINT8": "uint8"}
    tensors = {
        mode: tuple(TensorSpec(n, names[t], s) for n, m, t, s in TENSORS if m == mode)
        for mode in ("INPUT", "OUTPUT")
    }
    engine = SimpleNamespace(
        target="tensorrt-rtx", precision="fp32", file="model.engine", compute_capabilities=("8.9",),
        inputs=tensors["INPUT"], outputs=tensors["OUTPUT"],
    )  # fmt: skip
    manifest = SimpleNamespace(recipe=recipe, engines=(engine,), plugins=None)
    monkeypatch.setattr("lzu_export.bundle.bundle.read_manifest", lambda _: manifest)
    places = "lzu_export.bundle.bundle.check_file"
    monkeypatch.setattr(places, lambda folder, name, _: folder / name)
    monkeypatch.setattr(plugin_library, "find_driver", lambda: None)
    monkeypatch.setenv("LZU_PLUGINS", str(tmp_path / "nowhere.so"))

    def made(**options: Any) -> Detector:
        detector: Detector = bundle.load(tmp_path, target="tensorrt-rtx", **options)
        return detector

    return made


def test_a_library_that_is_named_has_to_fit(
    loaded: Callable[..., Detector], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, world: World
) -> None:
    """Missing, without kernels, for another card; a good one keeps the boxes on the device."""
    with pytest.raises(LzuError, match="there is no plugin library at"):
        loaded(plugins=tmp_path / "none.so")
    path = stub_library(tmp_path)
    with pytest.raises(LzuError, match="has no lzu_suppress"):
        loaded(plugins=path)
    monkeypatch.setattr(device, "load_kernels", lambda _: Kernels(world, library()))
    vars(world)["launch_error"] = 209
    with pytest.raises(LzuError, match=r"lzu_suppress was not launched \(error 209\)"):
        loaded(plugins=path)
    assert not world.blocks
    vars(world)["launch_error"] = 0
    session: Any = loaded(plugins=path).session
    assert "prev_boxes, prev_valid stay there" in session.provider
    assert session.feedback_note == ""
    session = loaded(plugins=path, feedback=False).session
    assert (session.feedback_note, len(session.inputs)) == ("switched off", 3)


def test_a_library_found_by_chance_may_be_unfit(
    loaded: Callable[..., Detector],
    recipe: DetRecipe,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    world: World,
) -> None:
    """Boxes then go through the host, and the session says why."""
    session: Any = loaded().session
    assert "there is no plugin library at" in session.feedback_note
    assert f"boxes go through the host: {session.feedback_note}" in session.provider
    assert session.another().feedback_note == session.feedback_note
    stub_library(tmp_path)
    monkeypatch.setenv("LZU_PLUGINS", str(tmp_path / "liblzu_plugins.so"))
    session = loaded().session
    assert "has no lzu_suppress" in session.feedback_note
    monkeypatch.setattr(device, "load_kernels", lambda _: Kernels(world, library()))
    vars(world)["launch_error"] = 209  # no kernel for this card
    detector = loaded()
    session = detector.session
    assert "lzu_suppress was not launched (error 209)" in session.feedback_note
    same(detector, Detector(recipe, Host(), make_warp(recipe).arrays()), range(2))
    vars(world)["launch_error"] = 0
    session = loaded().session
    assert "prev_boxes, prev_valid stay there" in session.provider
