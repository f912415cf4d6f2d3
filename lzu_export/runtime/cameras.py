"""Read calibration files: the camera of each frame, its matrix and its pose."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lzu_export.errors import LzuError
from lzu_export.inputs.camera_matrix import camera_matrices
from lzu_export.runtime.fitting import Fitting
from lzu_export.runtime.predictor import Predictor
from lzu_export.support.files import parse_json, read_npy, read_text

MOST_BYTES = 16 << 20
"""Largest size in bytes of a calibration file that is read."""
FORMAT = (
    'give JSON with "cam2img" (3 x 3) for all frames, or "cameras": a name for each with its '
    '"file", "cam2img" and, for the ego frame, "cam2ego" (4 x 4); or a .npy of 3 x 3'
)


class Camera(NamedTuple):
    """A calibrated camera."""

    cam2img: NDArray[np.float64]
    """Matrix from points of the camera's frame to homogeneous pixels; integers are pixel
    centres."""
    cam2ego: NDArray[np.float64] | None = None
    """(4, 4) pose of the camera in the ego frame."""

    def in_source(self, place: Fitting) -> "Camera":
        """Return the camera for frames that were fitted to the source size."""
        if self.cam2img.ndim != 2 or len(self.cam2img) < 3:
            return self  # code that uses the matrix refuses it
        return Camera(place.camera(self.cam2img), self.cam2ego)


@dataclass(frozen=True)
class Cameras:
    """The cameras of a set of frames."""

    path: Path
    by_file: Mapping[tuple[str, ...], Camera]
    """Camera by the parts of a file's path, as far as the calibration gives it; empty if one camera
    took all frames."""
    common: Camera | None = None
    """Camera that took all frames, if `by_file` is empty."""

    def of(self, frame: str, source: str | Path = "") -> Camera:
        """Return the camera that took a frame: its path is the longest that ends the frame's path.

        Args:
            frame: file name of the frame.
            source: folder or file that the frame was read from; it distinguishes `left/0.png` from
                `right/0.png`.

        Raises:
            LzuError: the calibration has no camera for the frame, or several.
        """
        if not self.by_file:
            assert self.common is not None, "one or the other is there"
            return self.common
        base = Path(source)
        folder = base if base.is_dir() else base.parent
        place = (folder.absolute() / frame).parts
        fitting = [key for key in self.by_file if place[-len(key) :] == key]
        if fitting:
            return self.by_file[max(fitting, key=len)]
        alike = [key for key in self.by_file if key[-1] == frame]
        if len(alike) == 1:
            return self.by_file[alike[0]]
        if alike:
            raise LzuError(
                f"cameras {self.path} name several for {frame}: {_listed(alike)}; put the frames "
                "into a folder of that name"
            )
        raise LzuError(
            f"cameras {self.path} name none for {frame}; they cover {_listed(self.by_file)}"
        )

    def checked(self, frame: str, size: tuple[int, ...], source: str | Path = "") -> Camera:
        """Return the frame's camera, after checking its matrix for frames of (height, width).

        Raises:
            LzuError: see `of`; or no camera with this matrix took frames of this size.
        """
        camera = self.of(frame, source)
        camera_matrices(
            camera.cam2img,
            1,
            size=(size[0], size[1]),
            name=f"cam2img of {frame} in {self.path.name}",
        )
        return camera


def _listed(keys: Iterable[tuple[str, ...]]) -> str:
    names = sorted("/".join(key) for key in keys)
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def check_cameras(predictor: Predictor, cameras: Cameras | None) -> None:
    """Refuse missing cameras for a task that needs them, and cameras for a task that needs none.

    Raises:
        LzuError: the cameras are missing, or the task needs none.
    """
    if predictor.needs_camera and cameras is None:
        raise LzuError(
            "boxes in space need the camera: give --cameras FILE, its calibration (JSON with "
            "cam2img, 3 x 3)"
        )
    if cameras is not None and not predictor.needs_camera:
        raise LzuError(f"task {predictor.recipe.task} needs no camera; leave --cameras out")


def read_cameras(path: Path) -> Cameras:
    """Read a calibration file, see `FORMAT`; `Cameras.checked` checks the matrices.

    Raises:
        LzuError: the file is unreadable, not a regular file, too large, or holds no camera.
    """
    remedy = "check the calibration of the cameras"
    array = read_npy(path, limit=MOST_BYTES, remedy=FORMAT) if path.suffix == ".npy" else None
    text = read_text(path, limit=MOST_BYTES, remedy=remedy) if array is None else ""
    try:
        if array is not None:
            return Cameras(path, {}, Camera(np.asarray(array, np.float64)))
        data = parse_json(text, unique=True)
        if "cam2img" in data:
            return Cameras(path, {}, _camera(data))
        found: dict[tuple[str, ...], Camera] = {}
        for name, each in data["cameras"].items():
            key = _parts(str(each.get("file", name)))
            if key in found:
                raise LzuError(
                    f"cameras {path} name two for {'/'.join(key)}; give the file of each with its "
                    "folder"
                )
            found[key] = _camera(each)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LzuError(f"cameras {path} hold no calibration; {FORMAT}") from error
    if not found:
        raise LzuError(f"cameras {path} hold no calibration; {FORMAT}")
    return Cameras(path, found)


def _parts(file: str) -> tuple[str, ...]:
    """Split a file's path, with either kind of slash, into the parts to compare."""
    return tuple(each for each in PurePosixPath(file.replace("\\", "/")).parts if each != "..")


def _camera(data: Mapping[str, Any]) -> Camera:
    pose = data.get("cam2ego")
    return Camera(
        np.asarray(data["cam2img"], np.float64),
        None if pose is None else np.asarray(pose, np.float64),
    )
