"""Calibration files: which camera took a frame, where it looks and where it stands."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lzu_export.errors import LzuError
from lzu_export.runtime.predictor import Predictor

FORMAT = (
    'give JSON with "cam2img" (3 x 3) for all frames, or "cameras": a name for each with its '
    '"file", "cam2img" and, for the ego frame, "cam2ego" (4 x 4); or a .npy of 3 x 3'
)


class Camera(NamedTuple):
    """A calibrated camera."""

    cam2img: NDArray[np.float64]
    """Points of its frame to homogeneous pixels, whose index is that of their centre."""
    cam2ego: NDArray[np.float64] | None = None
    """(4, 4) its pose in the ego frame."""

    def resized(self, size: tuple[int, ...], to: tuple[int, int]) -> "Camera":
        """The camera of frames brought from one (height, width) to another, edge on edge."""
        matrix = self.cam2img.copy()
        if matrix.ndim == 2 and len(matrix) > 2:  # others are refused where they are used
            for row, (before, after) in zip((1, 0), zip(size, to, strict=True), strict=True):
                factor = after / before
                matrix[row] = factor * matrix[row] + (factor - 1) / 2 * matrix[2]
        return Camera(matrix, self.cam2ego)


@dataclass(frozen=True)
class Cameras:
    """The cameras of a set of frames."""

    path: Path
    by_file: Mapping[str, Camera]
    """By file name; empty where one camera took all frames."""
    common: Camera | None = None

    def of(self, frame: str) -> Camera:
        """The camera that took the frame of a file name.

        Raises:
            LzuError: the calibration does not say.
        """
        camera = self.by_file.get(frame, self.common)
        if camera is None:
            raise LzuError(
                f"cameras {self.path} name none for {frame}; they are of "
                f"{', '.join(sorted(self.by_file)[:3])}{', ...' if len(self.by_file) > 3 else ''}"
            )
        return camera


def check_cameras(predictor: Predictor, cameras: Cameras | None) -> None:
    """Refuse frames without cameras where the task needs them, and cameras in vain.

    Raises:
        LzuError: either is the case.
    """
    if predictor.needs_camera and cameras is None:
        raise LzuError(
            "boxes in space need the camera: give --cameras FILE, its calibration (JSON with "
            "cam2img, 3 x 3)"
        )
    if cameras is not None and not predictor.needs_camera:
        raise LzuError(f"task {predictor.recipe.task} needs no camera; leave --cameras out")


def read_cameras(path: Path) -> Cameras:
    """Read a calibration file, see `FORMAT`. Matrices are checked where they are used.

    Raises:
        LzuError: the file is unreadable or holds no camera.
    """
    try:
        if path.suffix == ".npy":
            matrix = np.load(path, allow_pickle=False)
            return Cameras(path, {}, Camera(np.asarray(matrix, np.float64)))
        data = json.loads(path.read_text(encoding="utf-8"))
        if "cam2img" in data:
            return Cameras(path, {}, _camera(data))
        found = {
            Path(str(each.get("file", name))).name: _camera(each)
            for name, each in data["cameras"].items()
        }
    except OSError as error:
        raise LzuError(f"cameras {path} cannot be read ({error.strerror}); check it") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LzuError(f"cameras {path} hold no calibration; {FORMAT}") from error
    if not found:
        raise LzuError(f"cameras {path} hold no calibration; {FORMAT}")
    return Cameras(path, found)


def _camera(data: Mapping[str, Any]) -> Camera:
    pose = data.get("cam2ego")
    return Camera(
        np.asarray(data["cam2img"], np.float64),
        None if pose is None else np.asarray(pose, np.float64),
    )
