"""What all predictors do alike: frames checked, fitted and zoomed, outputs shared out."""

from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import pytest

from lzu_export.errors import LzuError
from lzu_export.inputs.pixel_formats import shape_in
from lzu_export.runtime import CameraFrame, Detections, load
from lzu_export.runtime.predictor import Predictor
from lzu_export.support.session import Session, TensorSpec
from lzu_export.tasks.pytorch import noise_frame
from lzu_export.tasks.warps import make_warp
from pixel_samples import FORMATS, pixels_of
from samples import FakeSession, tiny_recipe


class Numbers(FakeSession):
    """A session that numbers the images of a batch, and keeps its inputs."""

    def run(self, inputs: Any) -> dict[str, Any]:
        self.given = dict(inputs)
        numbers = np.arange(len(next(iter(inputs.values()))))
        return {"number": numbers, "square": numbers[:, None] ** 2}


class WithMemory(Numbers, Session):
    """A session that takes frames, with the memory that every session has for them."""

    def __init__(self, batch: int) -> None:
        self.inputs = (TensorSpec("frame", "uint8", (batch, 96, 160, 3)),)


class Probe(Predictor):
    """A predictor whose predictions are its engine's outputs and the frame's size."""

    def to_prediction(self, outputs: dict[str, Any], size: tuple[int, ...]) -> Any:
        return {name: value.tolist() for name, value in outputs.items()}, size


class WithCamera(Probe):
    """A predictor whose engine takes camera matrices unchanged."""

    needs_camera: ClassVar[bool] = True

    def other_inputs(self, camera_frames: Any) -> dict[str, Any]:
        return {"camera": np.stack([camera_frame.cam2img for camera_frame in camera_frames])}


def probe(folder: Path, kind: type[Predictor] = Probe, **changes: Any) -> Any:
    fit: Any = "stretch" if changes.pop("resize", False) else "exact"
    recipe = tiny_recipe(folder, **changes)
    session: Any = Numbers()
    return kind(recipe, session, make_warp(recipe).arrays(), fit=fit)


def camera_frames(*seeds: int, size: tuple[int, int] = (96, 160)) -> list[CameraFrame]:
    return [CameraFrame(noise_frame(size, seed)) for seed in seeds]


@pytest.mark.parametrize("pixel_format", FORMATS)
@pytest.mark.parametrize("fit", ["exact", "stretch", "pad"])
@pytest.mark.parametrize("engine_input", ["source", "zoomed"])
def test_frames_of_every_pixel_format_are_the_bgr_ones(
    pixel_format: Any, fit: Any, engine_input: str, tmp_path: Path
) -> None:
    recipe = tiny_recipe(tmp_path, batch=2, input=engine_input)
    warp = make_warp(recipe).arrays()
    size = (96, 160) if fit == "exact" else (64, 96)
    both = [pixels_of(pixel_format, size, seed) for seed in (1, 2)]
    given = []
    for index, form in enumerate((pixel_format, "bgr")):
        session: Any = Numbers()
        if engine_input == "source":
            session.inputs = (TensorSpec("frame", "uint8", (2, 96, 160, 3)),)
        made = Probe(recipe, session, warp, fit=fit, pixel_format=form)
        predictions = made.run([CameraFrame(each[index]) for each in both])
        assert [each[1] for each in predictions] == [size, size]
        given.append(session.given)
    assert given[0].keys() == given[1].keys()
    for name, value in given[0].items():
        np.testing.assert_array_equal(value, given[1][name])


@pytest.mark.parametrize("pixel_format", FORMATS)
@pytest.mark.parametrize("session_format", FORMATS)
def test_memory_for_frames_is_in_their_own_pixel_format(
    pixel_format: Any, session_format: Any, tmp_path: Path
) -> None:
    """It is the session's where that takes the format."""
    recipe = tiny_recipe(tmp_path, batch=2, input="source")
    shape = (2, *shape_in((96, 160), session_format))
    memory = np.zeros(shape, np.uint8)
    session: Any = Numbers()
    session.inputs, session.pixel_format = (TensorSpec("frame", "uint8", shape),), session_format
    session.host = lambda _: memory
    made = Probe(recipe, session, make_warp(recipe).arrays(), pixel_format=pixel_format)
    frames = made.host_frames
    assert frames.shape == (2, *shape_in((96, 160), pixel_format))
    assert (frames is memory) == (pixel_format == session_format)


def test_every_frame_gets_its_own_outputs_and_size(tmp_path: Path) -> None:
    made = probe(tmp_path, batch=3, resize=True)
    given = [*camera_frames(1, 2), *camera_frames(3, size=(48, 320))]
    assert made.run(given) == [
        ({"number": 0, "square": [0]}, (96, 160)),
        ({"number": 1, "square": [1]}, (96, 160)),
        ({"number": 2, "square": [4]}, (48, 320)),
    ]
    frames = made.session.given["frame"]
    assert (frames.dtype, frames.shape) == (np.uint8, (3, 96, 160, 3))
    np.testing.assert_array_equal(frames[1], given[1].frame)
    np.testing.assert_array_equal(frames[2], cv2.resize(given[2].frame, (160, 96)))


