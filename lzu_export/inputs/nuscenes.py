"""Read nuScenes' tables, and the boxes that the cameras of its training split see.

The devkit is not needed; its splits and categories are copied here [Caesar et al. 2020].
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lzu_export.errors import LzuError
from lzu_export.inputs.camera_matrix import camera_matrices
from lzu_export.inputs.classes import match_classes
from lzu_export.inputs.label_sets import names_in
from lzu_export.inputs.tables import kept_rows

Row = dict[str, Any]
Array = NDArray[np.float64]

VERSIONS = ("v1.0-trainval", "v1.0-mini")
"""Versions of nuScenes' tables; the first that exists counts."""

VAL = (
    "3 12-18 35-36 38-39 92-110 221 268-278 329-332 344-346 519-524 552-565 625-627 629-630 "
    "632-638 770-771 775 777-778 780-784 794-800 802 904-917 919-931 962-963 966-969 971-972 "
    "1059-1073"
)
"""Numbers of the scenes of the devkit's split `val`."""
MINI_VAL = "103 916"
"""Numbers of the scenes of the devkit's split `mini_val`."""
SPLITS = {"v1.0-trainval": ("val", VAL), "v1.0-mini": ("mini_val", MINI_VAL)}
SCENES_FILE = "scenes.txt"
"""File beside `samples` that names other scenes to evaluate on, one a line."""

CAMERAS = (
    "CAM_FRONT",
    "CAM_FRONT_RIGHT",
    "CAM_FRONT_LEFT",
    "CAM_BACK",
    "CAM_BACK_LEFT",
    "CAM_BACK_RIGHT",
)
LIDAR = "LIDAR_TOP"

CATEGORIES = {
    "movable_object.barrier": "barrier",
    "movable_object.trafficcone": "traffic_cone",
    "human.pedestrian.adult": "pedestrian",
    "human.pedestrian.child": "pedestrian",
    "human.pedestrian.construction_worker": "pedestrian",
    "human.pedestrian.police_officer": "pedestrian",
    "vehicle.bicycle": "bicycle",
    "vehicle.bus.bendy": "bus",
    "vehicle.bus.rigid": "bus",
    "vehicle.car": "car",
    "vehicle.construction": "construction_vehicle",
    "vehicle.motorcycle": "motorcycle",
    "vehicle.trailer": "trailer",
    "vehicle.truck": "truck",
}
"""Detection class of each category, by nuScenes' definition; other categories are not evaluated."""
RACK = "static_object.bicycle_rack"
LEAST_QUATERNION = 1e-6
"""Length below which a quaternion counts as 0."""

NEAREST = 0.1
"""Least depth in metres before a camera at which a corner of a box is projected."""
SMALLEST = 1.0
"""Least visible width and height of a box in pixels; smaller boxes are left out."""


def is_nuscenes(path: Path) -> bool:
    """Whether a folder holds tables of nuScenes."""
    return any(path.glob("v1.0-*/sample_data.json"))


def version_of(path: Path) -> str:
    """Return the name of the tables' folder; if there are several, the first in `VERSIONS`."""
    found = {each.parent.name for each in path.glob("v1.0-*/sample_data.json")}
    return next((each for each in VERSIONS if each in found), min(found))


def size_of(row: Row) -> Array:
    """Read length, width and height (3,) in metres.

    Raises:
        ValueError: they are not three positive numbers.
    """
    size = vector(row, "size", 3)
    if (size <= 0).any():
        raise ValueError(f"row {row['token']} has the size {row['size']}, not positive")
    return size[[1, 0, 2]]


def vector(row: Row, field: str, length: int) -> Array:
    """Read a field of `length` finite numbers.

    Raises:
        ValueError: the field holds anything else.
    """
    try:
        values = np.asarray(row[field], np.float64)
    except (TypeError, ValueError):
        values = np.empty(0)
    if values.shape != (length,) or not np.isfinite(values).all():
        raise ValueError(
            f"row {row['token']} has the {field} {row[field]!r:.80}, which is not {length} finite "
            "numbers"
        )
    return values


