"""nuScenes in its devkit's layout: tables of `v1.0-mini` or `v1.0-trainval` beside `samples`.

The tables are read without the devkit. Truth and detections are those that its evaluation keeps
[Caesar et al. 2020]: ten classes, boxes with a lidar or radar point, cycles outside of bicycle
racks; velocities are differences of neighbouring key frames. A sample is the six key frames of the
cameras at one time. Its boxes are evaluated along the axes of the world, relative to the position
of the ego vehicle at the time of the lidar's key frame.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import nan
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from lzu_export.errors import LzuError
from lzu_export.evaluation.datasets import Sample
from lzu_export.evaluation.layouts.choose import evenly
from lzu_export.evaluation.layouts.find import Layout
from lzu_export.evaluation.metrics.nuscenes import NDS_FORMULA
from lzu_export.evaluation.metrics.nuscenes_objects import NUSCENES, CameraBoxes, Objects
from lzu_export.evaluation.metrics.rig import RigScorer, RigTruth, attribute_number, racks_hold
from lzu_export.inputs.classes import listed, match_classes
from lzu_export.inputs.images import read_image
from lzu_export.inputs.label_sets import names_in
from lzu_export.inputs.nuscenes import (
    CAMERAS,
    CATEGORIES,
    LIDAR,
    RACK,
    SCENES_FILE,
    SPLITS,
    Array,
    Row,
    camera_of,
    count_of,
    is_nuscenes,
    pose_of,
    rotation,
    rotation_matrix,
    size_of,
    spelt_out,
    vector,
    version_of,
)
from lzu_export.inputs.tables import kept_rows
from lzu_export.recipes.schema import Det3dPostprocess, Det3dRecipe
from lzu_export.runtime.postprocess3d import to_camera
from lzu_export.runtime.predictor import CameraFrame

log = logging.getLogger(__name__)

MAX_STEP = 1.5
"""Largest time in seconds between neighbouring key frames for which a velocity is known; twice that
from the previous to the next key frame."""

Kept = TypeVar("Kept")


class _View(NamedTuple):
    """A key frame of one sensor."""

    file: str
    pose: str
    """Token of the ego vehicle's pose."""
    sensor: str
    """Token of the calibrated sensor."""
    size: tuple[int, int] | None = None
    """(height, width) of a camera's frame; None where the table lacks it."""


class _Moment(NamedTuple):
    """A sample with its key frames by channel."""

    token: str
    scene: str
    time: int
    views: Mapping[str, _View]


class _Box(NamedTuple):
    """A box to find, in world coordinates."""

    token: str
    sample: str
    label: int
    centre: Array
    size: Array
    yaw: float
    attribute: int
    before: str
    """Token of the same object's box in the previous key frame; empty for none."""
    after: str


class _Truth(NamedTuple):
    """Objects at the time of a sample, in world coordinates."""

    centres: Array
    """Centres of the objects, (n, 3) in metres."""
    objects: Objects
    """The objects with their centres left at zero."""
    racks: list[tuple[Array, Array]]

    def seen_from(self, pose: Array, stand: Array) -> CameraBoxes:
        """Return the objects in the frame of a camera, whose pose (4, 4) is relative to `stand`."""
        shape, still = self.objects, np.nan_to_num(self.objects.velocities)
        boxes = np.column_stack([self.centres - stand, shape.sizes, shape.yaws, still])
        return CameraBoxes(to_camera(boxes, pose), shape.labels)


