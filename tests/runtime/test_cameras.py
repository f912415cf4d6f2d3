"""Calibration files."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lzu_export.errors import LzuError
from lzu_export.runtime.cameras import Camera, read_cameras
from lzu_export.runtime.fitting import fitting

K = [[500.0, 0, 80], [0, 510, 48], [0, 0, 1]]


def written(folder: Path, data: Any) -> Path:
    path = folder / "cameras.json"
    path.write_text(json.dumps(data))
    return path


def test_one_camera_takes_all_frames(tmp_path: Path) -> None:
    cameras = read_cameras(written(tmp_path, {"cam2img": K}))
    np.testing.assert_array_equal(cameras.of("any.png").cam2img, K)
    assert cameras.of("any.png").cam2ego is None
    np.save(tmp_path / "k.npy", np.array(K))
    np.testing.assert_array_equal(read_cameras(tmp_path / "k.npy").of("x").cam2img, K)


def test_the_cameras_of_a_rig_are_known_by_their_files(tmp_path: Path) -> None:
    pose = np.eye(4).tolist()
    data = {
        "cameras": {
            "left": {"file": "a/l.jpg", "cam2img": K, "cam2ego": pose},
            "r.jpg": {"cam2img": K},
        }
    }
    cameras = read_cameras(written(tmp_path, data))
    assert cameras.of("l.jpg").cam2ego is not None
    assert cameras.of("r.jpg").cam2ego is None
    with pytest.raises(
        LzuError, match=r"cameras\.json name none for x\.jpg; they cover a/l\.jpg, r"
    ):
        cameras.of("x.jpg")


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "3", "{}", '{"cameras": {}}', '{"cameras": {"a": {}}}', '{"cam2img": "x"}'],
)
def test_what_is_no_calibration_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "cameras.json"
    path.write_text(text)
    with pytest.raises(LzuError, match=r"cameras\.json hold no calibration; give JSON") as caught:
        read_cameras(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_pickle_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LzuError, match=r"none\.json cannot be read \(No such file"):
        read_cameras(tmp_path / "none.json")
    np.save(tmp_path / "o.npy", np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(LzuError, match=r"o\.npy is damaged or no \.npy file .* give JSON with"):
        read_cameras(tmp_path / "o.npy")


def test_a_camera_is_scaled_with_its_frames() -> None:
    """Edges map to edges, so the centre of the picture stays at the centre."""
    camera = Camera(np.array([[500.0, 0, 79.5], [0, 510, 47.5], [0, 0, 1]]))
    half = camera.in_source(fitting((96, 160), (48, 80), "stretch")).cam2img
    np.testing.assert_allclose(half, [[250, 0, 39.5], [0, 255, 23.5], [0, 0, 1]])
    same = camera.in_source(fitting((96, 160), (96, 160), "stretch")).cam2img
    np.testing.assert_array_equal(same, camera.cam2img)


def test_files_of_one_name_are_told_by_their_folders(tmp_path: Path) -> None:
    """`left/0.png` and `right/0.png` have a camera each, whatever the parent folder."""
    other = [[400.0, 0, 80], [0, 400, 48], [0, 0, 1]]
    data = {
        "cameras": {
            "a": {"file": "left/0.png", "cam2img": K},
            "b": {"file": "rig\\right\\0.png", "cam2img": other},
            "c": {"file": "elsewhere/7.png", "cam2img": other},
        }
    }
    cameras = read_cameras(written(tmp_path, data))
    for name in ("left", "rig/right", "other"):
        (tmp_path / name).mkdir(parents=True)
    assert cameras.of("0.png", tmp_path / "left").cam2img[0, 0] == 500
    assert cameras.of("0.png", tmp_path / "left" / "0.png").cam2img[0, 0] == 500
    assert cameras.of("0.png", tmp_path / "rig" / "right").cam2img[0, 0] == 400
    assert cameras.of("7.png", tmp_path / "other").cam2img[0, 0] == 400  # its name is the only one
    words = r"cameras\.json name several for 0\.png: left/0\.png, rig/right/0\.png; put"
    with pytest.raises(LzuError, match=words):
        cameras.of("0.png", tmp_path / "other")


def test_two_cameras_of_one_file_are_refused(tmp_path: Path) -> None:
    """Otherwise the last of them would silently win."""
    two = {"cameras": {"a": {"file": "0.png", "cam2img": K}, "0.png": {"cam2img": K}}}
    with pytest.raises(LzuError, match=r"cameras\.json name two for 0\.png; give the file of each"):
        read_cameras(written(tmp_path, two))
    path = tmp_path / "cameras.json"
    text = json.dumps({"cam2img": K})
    path.write_text(f'{{"cameras": {{"a": {text}, "a": {text}}}}}')
    with pytest.raises(LzuError, match="hold no calibration"):
        read_cameras(path)


def test_the_frame_and_the_file_of_an_unfit_camera_are_named(tmp_path: Path) -> None:
    cameras = read_cameras(written(tmp_path, {"cam2img": np.transpose(K).tolist()}))
    with pytest.raises(
        LzuError, match=r"^cam2img of a\.png in cameras\.json has the last row 80 4"
    ):
        cameras.checked("a.png", (96, 160, 3))
    good = read_cameras(written(tmp_path, {"cam2img": K}))
    assert good.checked("a.png", (96, 160, 3)).cam2img[0, 0] == 500
