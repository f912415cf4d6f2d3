"""nuScenes' tables, read without the devkit and held against it where it is installed."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from lzu_export.errors import LzuError
from lzu_export.evaluation.datasets import open_dataset
from lzu_export.evaluation.layouts.nuscenes import NuScenesSet
from lzu_export.evaluation.metrics.nuscenes_objects import NUSCENES, Objects
from lzu_export.evaluation.metrics.rig import ATTRIBUTES, KIND, USUAL, RigScorer, racks_hold
from lzu_export.inputs.nuscenes import (
    CAMERAS,
    CATEGORIES,
    MINI_VAL,
    RACK,
    VAL,
    rotation_matrix,
    spelt_out,
    training_boxes,
)
from lzu_export.recipes import load_recipe
from lzu_export.recipes.schema import Det3dRecipe
from lzu_export.runtime import Detections3d
from lzu_export.tasks.warps import read_saliency
from lzu_export.warp.box_saliency import box_saliency
from lzu_export.warp.saliency import Array

Damage = Callable[[Path], object]

VERSION = "v1.0-mini"
SCENES = ("scene-0916", "scene-0061", "scene-0103")
STEP = 500_000  # microseconds between key frames
OBJECTS = [*CATEGORIES, RACK, "animal", "vehicle.bicycle"]
"""Of every sample; the last one stands in the rack."""
INTRINSIC = [[40.0, 0, 31.5], [0, 40, 15.5], [0, 0, 1]]


def recipe() -> Det3dRecipe:
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


def rows_of(samples: int, random: np.random.Generator) -> dict[str, list[dict[str, Any]]]:
    """All tables: three scenes, six cameras and the lidar, a sweep each, moving objects."""
    tables: dict[str, list[dict[str, Any]]] = {
        "category": [{"token": f"c-{name}", "name": name, "description": ""}
                     for name in dict.fromkeys(OBJECTS)],
        "attribute": [{"token": f"a-{name}", "name": name, "description": ""}
                      for name in ATTRIBUTES],
        "visibility": [{"token": "4", "level": "v80-100", "description": ""}],
        "log": [{"token": "l", "logfile": "", "vehicle": "", "date_captured": "", "location": "x"}],
        "map": [{"token": "m", "log_tokens": ["l"], "category": "", "filename": "maps/x.png"}],
        "sensor": [{"token": f"s-{channel}", "channel": channel,
                    "modality": "camera" if channel in CAMERAS else "lidar"}
                   for channel in (*CAMERAS, "LIDAR_TOP")],
        "calibrated_sensor": [], "ego_pose": [], "scene": [], "sample": [], "sample_data": [],
        "sample_annotation": [], "instance": [],
    }  # fmt: skip
    for i, channel in enumerate((*CAMERAS, "LIDAR_TOP")):
        camera = channel in CAMERAS
        tables["calibrated_sensor"].append(
            {
                "token": f"k-{channel}",
                "sensor_token": f"s-{channel}",
                "translation": [1.5, 0.1 * i, 1.6],
                "rotation": turned(i * math.pi / 3, camera=camera),
                "camera_intrinsic": INTRINSIC if camera else [],
            }
        )
    for n, scene in enumerate(SCENES):
        tokens = [f"{scene}-{i}" for i in range(samples)]
        tables["scene"].append(
            {"token": f"t-{scene}", "name": scene, "log_token": "l", "nbr_samples": samples,
             "first_sample_token": tokens[0], "last_sample_token": tokens[-1], "description": ""}
        )  # fmt: skip
        place, heading = random.uniform(100, 900, 2), random.uniform(-3, 3)
        for i, token in enumerate(tokens):
            time = 10**9 * n + STEP * i
            tables["sample"].append(
                {"token": token, "scene_token": f"t-{scene}", "timestamp": time,
                 "prev": tokens[i - 1] if i else "",
                 "next": tokens[i + 1] if i + 1 < samples else ""}
            )  # fmt: skip
            for j, channel in enumerate((*CAMERAS, "LIDAR_TOP")):
                for key in (True, False):
                    name = f"{token}-{channel}-{key}"
                    ahead = np.array([math.cos(heading), math.sin(heading)])
                    moved = place + (2.0 * i + 0.05 * j) * ahead
                    tables["ego_pose"].append(
                        {"token": f"p-{name}", "timestamp": time,
                         "rotation": turned(heading + 0.01 * j),
                         "translation": [*moved, 0.0]}
                    )  # fmt: skip
                    tables["sample_data"].append(
                        {"token": name, "sample_token": token, "ego_pose_token": f"p-{name}",
                         "calibrated_sensor_token": f"k-{channel}", "timestamp": time,
                         "fileformat": "jpg", "is_key_frame": key, "height": 32, "width": 64,
                         "filename": f"{'samples' if key else 'sweeps'}/{channel}/{name}.jpg",
                         "prev": "", "next": ""}
                    )  # fmt: skip
        for o, kind in enumerate(OBJECTS):
            instance = f"i-{scene}-{o}"
            names = [f"o-{scene}-{o}-{i}" for i in range(samples)]
            tables["instance"].append(
                {"token": instance, "category_token": f"c-{kind}", "nbr_annotations": samples,
                 "first_annotation_token": names[0], "last_annotation_token": names[-1]}
            )  # fmt: skip
            start, speed = random.uniform(-35, 35, 2), random.uniform(-3, 3, 2)
            size = [12.0, 12.0, 2.0] if kind == RACK else random.uniform(0.5, 4, 3).tolist()
            rack = next(
                (
                    row
                    for row in tables["sample_annotation"]
                    if row["instance_token"] == f"i-{scene}-{OBJECTS.index(RACK)}"
                ),
                None,
            )
            fits = [a for a in ATTRIBUTES
                    if a.startswith(KIND.get(CATEGORIES.get(kind, ""), "-") + ".")]  # fmt: skip
            for i, name in enumerate(names):
                centre = [*(place + start + speed * 0.5 * i), 1.0]
                if o == len(OBJECTS) - 1 and rack is not None:
                    centre = list(rack["translation"])
                still = kind == RACK
                tables["sample_annotation"].append(
                    {"token": name, "sample_token": tokens[i], "instance_token": instance,
                     "visibility_token": "4", "size": size,
                     "attribute_tokens": [f"a-{fits[o % len(fits)]}"] if fits and o != 1 else [],
                     "translation": [*(place + start), 1.0] if still else centre,
                     "rotation": turned(0.3 * o), "num_lidar_pts": 0 if o == 3 else 5,
                     "num_radar_pts": 0, "prev": names[i - 1] if i else "",
                     "next": names[i + 1] if i + 1 < samples else ""}
                )  # fmt: skip
    return tables


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data set of three scenes of three samples."""
    tables = rows_of(3, np.random.default_rng(4))
    write_tables(tmp_path, tables)
    for row in tables["sample_data"]:
        if row["is_key_frame"] and "CAM" in row["filename"]:
            path = tmp_path / row["filename"]
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), np.zeros((32, 64, 3), np.uint8))
    (tmp_path / "maps").mkdir()
    cv2.imwrite(str(tmp_path / "maps" / "x.png"), np.zeros((4, 4), np.uint8))
    return tmp_path