class NuScenesSet:
    """Key frames of the six cameras, sample by sample in the order of scene and time."""

    metric = "NDS"
    note = NDS_FORMULA
    frames_together = len(CAMERAS)
    """Number of consecutive frames that are scored as one sample."""

    def __init__(self, path: Path, frames: int | None, recipe: Det3dRecipe | None = None) -> None:
        """Read the tables, and choose as many whole samples of the split as `frames` allow, evenly.

        Args:
            path: folder that holds `samples` and the tables.
            frames: largest number of images, but at least those of one sample; all if None.
            recipe: recipe whose classes and attributes the detections use; else nuScenes' own.

        Raises:
            LzuError: tables or images are missing or damaged, none of the scenes exists, or the
                recipe has other classes.
        """
        version = version_of(path)
        self._path, self._tables = path, path / version
        split, scenes = self._scenes(version)
        self.name = f"{path.resolve().name} {split}"
        self.classes, places = match_classes(
            f"the evaluation set {self.name}",
            [rule.name for rule in NUSCENES],
            recipe.classes if recipe else None,
        )
        order = np.argsort(places)
        self._rules = [NUSCENES[i] for i in order]
        self._label = {rule.name: i for i, rule in enumerate(self._rules)}
        self._attributes = tuple(recipe.attributes) if recipe else ()
        self._settings = recipe.postprocess if recipe else Det3dPostprocess()
        self._times: dict[str, int] = {}
        moments = self._moments(split, scenes)
        chosen = evenly(moments, None if frames is None else max(1, frames // len(CAMERAS)))
        self._samples = chosen
        self._poses, self._sensors = self._placed(chosen)
        self._truths = self._truth(
            {each.token for each in chosen}, {each.token for each in moments}
        )
        for each in chosen:
            for channel in CAMERAS:
                if not (path / each.views[channel].file).is_file():
                    raise LzuError(
                        f"{path} has no {each.views[channel].file}, which {version} names; unpack "
                        "that part of nuScenes there"
                    )

    def __len__(self) -> int:
        """Number of frames: six per sample."""
        return len(self._samples) * len(CAMERAS)

    def samples(self, start: int = 0) -> Iterator[Sample]:
        """Yield frames with camera and pose; the last frame of a sample has the sample's truth."""
        first, skipped = divmod(start, len(CAMERAS))
        for number, moment in enumerate(self._samples[first:], start=first):
            stand = self._poses[moment.views[LIDAR].pose][:3, 3]
            for i, channel in enumerate(CAMERAS):
                if number == first and i < skipped:
                    continue
                view = moment.views[channel]
                cam2ego, cam2img = self._sensors[view.sensor]
                pose = self._poses[view.pose] @ cam2ego
                pose[:3, 3] -= stand
                last = i == len(CAMERAS) - 1
                objects, racks = self._objects(moment.token, stand) if last else (None, [])
                seen = self._truths[moment.token].seen_from(pose, stand)
                truth = RigTruth(moment.token, moment.scene, pose, objects, racks, seen)
                path = self._path / view.file
                frame = read_image(path)
                if view.size is not None and frame.shape[:2] != view.size:
                    raise LzuError(
                        f"{path} is {frame.shape[1]} wide and {frame.shape[0]} high, but "
                        f"{self._tables / 'sample_data.json'} has {view.size[1]} and "
                        f"{view.size[0]}, which its camera is calibrated for; unpack it again"
                    )
                yield Sample(
                    number * len(CAMERAS) + i + 1,
                    CameraFrame(frame, cam2img),
                    truth,
                    str(path),
                    moment.scene,
                )

    def scorer(self) -> RigScorer:
        """Return a scorer of nuScenes' metrics with nothing counted."""
        return RigScorer(self._rules, self._settings, self._attributes)

    def _objects(self, token: str, stand: Array) -> tuple[Objects, list[tuple[Array, Array]]]:
        """Return a sample's boxes and racks relative to `stand`, along the world's axes."""
        truth = self._truths[token]
        racks = [(pose.copy(), size) for pose, size in truth.racks]
        for pose, _ in racks:
            pose[:3, 3] -= stand
        return truth.objects._replace(centres=(truth.centres - stand)[:, :2]), racks

    def _scenes(self, version: str) -> tuple[str, set[str]]:
        """Return the name of the split and the names of its scenes."""
        file = self._path / SCENES_FILE
        if file.is_file():
            return SCENES_FILE, set(names_in(file))
        if version not in SPLITS:
            raise LzuError(
                f"{self._tables} belongs to no split with annotations; name the scenes to evaluate "
                "on "
                f"in {file}, one a line"
            )
        split, numbers = SPLITS[version]
        return split, {f"scene-{number:04d}" for number in spelt_out(numbers)}

    def _rows(self, table: str, keep: Callable[[Row], Kept | None]) -> Iterator[Kept]:
        return kept_rows(self._tables / f"{table}.json", keep)

    def _scene_names(self, split: str, scenes: set[str]) -> tuple[set[str], dict[str, str]]:
        """Return the tokens of all scenes, and the names of the evaluated ones by token."""
        every = dict(self._rows("scene", lambda row: (row["token"], row["name"])))
        names = {token: name for token, name in every.items() if name in scenes}
        unknown = sorted(scenes - set(names.values()))
        if not names:
            raise LzuError(
                f"{self._tables} holds none of the scenes {listed(sorted(scenes))}; name the ones "
                f"to evaluate on in {self._path / SCENES_FILE}, one a line"
            )
        if unknown and split == SCENES_FILE:
            raise LzuError(
                f"{self._path / SCENES_FILE} names {listed(unknown)}, which {self._tables} does "
                "not hold; remove what is not there"
            )
        if unknown:
            log.warning(
                "%s holds %d of the %d scenes of %s: the metrics cover these alone",
                self._tables, len(names), len(scenes), split,
            )  # fmt: skip
        return set(every), names

    def _moments(self, split: str, scenes: set[str]) -> list[_Moment]:
        """Return all samples of the scenes, in the order of scene and time."""
        every, names = self._scene_names(split, scenes)
        of_scenes = {}
        for token, scene, time in self._rows("sample", _moment):
            if token in self._times:
                raise self._twice("sample", token)
            if scene not in every:
                raise self._nowhere("sample", token, "scene", scene)
            self._times[token] = time  # velocities use samples that are not evaluated, too
            if scene in names:
                of_scenes[token] = (names[scene], time)
        views: dict[str, dict[str, _View]] = defaultdict(dict)
        for token, channel, view in self._rows("sample_data", _key_frame):
            if token not in self._times:
                raise self._nowhere("sample_data", view.file, "sample", token)
            if token not in of_scenes:
                continue
            if channel in views[token]:
                raise LzuError(
                    f"{self._tables / 'sample_data.json'} has two key frames of {channel} for "
                    f"sample {token}; unpack the metadata again"
                )
            views[token][channel] = view
        moments = []
        for token, (scene, time) in of_scenes.items():
            lacking = [each for each in (*CAMERAS, LIDAR) if each not in views[token]]
            if lacking:
                raise LzuError(
                    f"{self._tables / 'sample_data.json'} has no key frame of {lacking[0]} for "
                    f"sample {token}; unpack the metadata again"
                )
            moments.append(_Moment(token, scene, time, views[token]))
        return sorted(moments, key=lambda each: (each.scene, each.time))

    def _placed(
        self, chosen: Sequence[_Moment]
    ) -> tuple[dict[str, Array], dict[str, tuple[Array, Array | None]]]:
        """Return, by token, (4, 4) poses of the ego vehicle in the world, and (4, 4) poses of
        sensors in the ego vehicle with the (3, 3) matrices of cameras.
        """
        used = [view for each in chosen for view in each.views.values()]
        poses, sensors = {view.pose for view in used}, {view.sensor for view in used}
        placed = dict(
            self._rows(
                "ego_pose",
                lambda row: (row["token"], pose_of(row)) if row["token"] in poses else None,
            )
        )
        mounted = dict(
            self._rows(
                "calibrated_sensor",
                lambda row: (
                    (row["token"], (pose_of(row), camera_of(row)))
                    if row["token"] in sensors
                    else None
                ),
            )
        )
        for table, wanted, there in (
            ("ego_pose", poses, placed),
            ("calibrated_sensor", sensors, mounted),
        ):
            if lost := wanted - there.keys():
                raise LzuError(
                    f"{self._tables / table}.json has no row of token {min(lost)}; unpack the "
                    "metadata again"
                )
        return placed, mounted

    def _truth(self, chosen: set[str], around: set[str]) -> dict[str, _Truth]:
        """Return the boxes to find and the bicycle racks of the chosen samples, by token.

        `around` are the samples that neighbours of their boxes may belong to.
        """
        categories = dict(self._rows("category", lambda row: (row["token"], row["name"])))
        kinds = dict(
            self._rows(
                "instance",
                lambda row: (row["token"], self._named(categories, row["category_token"])),
            )
        )
        names = dict(self._rows("attribute", lambda row: (row["token"], row["name"])))
        where: dict[str, tuple[int, float, float]] = {}
        boxes: list[_Box] = []
        racks: dict[str, list[tuple[Array, Array]]] = defaultdict(list)

        def keep(row: Row) -> None:
            kind, sample = self._named(kinds, row["instance_token"]), row["sample_token"]
            if sample not in self._times:
                raise self._nowhere("sample_annotation", row["token"], "sample", sample)
            if kind == RACK and sample in chosen:
                racks[sample].append((pose_of(row), size_of(row)))
            if kind not in CATEGORIES or sample not in around:
                return
            if row["token"] in where:
                raise self._twice("sample_annotation", row["token"])
            x, y, _ = vector(row, "translation", 3)
            where[row["token"]] = self._times[sample], x, y
            if sample in chosen and count_of(row, "num_lidar_pts") + count_of(row, "num_radar_pts"):
                attribute = [self._named(names, each) for each in row["attribute_tokens"]]
                boxes.append(
                    _Box(
                        row["token"],
                        sample,
                        self._label[CATEGORIES[kind]],
                        vector(row, "translation", 3),
                        size_of(row),
                        _yaw(rotation(row)),
                        attribute_number(attribute[0] if attribute else ""),
                        row["prev"],
                        row["next"],
                    )
                )

        for _ in self._rows("sample_annotation", keep):
            pass
        for box in boxes:
            for neighbour in (box.before, box.after):
                if neighbour and neighbour not in where:
                    raise self._nowhere(
                        "sample_annotation", box.token, "sample_annotation", neighbour
                    )
        cycles = {self._label[name] for name in ("bicycle", "motorcycle")}
        of_sample: dict[str, list[_Box]] = defaultdict(list)
        for box in boxes:
            if box.label not in cycles or not racks_hold(racks[box.sample], box.centre):
                of_sample[box.sample].append(box)
        return {
            token: _truth_of(
                of_sample[token], [_velocity(box, where) for box in of_sample[token]], racks[token]
            )
            for token in chosen
        }

    def _named(self, names: Mapping[str, str], token: str) -> str:
        if token not in names:
            raise LzuError(
                f"{self._tables} names the token {token} in a table but does not explain it in "
                "another; unpack the metadata again"
            )
        return names[token]

    def _nowhere(self, table: str, token: str, wanted: str, missing: str) -> LzuError:
        """Return the error for a row that refers to a missing row."""
        return LzuError(
            f"{self._tables / table}.json has {token}, which refers to the {wanted} {missing}, but "
            f"{wanted}.json has no such row; unpack the metadata again"
        )

    def _twice(self, table: str, token: str) -> LzuError:
        return LzuError(
            f"{self._tables / table}.json has two rows of token {token}; unpack the metadata again"
        )


def _truth_of(
    boxes: Sequence[_Box],
    velocities: Sequence[tuple[float, float]],
    racks: list[tuple[Array, Array]],
) -> _Truth:
    """Return the truth of one sample from its boxes and the velocity of each."""
    return _Truth(
        np.array([box.centre for box in boxes]).reshape(-1, 3),
        Objects(
            np.zeros((len(boxes), 2)),
            np.array([box.size for box in boxes]).reshape(-1, 3),
            np.array([box.yaw for box in boxes]),
            np.array([box.label for box in boxes], np.int64),
            np.array(velocities).reshape(-1, 2),
            np.array([box.attribute for box in boxes], np.int64),
        ),
        racks,
    )


def _velocity(box: _Box, where: Mapping[str, tuple[int, float, float]]) -> tuple[float, float]:
    """Return a box's velocity (x, y) in metres per second from its neighbours; nan if unknown."""
    before, after = where.get(box.before), where.get(box.after)
    first, last = before or where[box.token], after or where[box.token]
    seconds = 1e-6 * (last[0] - first[0])
    if not 0 < seconds <= MAX_STEP * (2 if before and after else 1):
        return nan, nan
    return (last[1] - first[1]) / seconds, (last[2] - first[2]) / seconds


def _moment(row: Row) -> tuple[str, str, int]:
    """Return the token, the scene's token and the time in microseconds of a sample.

    Raises:
        ValueError: the time is not an integer.
    """
    if type(row["timestamp"]) is not int:
        raise ValueError(f"row {row['token']} has the timestamp {row['timestamp']!r:.40}")
    return row["token"], row["scene_token"], row["timestamp"]


def _key_frame(row: Row) -> tuple[str, str, _View] | None:
    """Return a row's sample, channel (the file's folder) and key frame; None for other rows."""
    if not row["is_key_frame"]:
        return None
    channel = str(row["filename"]).split("/")[-2]
    if channel not in CAMERAS and channel != LIDAR:
        return None
    height, width = row.get("height"), row.get("width")
    size = (height, width) if channel in CAMERAS and height and width else None
    view = _View(row["filename"], row["ego_pose_token"], row["calibrated_sensor_token"], size)
    return row["sample_token"], channel, view


def _yaw(quaternion: Array) -> float:
    """Return the heading of a box in the ground plane in radians."""
    ahead = rotation_matrix(quaternion)[:, 0]
    return float(np.arctan2(ahead[1], ahead[0]))


NUSCENES_FOLDER = Layout("nuScenes is here", is_nuscenes, NuScenesSet)
"""Layout of the folder that holds nuScenes' `samples` and tables."""
