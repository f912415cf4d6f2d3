"""A small nuScenes data set: its tables, and images of its cameras."""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from lzu_export.evaluation.metrics.rig import ATTRIBUTES, KIND
from lzu_export.inputs.nuscenes import CAMERAS, CATEGORIES, RACK
from lzu_export.recipes import load_recipe
from lzu_export.recipes.schema import Det3dRecipe
from lzu_export.warp.saliency import Array

Tables = dict[str, list[dict[str, Any]]]
"""Rows of each table, by its name."""

VERSION = "v1.0-mini"
SCENES = ("scene-0916", "scene-0061", "scene-0103")
STEP = 500_000  # microseconds between key frames
CHANNELS = (*CAMERAS, "LIDAR_TOP")
OBJECTS = [*CATEGORIES, RACK, "animal", "vehicle.bicycle"]
"""Categories of the objects in every sample; the last bicycle stands in a rack."""
INTRINSIC = [[40.0, 0, 31.5], [0, 40, 15.5], [0, 0, 1]]


def recipe() -> Det3dRecipe:
    """The recipe that comes for nuScenes."""
    found = load_recipe("nuscenes")
    assert isinstance(found, Det3dRecipe)
    return found


def turned(yaw: float, *, camera: bool = False) -> list[float]:
    """Quaternion of a turn about the vertical; a camera's z then looks that way."""
    half = np.array([math.cos(yaw / 2), 0, 0, math.sin(yaw / 2)])
    if not camera:
        return list(half)
    w, x, y, z = 0.5, -0.5, 0.5, -0.5  # x right, y down, z ahead
    a, _, _, d = half
    return [a * w - d * z, a * x - d * y, a * y + d * x, a * z + d * w]


def rows_of(samples: int, random: np.random.Generator) -> Tables:
    """All tables: three scenes, six cameras and the lidar, a sweep each, moving objects."""
    tables: Tables = {
        "category": [{"token": f"c-{name}", "name": name, "description": ""}
                     for name in dict.fromkeys(OBJECTS)],
        "attribute": [{"token": f"a-{name}", "name": name, "description": ""}
                      for name in ATTRIBUTES],
        "visibility": [{"token": "4", "level": "v80-100", "description": ""}],
        "log": [{"token": "l", "logfile": "", "vehicle": "", "date_captured": "", "location": "x"}],
        "map": [{"token": "m", "log_tokens": ["l"], "category": "", "filename": "maps/x.png"}],
        "sensor": [{"token": f"s-{channel}", "channel": channel,
                    "modality": "camera" if channel in CAMERAS else "lidar"}
                   for channel in CHANNELS],
        "calibrated_sensor": [calibration(i, channel) for i, channel in enumerate(CHANNELS)],
        "ego_pose": [], "scene": [], "sample": [], "sample_data": [],
        "sample_annotation": [], "instance": [],
    }  # fmt: skip
    for n, scene in enumerate(SCENES):
        tokens = [f"{scene}-{i}" for i in range(samples)]
        tables["scene"].append(
            {"token": f"t-{scene}", "name": scene, "log_token": "l", "nbr_samples": samples,
             "first_sample_token": tokens[0], "last_sample_token": tokens[-1], "description": ""}
        )  # fmt: skip
        place, heading = random.uniform(100, 900, 2), random.uniform(-3, 3)
        ahead = np.array([math.cos(heading), math.sin(heading)])
        for i, token in enumerate(tokens):
            time = 10**9 * n + STEP * i
            tables["sample"].append(
                {"token": token, "scene_token": f"t-{scene}", "timestamp": time,
                 **neighbours(tokens, i)}
            )  # fmt: skip
            for j, channel in enumerate(CHANNELS):
                moved = place + (2.0 * i + 0.05 * j) * ahead
                add_records(tables, token, channel, time, moved, heading + 0.01 * j)
        for o in range(len(OBJECTS)):
            add_object(tables, scene, tokens, o, place, random)
    return tables


def neighbours(tokens: Sequence[str], i: int) -> dict[str, str]:
    """Fields of row i that name the rows before and after it."""
    return {"prev": tokens[i - 1] if i else "",
            "next": tokens[i + 1] if i + 1 < len(tokens) else ""}  # fmt: skip