def write_tables(root: Path, tables: dict[str, list[dict[str, Any]]]) -> None:
    (root / VERSION).mkdir(exist_ok=True)
    for name, rows in tables.items():
        (root / VERSION / f"{name}.json").write_text(json.dumps(rows, indent=0))


def change_table(root: Path, name: str, change: Callable[[list[dict[str, Any]]], Any]) -> None:
    path = root / VERSION / f"{name}.json"
    rows = json.loads(path.read_text())
    change(rows)
    path.write_text(json.dumps(rows))


def seen_from(pose: Array, objects: Objects, racks: Any = ()) -> Detections3d:
    """What a faultless model finds in one camera: the truth's boxes that lie before it."""
    back = np.linalg.inv(pose)
    found = []
    for i, (x, y) in enumerate(objects.centres):
        # The truth keeps no heights: one metre up, as all objects are here.
        centre = back @ np.array([x, y, 1.0 - 0.0, 1.0])
        heading = back[:3, :3] @ np.array([math.cos(objects.yaws[i]), math.sin(objects.yaws[i]), 0])
        speed = back[:3, :3] @ np.array([*np.nan_to_num(objects.velocities[i]), 0])
        length, width, height = objects.sizes[i]
        box = [*centre[:3], length, height, width, math.atan2(-heading[2], heading[0])]
        found.append([*box, speed[0], speed[2]])
    boxes = np.array(found, np.float32).reshape(-1, 9)
    return Detections3d(boxes, np.full(len(boxes), 0.9, np.float32), objects.labels,
                        np.zeros(len(boxes), np.int64))  # fmt: skip


