"""nuScenes' tables, read without the devkit and held against it where it is installed."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lzu_export.errors import LzuError
from lzu_export.evaluation.datasets import open_dataset
from lzu_export.evaluation.layouts.nuscenes import NuScenesSet
from lzu_export.evaluation.metrics.nuscenes_objects import NUSCENES, Objects
from lzu_export.evaluation.metrics.rig import ATTRIBUTES, KIND, USUAL, RigScorer, racks_hold
from lzu_export.evaluation.parts import cut
from lzu_export.inputs.nuscenes import (
    CAMERAS,
    CATEGORIES,
    MINI_VAL,
    VAL,
    rotation_matrix,
    spelt_out,
    training_boxes,
)
from lzu_export.runtime import Detections3d, to_ego
from lzu_export.tasks.warps import read_saliency
from lzu_export.warp.box_saliency import box_saliency
from lzu_export.warp.saliency import Array
from nuscenes_tables import INTRINSIC, SCENES, VERSION, change_table, nuscenes_set, recipe, turned


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data set of three scenes of three samples."""
    return nuscenes_set(tmp_path)


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


def test_every_camera_knows_the_sample_s_boxes_in_its_own_frame(root: Path) -> None:
    """They are drawn, and so have heights, which the metric does not need."""
    samples = list(NuScenesSet(root, 12, recipe()).samples())
    for last in (samples[5], samples[11]):
        assert len(last.truth.seen.boxes) > 0
        expected = seen_from(last.truth.pose, last.truth.objects).boxes
        np.testing.assert_allclose(last.truth.seen.boxes, expected, atol=1e-4)
        np.testing.assert_array_equal(last.truth.seen.labels, last.truth.objects.labels)
    first = samples[0].truth
    np.testing.assert_allclose(
        to_ego(first.seen.boxes, first.pose)[:, :2], samples[5].truth.objects.centres, atol=1e-6
    )


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


def test_samples_in_parts_are_scored_as_the_whole(root: Path) -> None:
    """Parts end behind a sample's last camera, and may begin within a scene."""
    found = NuScenesSet(root, None, recipe())
    samples = list(found.samples())
    objects = [each.truth.objects for each in samples if each.truth.objects is not None]
    parts = cut(found, recipe(), 3, 1)
    assert len(parts) == 3
    assert all(part.stop % len(CAMERAS) == 0 for part in parts)
    whole, merged = found.scorer(), found.scorer()
    for part in parts:
        scorer = found.scorer()
        for i in part:
            prediction = seen_from(samples[i].truth.pose, objects[i // 6])
            scorer.add(samples[i], prediction)
            whole.add(samples[i], prediction)
        state = scorer.state()
        assert state is not None
        merged.merge(state)
    assert repr(merged.summary()) == repr(whole.summary())
    assert merged.owners() == whole.owners()


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
