"""A bundle that finds boxes in space: frames and cameras in, boxes out, without torch."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from lzu_export.bundle.bundle import Bundle
from lzu_export.errors import LzuError
from lzu_export.recipes.schema import Det3dRecipe
from lzu_export.runtime import CameraFrame, Detector3d, load
from lzu_export.tasks.pytorch import noise_frame, torch_predictor
from lzu_export.tasks.warps import make_warp
from samples import FakeSession, noise_frames, tiny_recipe

K = np.array([[120.0, 0, 79.5], [0, 120, 47.5], [0, 0, 1]])


class Nothing(FakeSession):
    """A session that keeps its inputs and finds nothing."""

    def run(self, inputs: Any) -> dict[str, Any]:
        self.given = dict(inputs)
        batch = len(inputs["cam2img"])
        return {
            "boxes": np.zeros((batch, 3, 9), np.float32),
            "scores": np.zeros((batch, 3, 2), np.float32),
            "attributes": np.zeros((batch, 3), np.int32),
        }


def detector(folder: Path, **changes: Any) -> tuple[Detector3d, Nothing]:
    fit: Any = "stretch" if changes.pop("resize", False) else changes.pop("fit", "exact")
    recipe = tiny_recipe(folder, "det3d", **changes)
    assert isinstance(recipe, Det3dRecipe)
    session: Any = Nothing()
    return Detector3d(recipe, session, make_warp(recipe).arrays(), fit=fit), session


def test_a_bundle_detects_as_pytorch_does(tiny_det3d_bundle: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path, "det3d", batch=2)
    frames = [noise_frame(recipe.source, seed=i) for i in (7, 8)]
    camera_frames = [CameraFrame(frame, K) for frame in frames]
    wanted = torch_predictor(recipe, make_warp(recipe)).run(camera_frames)
    found = load(tiny_det3d_bundle).batch(frames, [K, K])
    for a, b in zip(found, wanted, strict=True):
        assert len(a.scores) > 3
        np.testing.assert_array_equal(a.labels, b.labels)
        np.testing.assert_array_equal(a.attributes, b.attributes)
        np.testing.assert_allclose(a.scores, b.scores, atol=1e-4)
        np.testing.assert_allclose(a.boxes, b.boxes, atol=1e-3)


@pytest.mark.parametrize(
    ("changes", "pixel"),
    [
        ({}, (60.0, 100.0)),
        ({"crop": [64, 96]}, (60.0, 100.0)),
        ({"crop": {"x": 60, "y": 31, "width": 96, "height": 64}}, (60.0, 100.0)),
        ({"reduce": 2, "scale": 0.7}, (60.0, 100.0)),
        ({"warp": {"geometry": "published", "unfilled": []}}, (60.0, 100.0)),
    ],
)
def test_the_engine_s_camera_is_the_canvas_s(
    changes: dict[str, Any], pixel: tuple[float, float], tmp_path: Path
) -> None:
    """A ray through a frame's pixel goes through the canvas pixel that shows it."""
    made, session = detector(tmp_path, **changes)
    made(noise_frame((96, 160), 0), K)
    matrix, inverse = session.given["cam2img"][0], session.given["img2cam"][0]
    assert matrix.dtype == inverse.dtype == np.float32
    np.testing.assert_allclose(matrix @ inverse, np.eye(4), atol=1e-4)
    y, x = pixel
    ray = np.linalg.inv(K) @ [x, y, 1.0]
    seen = matrix[:3, :3] @ ray
    (top, left), (step_y, step_x) = made.recipe.corner, made.recipe.canvas_step
    np.testing.assert_allclose(
        seen[:2] / seen[2], [(x - left) / step_x, (y - top) / step_y], rtol=1e-4
    )