def nothing() -> Detections3d:
    none = np.zeros(0)
    return Detections3d(np.zeros((0, 9), np.float32), none.astype(np.float32),
                        none.astype(np.int64), none.astype(np.int64))  # fmt: skip


def test_the_split_s_samples_come_scene_by_scene_in_time(root: Path) -> None:
    """Of mini_val both scenes, six cameras each time."""
    found = open_dataset(str(root), None, "det3d", recipe())
    assert (len(found), found.metric) == (2 * 3 * 6, "NDS")
    assert found.name == f"{root.name} mini_val"
    assert found.classes == recipe().classes
    samples = list(found.samples())
    assert [each.sequence for each in samples] == ["scene-0103"] * 18 + ["scene-0916"] * 18
    for i, each in enumerate(samples):
        assert f"/{CAMERAS[i % 6]}/scene-{each.sequence[6:]}-{i // 6 % 3}-" in each.name
        assert each.camera_frame.cam2img == pytest.approx(np.array(INTRINSIC))
        assert (each.truth.objects is not None) == (i % 6 == 5)
    assert [each.name for each in found.samples(8)] == [each.name for each in samples[8:]]


def test_a_limit_takes_whole_samples(root: Path) -> None:
    assert len(NuScenesSet(root, 13, recipe())) == 12
    assert len(NuScenesSet(root, 1, recipe())) == 6


def test_other_scenes_may_be_named(root: Path) -> None:
    (root / "scenes.txt").write_text("scene-0061\n")
    found = NuScenesSet(root, None, recipe())
    assert {each.sequence for each in found.samples()} == {"scene-0061"}
    (root / "scenes.txt").write_text("scene-0061\nscene-9999\n")
    with pytest.raises(LzuError, match=r"scenes\.txt names scene-9999, which .*v1\.0-mini does"):
        NuScenesSet(root, None, recipe())
    (root / "scenes.txt").write_text("scene-9999\n")
    with pytest.raises(LzuError, match=r"holds none of the scenes scene-9999; name the ones to"):
        NuScenesSet(root, None, recipe())


def test_a_faultless_model_has_no_errors(root: Path) -> None:
    """Its attributes aside, which the detections leave to their classes' usual ones."""
    found = NuScenesSet(root, None, recipe())
    scorer = found.scorer()
    waiting: list[Any] = []
    for sample in found.samples():
        waiting.append(sample)
        if sample.truth.objects is None:
            continue
        for each in waiting:
            scorer.add(each, seen_from(each.truth.pose, sample.truth.objects))
        assert scorer.state() is not None
        waiting = []
    summary = scorer.summary()
    for rule in NUSCENES:
        assert summary[f"AP {rule.name}"] == pytest.approx(100), rule.name
    assert summary["mAP"] == pytest.approx(100)
    for error in ("mATE", "mASE", "mAOE"):
        assert summary[error] == pytest.approx(0, abs=1e-4), error
    assert summary["mAVE"] == pytest.approx(0, abs=1e-4)
    assert 0 < summary["mAAE"] <= 1
    assert summary["NDS"] == pytest.approx(10 * (5 + 4 + 1 - summary["mAAE"]), abs=1e-2)