@pytest.mark.parametrize("batch", [1, 2])
def test_frames_that_are_filled_in_place_are_given_where_they_are(
    batch: int, tmp_path: Path
) -> None:
    """The session gets its own memory; frames from elsewhere, or in another order, are copied."""
    made = probe(tmp_path, batch=batch)
    made.session = WithMemory(batch)
    memory = made.host_frames
    assert (memory.dtype, memory.shape) == (np.uint8, (batch, 96, 160, 3))
    assert made.host_frames is memory
    assert memory is made.session.host("frame")
    for place, other in zip(memory, camera_frames(*range(batch)), strict=True):
        place[...] = other.frame
    made.run([CameraFrame(each) for each in memory])
    assert made.session.given["frame"] is memory
    strangers = camera_frames(*range(5, 5 + batch))
    made.run(strangers)
    assert not np.shares_memory(made.session.given["frame"], memory)
    np.testing.assert_array_equal(made.session.given["frame"][0], strangers[0].frame)
    made.run([CameraFrame(each) for each in memory[:, ::-1]])
    np.testing.assert_array_equal(made.session.given["frame"], memory[:, ::-1])
    if batch == 2:
        made.run([CameraFrame(each) for each in memory[::-1]])
        np.testing.assert_array_equal(made.session.given["frame"], memory[::-1])


def test_frames_that_the_host_zooms_have_memory_too(tmp_path: Path) -> None:
    """So that a program runs everywhere, whoever zooms."""
    made = probe(tmp_path, input="zoomed")
    made.session.inputs = (TensorSpec("image", "float32", (1, 3, 64, 96)),)
    memory = made.host_frames
    memory[0] = noise_frame((96, 160), 3)
    made.run([CameraFrame(memory[0])])
    given = made.session.given["image"]
    made.run(camera_frames(3))
    np.testing.assert_array_equal(given, made.session.given["image"])


@pytest.mark.parametrize("number", [0, 1, 3])
def test_no_more_and_no_fewer_frames_than_the_batch(number: int, tmp_path: Path) -> None:
    with pytest.raises(LzuError, match=f"{number} frames were given but this bundle takes 2 at"):
        probe(tmp_path, batch=2).run(camera_frames(*range(number)))


@pytest.mark.parametrize("resize", [False, True])
@pytest.mark.parametrize(
    "frame",
    [
        np.zeros((96, 160), np.uint8),
        np.zeros((96, 160, 4), np.uint8),
        np.zeros((192, 160, 3), np.float32),
        np.zeros((0, 160, 3), np.uint8),
        "frame.png",
        None,
    ],
)
def test_unfit_frames_are_refused(resize: bool, frame: Any, tmp_path: Path) -> None:
    """Type and channels are checked even where any size is allowed."""
    with pytest.raises(LzuError, match=r"^frame is "):
        probe(tmp_path, resize=resize).run([CameraFrame(frame)])


def test_the_unfit_frame_of_a_batch_is_named(tmp_path: Path) -> None:
    with pytest.raises(LzuError, match=r"^frame 1 of the batch is 97x160 but this bundle takes"):
        probe(tmp_path, batch=2).run([*camera_frames(0), *camera_frames(1, size=(97, 160))])


def test_another_size_is_refused_with_both(tiny_bundle: Path) -> None:
    """The error gives both sizes and the remedy."""
    with pytest.raises(LzuError, match=r"frame is 97x160 but this bundle takes 96x160; bring"):
        load(tiny_bundle)(np.zeros((97, 160, 3), np.uint8))
    assert isinstance(load(tiny_bundle, resize=True)(np.zeros((97, 160, 3), np.uint8)), Detections)


def test_the_host_zooms_where_the_engine_does_not(tmp_path: Path) -> None:
    """The host samples only the crop and fills the padded canvas."""
    made = probe(tmp_path, input="zoomed", crop=[64, 96])
    (camera_frame,) = camera_frames(0)
    made.run([camera_frame])
    image = made.session.given["image"]
    assert (image.dtype, image.shape) == (np.float32, (1, 3, 32, 64))
    assert not image[:, :, :, 48:].any()
    around = camera_frame.frame.copy()
    around[:16], around[80:], around[:, :32], around[:, 128:] = 0, 255, 9, 99
    made.run([CameraFrame(around)])
    np.testing.assert_array_equal(made.session.given["image"], image)


def test_cameras_go_to_the_tasks_that_take_them(tmp_path: Path) -> None:
    (camera_frame,) = camera_frames(0)
    with_camera = camera_frame._replace(cam2img=np.eye(3))
    made = probe(tmp_path, WithCamera)
    made.run([with_camera])
    assert list(made.session.given) == ["frame", "camera"]
    with pytest.raises(LzuError, match="task det takes no camera matrix; leave it out"):
        probe(tmp_path).run([with_camera])


@pytest.mark.parametrize("separable", [True, False])
def test_the_zoom_of_pictures_is_made_once(separable: bool, tmp_path: Path) -> None:
    made = probe(tmp_path, crop=[64, 96], warp={"separable": separable})
    assert made.sampler is made.sampler
    picture = np.stack(np.mgrid[:64, :96], axis=-1)
    zoomed = made.sampler(picture)
    assert zoomed.shape[:2] == made.recipe.canvas
    np.testing.assert_allclose(zoomed[0, 0], [0, 0], atol=1e-4)
    np.testing.assert_allclose(zoomed[-1, -1], [63, 95], atol=1e-4)