def rotation(row: Row) -> Array:
    """Read the quaternion (4,) of a row.

    Raises:
        ValueError: it is not four finite numbers, or is 0.
    """
    values = vector(row, "rotation", 4)
    if np.linalg.norm(values) < LEAST_QUATERNION:
        raise ValueError(f"row {row['token']} has the rotation {row['rotation']}, which is none")
    return values


def count_of(row: Row, field: str) -> int:
    """Read a number of points.

    Raises:
        ValueError: the field is not a whole number of at least 0.
    """
    value = row[field]
    if type(value) is not int or value < 0:
        raise ValueError(f"row {row['token']} has the {field} {value!r:.40}, which is no number")
    return value


def pose_of(row: Row) -> Array:
    """Build the pose (4, 4) of a row's rotation and translation."""
    pose = np.eye(4)
    pose[:3, :3] = rotation_matrix(rotation(row))
    pose[:3, 3] = vector(row, "translation", 3)
    return pose


def camera_of(row: Row) -> Array | None:
    """Read a camera's (3, 3) matrix; None for other sensors.

    Raises:
        LzuError: `camera_matrices` refuses the matrix, for instance as singular.
        ValueError: its shape is not (3, 3).
    """
    if not row["camera_intrinsic"]:
        return None
    name = f"camera_intrinsic of nuScenes' calibrated_sensor {row['token']}"
    camera_matrices(row["camera_intrinsic"], 1, name=name)
    matrix = np.asarray(row["camera_intrinsic"], np.float64)
    if matrix.shape != (3, 3):
        raise ValueError(f"row {row['token']} has a camera_intrinsic of shape {matrix.shape}")
    return matrix


def rotation_matrix(quaternion: Sequence[float] | Array) -> Array:
    """Convert a quaternion w, x, y, z of any length but 0 to (3, 3) [Hamilton's convention]."""
    w, x, y, z = np.asarray(quaternion, np.float64) / np.linalg.norm(quaternion)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def spelt_out(numbers: str) -> list[int]:
    """Expand a list such as `3 12-18` to its numbers."""
    found: list[int] = []
    for part in numbers.split():
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def training_boxes(
    path: Path, classes: Sequence[str], called: str
) -> Iterator[tuple[tuple[int, int], Array]]:
    """Yield the boxes that cameras see in key frames of scenes that are not evaluated on.

    A box is the smallest one around the projections of those corners that lie before the camera,
    clipped to the frame. Boxes without a lidar or radar point are left out, as in evaluation.

    Args:
        path: the folder of `samples` and the tables.
        classes: the recipe's classes.
        called: name of the set in error messages about classes.

    Yields:
        For each frame its (height, width), and boxes (n, 4) x1, y1, x2, y2 in pixels of the frame.

    Raises:
        LzuError: the recipe has other classes, tables are damaged, or there are no such scenes.
    """
    match_classes(called, tuple(dict.fromkeys(CATEGORIES.values())), classes)
    tables = path / version_of(path)
    views = _training_views(path, tables)
    poses = _placed(tables, "ego_pose", {pose for _, pose, _, _ in views})
    sensors = _placed(tables, "calibrated_sensor", {sensor for _, _, sensor, _ in views})
    corners = _corners(tables, {sample for sample, _, _, _ in views})
    for sample, pose, sensor, size in views:
        ego, _ = poses[pose]
        cam2ego, cam2img = sensors[sensor]
        assert cam2img is not None, "it is a camera's"
        yield size, _seen(corners[sample], ego @ cam2ego, cam2img, size)