def test_a_resized_frame_brings_its_camera_along(tmp_path: Path) -> None:
    made, session = detector(tmp_path, resize=True)
    made(noise_frame((96, 160), 0), K)
    expected = session.given["cam2img"].copy()
    double = np.array([[240.0, 0, 159.5], [0, 240, 95.5], [0, 0, 1]])
    made(noise_frame((192, 320), 0), double)
    np.testing.assert_allclose(session.given["cam2img"], expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("matrix", "words"),
    [
        (None, "cam2img is missing: boxes in space need the camera's 3 x 3 matrix"),
        (np.eye(2), r"cam2img has shape \(2, 2\); give 3 x 3"),
        (np.zeros((3, 3)), "cam2img is singular, so no pixel has a ray"),
        (np.diag([-5.0, 5, 1]), "focal length that is not positive"),
        (np.full((3, 3), np.nan), "entry that is not finite"),
        ("camera", "not a matrix of numbers"),
    ],
)
def test_an_unfit_camera_is_one_sentence(matrix: Any, words: str, tmp_path: Path) -> None:
    made, _ = detector(tmp_path)
    with pytest.raises(LzuError, match=words) as caught:
        made(noise_frame((96, 160), 0), matrix)
    assert "\n" not in str(caught.value)


def test_the_frame_whose_camera_is_unfit_is_named(tmp_path: Path) -> None:
    made, _ = detector(tmp_path, batch=2)
    frames = [noise_frame((96, 160), 0)] * 2
    with pytest.raises(LzuError, match="cam2img of frame 1 is singular"):
        made.batch(frames, [K, np.zeros((3, 3))])
    with pytest.raises(LzuError, match="2 frames came with 1 camera matrices; give one each"):
        made.batch(frames, [K])


def test_a_rig_runs_in_batches_and_is_merged(tmp_path: Path) -> None:
    made, _ = detector(tmp_path, batch=2)
    frames, poses = [noise_frame((96, 160), i) for i in range(4)], [np.eye(4)] * 4
    found = made.rig(frames, [K] * 4, poses)
    assert found.boxes.shape == found.ego_boxes.shape == (0, 9)
    mixed = [*frames[:3], noise_frame((90, 160), 0)]
    with pytest.raises(LzuError, match="rig's frames are of sizes 90x160 and 96x160; bring them"):
        made.rig(mixed, [K] * 4, poses)
    with pytest.raises(LzuError, match="rig has 3 cameras, which batches of 2 do not fill"):
        made.rig(frames[:3], [K] * 3, poses[:3])
    with pytest.raises(LzuError, match="4 cameras and 3 poses"):
        made.rig(frames, [K] * 4, poses[:3])


def test_run_writes_boxes_in_metres(tiny_det3d_bundle: Path, tmp_path: Path) -> None:
    from lzu_export.bundle.run import apply
    from lzu_export.runtime.cameras import read_cameras
    from lzu_export.support.progress import Reporter

    frames = noise_frames(tmp_path / "frames", 3)
    pose = np.eye(4)
    pose[:3, :3] = [[0, 0, 1], [-1, 0, 0], [0, -1, 0]]  # ahead, left, up
    camera = {"cam2img": K.tolist(), "cam2ego": pose.tolist()}
    (tmp_path / "camera.json").write_text(json.dumps(camera))
    out = tmp_path / "out"
    arguments: dict[str, Any] = {
        "show_warp": False,
        "report": Reporter(quiet=True),
    }
    with pytest.raises(LzuError, match="boxes in space need the camera: give --cameras FILE"):
        apply(tiny_det3d_bundle, frames, out, **arguments)
    assert not out.exists()
    cameras = read_cameras(tmp_path / "camera.json")
    counts = apply(tiny_det3d_bundle, frames, out, cameras=cameras, **arguments)
    results = json.loads((out / "results.json").read_text())
    assert counts["frames"] == 3
    assert counts["detections"] == len(results) > 0
    assert {each["image_id"] for each in results} == {1, 2, 3}
    for each in results:
        x, y, z = each["box"]["centre"]
        np.testing.assert_allclose(each["ego"]["centre"], [z, -x, -y], atol=1e-4)
        assert each["box"]["size"]["length"] == pytest.approx(each["ego"]["size"]["length"])
        assert 1 <= each["category_id"] <= 2
    assert cv2.imread(str(out / "0.png")).shape[1] > 160  # the view from above beside it


