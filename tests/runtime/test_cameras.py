"""Calibration files."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lzu_export.errors import LzuError
from lzu_export.runtime.cameras import Camera, read_cameras

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
        LzuError, match=r"cameras\.json name none for x\.jpg; they are of l\.jpg, r"
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
    with pytest.raises(LzuError, match="hold no calibration"):
        read_cameras(tmp_path / "o.npy")


def test_a_camera_is_scaled_with_its_frames() -> None:
    """Edge on edge: the middle of the picture stays in the middle."""
    camera = Camera(np.array([[500.0, 0, 79.5], [0, 510, 47.5], [0, 0, 1]]))
    half = camera.resized((96, 160), (48, 80)).cam2img
    np.testing.assert_allclose(half, [[250, 0, 39.5], [0, 255, 23.5], [0, 0, 1]])
    same = camera.resized((96, 160), (96, 160)).cam2img
    np.testing.assert_array_equal(same, camera.cam2img)