def _training_views(path: Path, tables: Path) -> list[tuple[str, str, str, tuple[int, int]]]:
    """Return sample, pose token, sensor token and (height, width) of each key frame of a camera."""
    file = path / SCENES_FILE
    _, numbers = SPLITS.get(tables.name, ("", ""))
    evaluated = (
        set(names_in(file))
        if file.is_file()
        else {f"scene-{number:04d}" for number in spelt_out(numbers)}
    )
    scenes = set(
        kept_rows(
            tables / "scene.json", lambda row: None if row["name"] in evaluated else row["token"]
        )
    )
    samples = set(
        kept_rows(
            tables / "sample.json",
            lambda row: row["token"] if row["scene_token"] in scenes else None,
        )
    )

    def keep(row: Row) -> tuple[str, str, str, tuple[int, int]] | None:
        if not row["is_key_frame"] or row["sample_token"] not in samples:
            return None
        if str(row["filename"]).split("/")[-2] not in CAMERAS:
            return None
        size = row["height"], row["width"]
        if not all(type(each) is int and each > 0 for each in size):
            raise ValueError(f"row {row['token']} has the height and width {size}")
        return row["sample_token"], row["ego_pose_token"], row["calibrated_sensor_token"], size

    views = list(kept_rows(tables / "sample_data.json", keep))
    if not views:
        raise LzuError(
            f"saliency {path} holds no key frames of scenes that are not evaluated on; give the "
            "part of nuScenes that the model was trained on, or a saliency map"
        )
    return views


def _placed(tables: Path, table: str, tokens: set[str]) -> Mapping[str, tuple[Array, Array | None]]:
    """Return poses by token, with the matrices of cameras."""
    found = dict(
        kept_rows(
            tables / f"{table}.json",
            lambda row: (
                (row["token"], (pose_of(row), camera_of(row) if table != "ego_pose" else None))
                if row["token"] in tokens
                else None
            ),
        )
    )
    if lost := tokens - found.keys():
        raise LzuError(
            f"{tables / table}.json has no row of token {min(lost)}; unpack the metadata again"
        )
    return found


def _corners(tables: Path, samples: set[str]) -> Mapping[str, Array]:
    """Return corners (n, 8, 3) in world coordinates of the boxes of each sample."""
    kinds = dict(kept_rows(tables / "category.json", lambda row: (row["token"], row["name"])))
    detected = set(
        kept_rows(
            tables / "instance.json",
            lambda row: row["token"] if kinds[row["category_token"]] in CATEGORIES else None,
        )
    )
    signs = np.array(
        [(x, y, z) for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)], np.float64
    )
    found: dict[str, list[Array]] = defaultdict(list)

    def keep(row: Row) -> None:
        if row["sample_token"] not in samples or row["instance_token"] not in detected:
            return
        if count_of(row, "num_lidar_pts") + count_of(row, "num_radar_pts"):
            pose = pose_of(row)
            found[row["sample_token"]].append(signs * size_of(row) @ pose[:3, :3].T + pose[:3, 3])

    for _ in kept_rows(tables / "sample_annotation.json", keep):
        pass
    return {sample: np.array(found[sample]).reshape(-1, 8, 3) for sample in samples}


def _seen(corners: Array, pose: Array, cam2img: Array, size: tuple[int, int]) -> Array:
    """Return boxes (n, 4) in a camera's frame around (m, 8, 3) corners in world coordinates."""
    local = (corners - pose[:3, 3]) @ pose[:3, :3]
    before = local[..., 2] > NEAREST
    pixels = local @ cam2img.T
    pixels = pixels[..., :2] / np.where(before, pixels[..., 2], 1.0)[..., None]
    low = np.where(before[..., None], pixels, np.inf).min(axis=1)
    high = np.where(before[..., None], pixels, -np.inf).max(axis=1)
    # Pixel i spans i - 0.5 to i + 0.5 in the camera's matrix, and i to i + 1 in boxes.
    edges = np.concatenate([low, high], axis=1) + 0.5
    boxes = edges.clip(0, [size[1], size[0], size[1], size[0]])
    shown = before.any(axis=1) & (boxes[:, 2:] - boxes[:, :2] >= SMALLEST).all(axis=1)
    return np.asarray(boxes[shown])