def test_live_verification_takes_the_cameras_of_its_frames(
    tiny_det3d_bundle: Path, tmp_path: Path
) -> None:
    """For a frame of another size the camera matrix is scaled with the frame."""
    from lzu_export.manifest.schema import read_manifest
    from lzu_export.runtime.cameras import read_cameras
    from lzu_export.verification.live_reference import live_references
    from lzu_export.verification.parity import verify_engine

    manifest = read_manifest(tiny_det3d_bundle)
    frames = tmp_path / "frames"
    frames.mkdir()
    cv2.imwrite(str(frames / "0.png"), noise_frame((192, 320), 0))
    with pytest.raises(LzuError, match="give --cameras FILE"):
        live_references(Bundle(tiny_det3d_bundle, manifest), frames, None, 1, fit="stretch")
    double = [[240.0, 0, 159.5], [0, 240, 95.5], [0, 0, 1]]
    (tmp_path / "camera.json").write_text(json.dumps({"cam2img": double}))
    cameras = read_cameras(tmp_path / "camera.json")
    (reference,) = live_references(
        Bundle(tiny_det3d_bundle, manifest), frames, None, 1, fit="stretch", cameras=cameras
    )
    made, session = detector(tmp_path)
    made(noise_frame((96, 160), 0), K)
    np.testing.assert_allclose(
        reference.inputs["cam2img"][0], session.given["cam2img"][0], rtol=1e-5
    )
    parity = verify_engine(Bundle(tiny_det3d_bundle, manifest), manifest.engines[0], [reference])
    assert parity.status == "passed"


def test_a_camera_in_vain_is_refused(tiny_seg_bundle: Path, tmp_path: Path) -> None:
    from lzu_export.bundle.run import apply
    from lzu_export.runtime.cameras import read_cameras
    from lzu_export.support.progress import Reporter

    (tmp_path / "camera.json").write_text(json.dumps({"cam2img": K.tolist()}))
    cv2.imwrite(str(tmp_path / "0.png"), noise_frame((96, 160), 0))
    with pytest.raises(LzuError, match="task seg needs no camera; leave --cameras out"):
        apply(
            tiny_seg_bundle,
            tmp_path / "0.png",
            tmp_path / "out",
            show_warp=False,
            report=Reporter(quiet=True),
            cameras=read_cameras(tmp_path / "camera.json"),
        )


def test_a_frame_between_bars_brings_its_camera_along(tmp_path: Path) -> None:
    """A ray through a frame's pixel goes through the canvas pixel that shows it."""
    made, session = detector(tmp_path, fit="pad")
    camera = np.array([[240.0, 0, 79.5], [0, 240, 95.5], [0, 0, 1]])
    made(noise_frame((192, 160), 0), camera)  # at x 40 to 120 of the source, half as large
    matrix = session.given["cam2img"][0][:3, :3]
    x, y = 33.0, 150.0
    seen = matrix @ np.linalg.inv(camera) @ [x, y, 1]
    source = np.array([40 + (x + 0.5) / 2 - 0.5, (y + 0.5) / 2 - 0.5])
    step_y, step_x = made.recipe.canvas_step
    np.testing.assert_allclose(seen[:2] / seen[2], source / [step_x, step_y], rtol=1e-4)


RIGHT = np.array([[130.0, 0, 82], [0, 128, 45], [0, 0, 1]])
"""Camera matrix for frames of 96 x 160 pixels."""


def centred(focal: float) -> Any:
    """A camera that looks through the centre of frames of 96 x 160."""
    return np.array([[focal, 0, 79.5], [0, focal, 47.5], [0, 0, 1]])


