"""Read nuScenes' tables, and boxes as the cameras of its training split see them.

Read without the devkit, whose splits and categories these are [Caesar et al. 2020].
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
"""Those of its split `mini_val`."""
SPLITS = {"v1.0-trainval": ("val", VAL), "v1.0-mini": ("mini_val", MINI_VAL)}
SCENES_FILE = "scenes.txt"
"""Names of other scenes, one a line, beside `samples`."""

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
"""The detection class of a category, by nuScenes' definition; others are not evaluated."""
RACK = "static_object.bicycle_rack"
LEAST_QUATERNION = 1e-6
"""Length below which a quaternion is 0 but for roundings."""

NEAREST = 0.1
"""Metres before a camera from which a corner of a box is projected."""
SMALLEST = 1.0
"""Pixels a side; boxes that show less of themselves are none."""


def is_nuscenes(path: Path) -> bool:
    """Whether a folder holds tables of nuScenes."""
    return any(path.glob("v1.0-*/sample_data.json"))


def version_of(path: Path) -> str:
    """The name of the tables' folder; of several the first of `VERSIONS` counts."""
    found = {each.parent.name for each in path.glob("v1.0-*/sample_data.json")}
    return next((each for each in VERSIONS if each in found), min(found))


def size_of(row: Row) -> Array:
    """(3,) length, width, height.

    Raises:
        ValueError: they are not positive.
    """
    size = vector(row, "size", 3)
    if (size <= 0).any():
        raise ValueError(f"row {row['token']} has the size {row['size']}, not positive")
    return size[[1, 0, 2]]


def vector(row: Row, field: str, length: int) -> Array:
    """Check for this many finite numbers.

    Raises:
        ValueError: they are others.
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
    """(4,) a quaternion that turns.

    Raises:
        ValueError: it is none, or 0.
    """
    values = vector(row, "rotation", 4)
    if np.linalg.norm(values) < LEAST_QUATERNION:
        raise ValueError(f"row {row['token']} has the rotation {row['rotation']}, which is none")
    return values


def count_of(row: Row, field: str) -> int:
    """A number of points.

    Raises:
        ValueError: it is none.
    """
    value = row[field]
    if type(value) is not int or value < 0:
        raise ValueError(f"row {row['token']} has the {field} {value!r:.40}, which is no number")
    return value


def pose_of(row: Row) -> Array:
    """(4, 4) of a row's rotation and translation."""
    pose = np.eye(4)
    pose[:3, :3] = rotation_matrix(rotation(row))
    pose[:3, 3] = vector(row, "translation", 3)
    return pose


def camera_of(row: Row) -> Array | None:
    """A camera's (3, 3) matrix; other sensors have none.

    Raises:
        LzuError: no pixel would have a ray by it.
        ValueError: it is none.
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
    """(3, 3) of a quaternion w, x, y, z of any length but 0 [Hamilton's convention]."""
    w, x, y, z = np.asarray(quaternion, np.float64) / np.linalg.norm(quaternion)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def spelt_out(numbers: str) -> list[int]:
    """The numbers of a list such as `3 12-18`."""
    found: list[int] = []
    for part in numbers.split():
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def training_boxes(
    path: Path, classes: Sequence[str], called: str
) -> Iterator[tuple[tuple[int, int], Array]]:
    """Boxes that the cameras see in the key frames of the scenes that no split evaluates on.

    A box is the smallest one around the projections of its corners that lie before the camera, cut
    off at the frame's edges. Those without a lidar or radar point are left out, as in evaluation.

    Args:
        path: the folder of `samples` and the tables.
        classes: the recipe's.
        called: what a sentence on other classes calls the set.

    Yields:
        For each frame its (height, width), and (n, 4) boxes x1, y1, x2, y2 in its pixels.

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
    """Sample, tokens of pose and sensor, and size of the cameras' key frames."""
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
    """Poses, and of cameras their matrices, by token."""
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
    """(n, 8, 3) corners in the world of the boxes of each sample."""
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
    """(n, 4) boxes in a camera's frame around (m, 8, 3) corners in the world."""
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