def calibration(i: int, channel: str) -> dict[str, Any]:
    """Row of sensor i, turned by i times 60 degrees."""
    camera = channel in CAMERAS
    return {"token": f"k-{channel}", "sensor_token": f"s-{channel}",
            "translation": [1.5, 0.1 * i, 1.6], "rotation": turned(i * math.pi / 3, camera=camera),
            "camera_intrinsic": INTRINSIC if camera else []}  # fmt: skip


def add_records(
    tables: Tables, token: str, channel: str, time: int, place: Array, heading: float
) -> None:
    """Add a sensor's key frame and sweep of a sample, and where the vehicle stood at both."""
    for key in (True, False):
        name = f"{token}-{channel}-{key}"
        tables["ego_pose"].append(
            {"token": f"p-{name}", "timestamp": time, "rotation": turned(heading),
             "translation": [*place, 0.0]}
        )  # fmt: skip
        tables["sample_data"].append(
            {"token": name, "sample_token": token, "ego_pose_token": f"p-{name}",
             "calibrated_sensor_token": f"k-{channel}", "timestamp": time,
             "fileformat": "jpg", "is_key_frame": key, "height": 32, "width": 64,
             "filename": f"{'samples' if key else 'sweeps'}/{channel}/{name}.jpg",
             "prev": "", "next": ""}
        )  # fmt: skip


def add_object(
    tables: Tables,
    scene: str,
    tokens: Sequence[str],
    o: int,
    place: Array,
    random: np.random.Generator,
) -> None:
    """Add object o of a scene and its box in each sample; `place` is where the vehicle starts."""
    kind, instance = OBJECTS[o], f"i-{scene}-{o}"
    names = [f"o-{scene}-{o}-{i}" for i in range(len(tokens))]
    tables["instance"].append(
        {"token": instance, "category_token": f"c-{kind}", "nbr_annotations": len(tokens),
         "first_annotation_token": names[0], "last_annotation_token": names[-1]}
    )  # fmt: skip
    start, speed = random.uniform(-35, 35, 2), random.uniform(-3, 3, 2)
    size = [12.0, 12.0, 2.0] if kind == RACK else random.uniform(0.5, 4, 3).tolist()
    fits = [a for a in ATTRIBUTES if a.startswith(KIND.get(CATEGORIES.get(kind, ""), "-") + ".")]
    for i, name in enumerate(names):
        centre = [*(place + start + (0 if kind == RACK else speed * 0.5 * i)), 1.0]
        if o == len(OBJECTS) - 1:
            centre = list(rack_of(tables, scene)["translation"])
        tables["sample_annotation"].append(
            {"token": name, "sample_token": tokens[i], "instance_token": instance,
             "visibility_token": "4", "size": size,
             "attribute_tokens": [f"a-{fits[o % len(fits)]}"] if fits and o != 1 else [],
             "translation": centre, "rotation": turned(0.3 * o),
             "num_lidar_pts": 0 if o == 3 else 5, "num_radar_pts": 0, **neighbours(names, i)}
        )  # fmt: skip


def rack_of(tables: Tables, scene: str) -> dict[str, Any]:
    """First box of a scene's bicycle rack."""
    instance = f"i-{scene}-{OBJECTS.index(RACK)}"
    return next(row for row in tables["sample_annotation"] if row["instance_token"] == instance)


def nuscenes_set(folder: Path, samples: int = 3) -> Path:
    """Write a data set of three scenes of `samples` samples into a folder and return it."""
    tables = rows_of(samples, np.random.default_rng(4))
    write_tables(folder, tables)
    for row in tables["sample_data"]:
        if row["is_key_frame"] and "CAM" in row["filename"]:
            path = folder / row["filename"]
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), np.zeros((32, 64, 3), np.uint8))
    (folder / "maps").mkdir()
    cv2.imwrite(str(folder / "maps" / "x.png"), np.zeros((4, 4), np.uint8))
    return folder


def write_tables(root: Path, tables: Tables) -> None:
    """Write each table as the JSON file of its name."""
    (root / VERSION).mkdir(exist_ok=True)
    for name, rows in tables.items():
        (root / VERSION / f"{name}.json").write_text(json.dumps(rows, indent=0))


def change_table(root: Path, name: str, change: Callable[[list[dict[str, Any]]], Any]) -> None:
    """Read a table, let `change` change its rows in place, and write it again."""
    path = root / VERSION / f"{name}.json"
    rows = json.loads(path.read_text())
    change(rows)
    path.write_text(json.dumps(rows))