def off(row: int, column: int, by: float) -> Any:
    """`RIGHT` with another value at one place."""
    matrix = RIGHT.copy()
    matrix[row, column] += by
    return matrix


@pytest.mark.parametrize(
    ("matrix", "words"),
    [
        (RIGHT.T, r"has the last row 82 45 1, not 0 0 1; give K .*transposed"),
        (2 * RIGHT, "has the last row 0 0 2, not 0 0 1"),
        (RIGHT / [[160], [96], [1]], r"focal length of 0\.8125 pixels, by which a frame of 96x160"),
        (RIGHT * [[0.001], [0.001], [1]], "not units of 0..1 or millimetres"),
        (np.eye(3), "focal length of 1 pixels, by which a frame of 96x160 sees 179 degrees across"),
        (centred(1e6), r"sees 0\.00917 degrees"),
        (RIGHT * [[2], [2], [1]], "outside of the frame of 96x160; give the matrix for that"),
        (RIGHT * [[1.5], [1.5], [1]], "the centre of a frame of about 14.x2[34]., but this one is"),
        (RIGHT * [[0.5], [0.5], [1]], "the centre of a frame of about 4.x8., but this one is 96"),
        (off(0, 2, 5000), "principal point at x 5082, y 45, outside"),
        (off(0, 1, 40), "has 40 and 0 beside its focal lengths"),
        (off(1, 0, 9), "has 0 and 9 beside its focal lengths"),
    ],
)
def test_a_camera_that_did_not_take_the_frame_is_refused(
    matrix: Any, words: str, tmp_path: Path
) -> None:
    """The matrix must fit the frame's size; a wrong one would move boxes by metres."""
    made, _ = detector(tmp_path)
    with pytest.raises(LzuError, match=f"cam2img .*{words}") as caught:
        made(noise_frame((96, 160), 0), matrix)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "matrix",
    [
        RIGHT,
        off(0, 1, 0.9),  # a little skew
        off(1, 2, 49),  # the lower part was cut off
        off(0, 2, -70),  # the left part was
        RIGHT * [[1.05], [1.1], [1]],
        np.hstack([RIGHT, [[45.0], [0.2], [0.003]]]),  # a stereo camera's, as KITTI has them
        centred(40),  # 127 degrees
        centred(4000),  # 2.3 degrees
    ],
)
def test_cameras_that_may_have_taken_the_frame_are_taken(matrix: Any, tmp_path: Path) -> None:
    made, session = detector(tmp_path)
    made(noise_frame((96, 160), 0), matrix)
    assert np.isfinite(session.given["cam2img"]).all()


@pytest.mark.parametrize("fit", ["stretch", "pad"])
def test_live_verification_fits_frames_as_the_runtime_does(
    fit: Any, tiny_det3d_bundle: Path, tmp_path: Path
) -> None:
    """Both use the same canvas and the same camera matrix."""
    from lzu_export.runtime.cameras import read_cameras
    from lzu_export.verification.live_reference import live_references

    frame = noise_frame((192, 200), 0)
    cv2.imwrite(str(tmp_path / "0.png"), frame)
    camera = [[240.0, 0, 99.5], [0, 240, 95.5], [0, 0, 1]]
    (tmp_path / "camera.json").write_text(json.dumps({"cam2img": camera}))
    (reference,) = live_references(
        Bundle(tiny_det3d_bundle),
        tmp_path / "0.png",
        None,
        1,
        fit=fit,
        cameras=read_cameras(tmp_path / "camera.json"),
    )
    made, session = detector(tmp_path, fit=fit)
    made(frame, camera)
    np.testing.assert_array_equal(reference.frames[0], session.given["frame"][0])
    for name, value in reference.inputs.items():
        np.testing.assert_allclose(value[0], session.given[name][0], rtol=1e-5, atol=1e-5)