def test_a_scorer_goes_on_from_its_state(root: Path) -> None:
    """Between samples, never between the cameras of one."""
    found = NuScenesSet(root, None, recipe())
    whole, first, second = found.scorer(), found.scorer(), found.scorer()
    samples = list(found.samples())
    objects = [each.truth.objects for each in samples if each.truth.objects is not None]
    for i, sample in enumerate(samples):
        prediction = seen_from(sample.truth.pose, objects[i // 6])
        whole.add(sample, prediction)
        if i == 18:
            state = first.state()
            assert state is not None
            second.restore(state)
        (first if i < 18 else second).add(sample, prediction)
        assert (first.state() is None) == (i % 6 < 5 and i < 18)
    assert second.summary() == pytest.approx(whole.summary(), nan_ok=True)


def test_without_attributes_their_errors_are_1(root: Path) -> None:
    unnamed = recipe().model_copy(update={"attributes": ()})
    found = NuScenesSet(root, 12, unnamed)
    scorer = found.scorer()
    samples = list(found.samples())
    for i, sample in enumerate(samples):
        objects = samples[i // 6 * 6 + 5].truth.objects
        assert objects is not None
        scorer.add(sample, seen_from(sample.truth.pose, objects))
    assert scorer.summary()["mAAE"] == 1


def test_an_attribute_that_a_class_cannot_have_becomes_its_usual_one() -> None:
    scorer = RigScorer(NUSCENES, recipe().postprocess, recipe().attributes)
    table = scorer._table
    assert table is not None
    names = [rule.name for rule in NUSCENES]
    moving = recipe().attributes.index("pedestrian.moving")
    assert ATTRIBUTES[table[names.index("pedestrian"), moving]] == "pedestrian.moving"
    assert ATTRIBUTES[table[names.index("car"), moving]] == USUAL["car"] == "vehicle.parked"
    assert ATTRIBUTES[table[names.index("bicycle"), -1]] == "cycle.without_rider"
    assert (table[names.index("barrier")] == -1).all()


def test_turns_and_boxes() -> None:
    np.testing.assert_allclose(rotation_matrix([2, 0, 0, 0]), np.eye(3))
    quarter = rotation_matrix(turned(math.pi / 2))
    np.testing.assert_allclose(quarter @ [1, 0, 0], [0, 1, 0], atol=1e-12)
    ahead = rotation_matrix(turned(0, camera=True))
    np.testing.assert_allclose(ahead @ [0, 0, 1], [1, 0, 0], atol=1e-12)
    np.testing.assert_allclose(ahead @ [0, 1, 0], [0, 0, -1], atol=1e-12)
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = quarter, [10, 0, 0]
    rack = [(pose, np.array([4.0, 2, 2]))]  # its length lies along y
    assert racks_hold(rack, np.array([10, 2.0, 0]))
    assert not racks_hold(rack, np.array([12, 0.0, 0]))


BROKEN: list[tuple[Damage, str]] = [
    (
        lambda root: next(root.glob("samples/CAM_BACK/scene-0103-1*")).unlink(),
        r"has no samples/CAM_BACK/scene-0103-1-.*, which v1\.0-mini names; unpack",
    ),
    (
        lambda root: (root / VERSION / "ego_pose.json").unlink(),
        r"ego_pose\.json cannot be read .No such file",
    ),
    (
        lambda root: (root / VERSION / "sample_annotation.json").write_text('[{"token": 3}'),
        r"sample_annotation\.json has a row without the field instance_token; unpack",
    ),
    (
        lambda root: (root / VERSION / "scene.json").write_text('{"a": 1}'),
        r"scene\.json is damaged .it is no list of rows",
    ),
    (
        lambda root: (root / VERSION / "scene.json").write_text("[1]"),
        r"scene\.json is damaged .1 is no row",
    ),
    (
        lambda root: (root / VERSION / "category.json").write_text("[]"),
        r"v1\.0-mini names the token c-movable_object\.barrier in a table but does not explain",
    ),
    (
        lambda root: change_table(root, "ego_pose", list.clear),
        r"ego_pose\.json has no row of token p-scene-0103-0-CAM_BACK-True; unpack",
    ),
    (
        lambda root: change_table(
            root,
            "sample_data",
            lambda rows: [row.update(is_key_frame=False) for row in rows[:1]],
        ),
        r"sample_data\.json has no key frame of CAM_FRONT for sample scene-0916-0; unpack",
    ),
    (
        lambda root: next(root.glob("samples/CAM_FRONT/scene-0103-0*")).write_text("x"),
        r"CAM_FRONT/scene-0103-0.*\.jpg cannot be read as an image",
    ),
]


def first(name: str, **changes: Any) -> Damage:
    """Damage the first row of a table that the evaluation uses."""
    scene = "" if name == "calibrated_sensor" else "scene-0103"
    return lambda root: change_table(
        root, name, lambda rows: next(row for row in rows if scene in row["token"]).update(changes)
    )


NAN = float("nan")


CONTRADICTORY: list[tuple[Damage, str]] = [
    (first("ego_pose", translation=[1, NAN, 0]), r"ego_pose\.json is damaged .row p-.*finite"),
    (first("ego_pose", rotation=[0, 0, 0, 0]), r"has the rotation \[0, 0, 0, 0\], which is"),
    (first("ego_pose", rotation=[1, 0, 0]), "which is not 4 finite numbers"),
    (
        first("calibrated_sensor", rotation=[NAN, 0, 0, 1]),
        r"sensor\.json is damaged",
    ),
    (
        first("calibrated_sensor", camera_intrinsic=[[40, 0, 3], [80, 0, 6], [0, 0, 1]]),
        "camera_intrinsic of nuScenes' calibrated_sensor k-CAM_FRONT is singular",
    ),
    (
        first("calibrated_sensor", camera_intrinsic=[[40, 0, NAN], [0, 40, 6], [0, 0, 1]]),
        "has an entry that is not finite",
    ),
    (first("sample_annotation", translation=[0, 0, NAN]), "sample_annotation.json is damaged"),
    (first("sample_annotation", size=[0, 1, 2]), r"has the size \[0, 1, 2\], not positive"),
    (first("sample_annotation", num_lidar_pts=NAN), "has the num_lidar_pts nan, which is no"),
    (first("sample_annotation", sample_token="gone"), "refers to the sample gone, but"),
    (first("sample_annotation", next="gone"), "refers to the sample_annotation gone, but"),
    (first("sample_annotation", instance_token="gone"), "names the token gone in a table but"),
    (first("sample", scene_token="gone"), r"refers to the scene gone, but scene\.json has no"),
    (first("sample", timestamp="soon"), r"sample\.json is damaged .row .* timestamp 'soon'"),
    (first("sample_data", sample_token="gone"), "refers to the sample gone, but sample.json"),
    (
        lambda root: change_table(root, "sample_data", lambda rows: rows.extend(rows)),
        "has two key frames of CAM_FRONT for sample scene-0916-0",
    ),
    (
        lambda root: change_table(root, "sample", lambda rows: rows.append(rows[0])),
        "sample.json has two rows of token scene-0916-0",
    ),
    (
        lambda root: change_table(
            root, "sample_data", lambda rows: [row.update(height=900) for row in rows]
        ),
        r"is 64 wide and 32 high, but .*sample_data\.json has 64 and 900",
    ),
    (
        lambda root: (root / VERSION / "ego_pose.json").write_text(
            (root / VERSION / "ego_pose.json").read_text()[:-400]
        ),
        r"ego_pose\.json is damaged",
    ),
]
"""A position that is not a number, or a lost truth, would lower a metric without an error."""


@pytest.mark.parametrize(("damage", "words"), [*BROKEN, *CONTRADICTORY])
def test_a_damaged_data_set_is_named(root: Path, damage: Damage, words: str) -> None:
    damage(root)
    with pytest.raises(LzuError, match=words):
        list(open_dataset(str(root), None, "det3d", recipe()).samples())


def test_a_part_of_the_split_is_said(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    change_table(root, "scene", lambda rows: rows[0].update(name="scene-0001"))
    found = NuScenesSet(root, None, recipe())
    assert {each.sequence for each in found.samples()} == {"scene-0103"}
    assert "holds 1 of the 2 scenes of mini_val: the metrics cover these alone" in caplog.text


def alone(root: Path, *boxes: dict[str, Any]) -> None:
    """Leave these boxes in the first sample of scene-0061, where the ego vehicle looks along x."""
    rows = [
        {"token": f"o{i}", "sample_token": "scene-0061-0", "instance_token": "i-scene-0061-5",
         "rotation": [1, 0, 0, 0], "num_lidar_pts": 1, "num_radar_pts": 0, **each}
        for i, each in enumerate(boxes)
    ]  # fmt: skip
    change_table(root, "sample_annotation", lambda found: (found.clear(), found.extend(rows)))
    change_table(
        root,
        "ego_pose",
        lambda found: [
            row.update(rotation=[1, 0, 0, 0], translation=[100, 50, 0])
            for row in found
            if row["token"].startswith("p-scene-0061-0")
        ],
    )


AHEAD = {"translation": [111.5, 50, 1.6], "size": [2, 4, 1]}
"""10 m before the front camera: 2 m wide, 4 m long, 1 m high."""


def test_a_saliency_s_boxes_are_what_the_cameras_see(root: Path) -> None:
    """The near face, 8 m away, at 40 pixels a metre and metre; of scenes that are not evaluated."""
    behind = {**AHEAD, "translation": [92, 50, 1.6]}
    beside = {**AHEAD, "translation": [106.5, 52.5, 1.6], "size": [2, 2, 1]}  # cut by the edge
    unseen = {**AHEAD, "num_lidar_pts": 0}
    alone(root, AHEAD, behind, beside, unseen)
    found = list(training_boxes(root, recipe().classes, "the saliency"))
    assert len(found) == 3 * 6
    assert {size for size, _ in found} == {(32, 64)}
    front = np.concatenate([boxes for _, boxes in found[:1]])
    np.testing.assert_allclose(
        front, [[27, 13.5, 37, 18.5], [0, 11, 32 - 40 * 1.5 / 6, 21]], atol=1e-9
    )
    (root / "scenes.txt").write_text("\n".join(SCENES))
    with pytest.raises(LzuError, match="holds no key frames of scenes that are not evaluated on"):
        list(training_boxes(root, recipe().classes, "the saliency"))


def test_the_saliency_of_nuscenes_looks_at_its_boxes(root: Path) -> None:
    """In pixels of the recipe's source; other classes are refused as in an evaluation."""
    alone(root, AHEAD)
    data = recipe().model_copy(update={"source": (64, 128), "crop": None})
    data = data.model_copy(update={"warp": data.warp.model_copy(update={"saliency": root})})
    wanted = box_saliency(
        [[54, 27, 74, 37]], (64, 128), data.warp.lattice,
        amplitude=data.warp.amplitude, bandwidth=data.warp.bandwidth,
    )  # fmt: skip
    np.testing.assert_allclose(read_saliency(data), wanted)
    with pytest.raises(LzuError, match=r"the saliency .* has the classes barrier, .* but the reci"):
        read_saliency(data.model_copy(update={"classes": ("car", "tram")}))


def test_other_classes_are_refused(root: Path) -> None:
    other = recipe().model_copy(update={"classes": ("car", "tram")})
    with pytest.raises(LzuError, match=r"mini_val has the classes car, .*barrier but the recipe c"):
        open_dataset(str(root), None, "det3d", other)
    with pytest.raises(
        LzuError, match="belongs to task det3d, as nuScenes is here, but the recipe to"
    ):
        open_dataset(str(root), None, "det")


def test_the_splits_have_as_many_scenes_as_published() -> None:
    assert len(set(spelt_out(VAL))) == len(spelt_out(VAL)) == 150
    assert spelt_out(MINI_VAL) == [103, 916]


def test_splits_and_classes_are_the_devkit_s() -> None:
    splits = pytest.importorskip("nuscenes.utils.splits", reason="nuscenes-devkit is not installed")
    from nuscenes.eval.detection.utils import category_to_detection_name

    assert [f"scene-{i:04d}" for i in spelt_out(VAL)] == splits.val
    assert [f"scene-{i:04d}" for i in spelt_out(MINI_VAL)] == splits.mini_val
    for kind, name in CATEGORIES.items():
        assert category_to_detection_name(kind) == name


def test_the_whole_way_gives_the_devkit_s_scores(
    root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Its own reading of the tables, its filters, and its evaluation of the same merged boxes."""
    nuscenes = pytest.importorskip("nuscenes", reason="nuscenes-devkit is not installed")
    from nuscenes.eval.common.config import config_factory
    from nuscenes.eval.detection.evaluate import NuScenesEval

    random = np.random.default_rng(0)
    found = NuScenesSet(root, None, recipe())
    scorer = found.scorer()
    results: dict[str, list[dict[str, Any]]] = {}
    waiting: list[Any] = []
    stands = lidar_places(root)
    for sample in found.samples():
        waiting.append(sample)
        if sample.truth.objects is None:
            continue
        token, objects = sample.truth.sample, sample.truth.objects
        rough = objects._replace(
            centres=objects.centres + random.normal(0, 0.7, objects.centres.shape),
            yaws=objects.yaws + random.normal(0, 0.3, len(objects.yaws)),
            sizes=objects.sizes * random.uniform(0.8, 1.2, objects.sizes.shape),
        )
        for i, each in enumerate(waiting):
            mine = rough.take(np.arange(len(rough.labels)) % 6 == i)
            boxes = seen_from(each.truth.pose, mine)
            boxes = boxes._replace(
                scores=random.uniform(0.1, 1, len(boxes.scores)).astype(np.float32),
                attributes=random.integers(0, 9, len(boxes.scores)),
            )
            scorer.add(each, boxes)
            results.setdefault(token, [])
            results[token] += as_results(boxes, each.truth.pose, stands[token], token)
        waiting = []
    out = tmp_path_factory.mktemp("devkit")
    meta = {f"use_{each}": each == "camera" for each in ("camera", "lidar", "radar", "map",
                                                         "external")}  # fmt: skip
    (out / "results.json").write_text(json.dumps({"meta": meta, "results": results}))
    table = nuscenes.NuScenes(VERSION, str(root), verbose=False)
    devkit = NuScenesEval(
        table, config_factory("detection_cvpr_2019"), str(out / "results.json"), "mini_val",
        str(out), verbose=False,
    )  # fmt: skip
    metrics, _ = devkit.evaluate()
    summary = scorer.summary()
    assert summary["NDS"] == pytest.approx(100 * metrics.nd_score, abs=1e-3)
    assert summary["mAP"] == pytest.approx(100 * metrics.mean_ap, abs=1e-3)
    assert 5 < summary["mAP"] < 95
    for name, key in (("ATE", "trans"), ("ASE", "scale"), ("AOE", "orient"), ("AVE", "vel"),
                      ("AAE", "attr")):  # fmt: skip
        assert summary[f"m{name}"] == pytest.approx(metrics.tp_errors[f"{key}_err"], abs=1e-4)


def lidar_places(root: Path) -> dict[str, NDArray[Any]]:
    poses = json.loads((root / VERSION / "ego_pose.json").read_text())
    return {
        row["token"].removeprefix("p-").removesuffix("-LIDAR_TOP-True"): np.array(
            row["translation"]
        )
        for row in poses
        if row["token"].endswith("LIDAR_TOP-True")
    }


def as_results(found: Detections3d, pose: Array, stand: Array, token: str) -> list[dict[str, Any]]:
    """A camera's detections as the devkit's results; none overlap, so none are suppressed."""
    rows = []
    for box, score, label, attribute in zip(
        found.boxes.astype(float), found.scores, found.labels, found.attributes, strict=True
    ):
        centre = pose @ [*box[:3], 1]
        heading = pose[:3, :3] @ [math.cos(box[6]), 0, -math.sin(box[6])]
        speed = pose[:3, :3] @ [box[7], 0, box[8]]
        name = recipe().classes[label]
        kind = KIND.get(name)
        chosen = recipe().attributes[attribute]
        if kind is None:
            chosen = ""
        elif not chosen.startswith(f"{kind}."):
            chosen = USUAL[name]
        rows.append(
            {"sample_token": token, "translation": (centre[:3] + stand).tolist(),
             "size": [box[5], box[3], box[4]],
             "rotation": turned(math.atan2(heading[1], heading[0])),
             "velocity": speed[:2].tolist(), "detection_name": name,
             "detection_score": float(score), "attribute_name": chosen}
        )  # fmt: skip
    return rows
