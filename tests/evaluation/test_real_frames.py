"""Camera frames of the real world go the same way as rendered ones."""

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from lzu_export.bundle.bundle import Bundle
from lzu_export.compiler.pipeline import export
from lzu_export.manifest.schema import read_manifest
from lzu_export.recipes import load_recipe
from lzu_export.runtime import load, to_ego
from lzu_export.runtime.cameras import Cameras, read_cameras
from lzu_export.runtime.postprocess3d import (
    Detections3d,
    ego_footprints,
    merge_cameras,
    rotated_iou,
)
from lzu_export.runtime.projection import camera_matrix, image_boxes, project
from lzu_export.verification.live_reference import live_references
from lzu_export.verification.parity import verify_engine

CAMVID = [
    "sky",
    "building",
    "pole",
    "road",
    "pavement",
    "tree",
    "sign",
    "fence",
    "car",
    "pedestrian",
    "bicyclist",
    "void",
]
SMALL_FCOS3D = {
    "num_classes": 10,
    "depth": 50,
    "base_channels": 8,
    "fpn_channels": 16,
    "feat_channels": 16,
    "centerness_channels": 16,
    "norm_groups": 4,
}


@pytest.fixture(scope="module")
def frames(shared: Path) -> list[Path]:
    """A street from a car, by day, of two cameras."""
    found = sorted((shared / "camvid" / "val" / "images").glob("*"))[:2]
    found += sorted((shared / "nuscenes_sample").glob("CAM_FRONT.jpg"))
    if not found:
        pytest.skip(f"no real frames under {shared}")
    return found


def test_engine_and_pytorch_agree_on_real_frames(
    tiny_bundle: Path, frames: list[Path], tmp_path: Path
) -> None:
    """Live verification, frames brought to the bundle's size."""
    manifest = read_manifest(tiny_bundle)
    height, width = manifest.recipe.source
    for path in frames:
        image = cv2.resize(cv2.imread(str(path)), (width, height), interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(tmp_path / f"{path.stem}.png"), image)
    references = live_references(Bundle(tiny_bundle, manifest), tmp_path, None, limit=len(frames))
    assert len(references) == len(frames)
    parity = verify_engine(Bundle(tiny_bundle, manifest), manifest.engines[0], references)
    assert parity.status == "passed", parity.sentence()


def test_detections_come_back_in_the_pixels_of_the_real_frame(
    tiny_bundle: Path, frames: list[Path]
) -> None:
    detector = load(tiny_bundle, resize=True)
    for path in frames:
        image = cv2.imread(str(path))
        boxes = detector(image).boxes
        assert np.isfinite(boxes).all()
        assert (boxes >= 0).all()
        assert (boxes[:, 2] <= image.shape[1]).all()
        assert (boxes[:, 3] <= image.shape[0]).all()


def exported(recipe: str, out: Path, **overrides: Any) -> Path:
    """A bundle of an untrained network."""
    changes = {
        "random_weights": 0,
        "checkpoint": {},
        "precision": ["fp32"],
        "targets": ["onnxruntime"],
        **overrides,
    }
    return export(load_recipe(recipe, changes), out).folder


def agrees(bundle: Path, frames: Path, cameras: Cameras | None = None) -> None:
    """The engine and PyTorch, at every probe point, on the frames."""
    manifest = read_manifest(bundle)
    count = 1 if manifest.recipe.batch > 1 else 2
    references = live_references(
        Bundle(bundle, manifest), frames, None, limit=count, fit="stretch", cameras=cameras
    )
    parity = verify_engine(Bundle(bundle, manifest), manifest.engines[0], references)
    assert parity.status == "passed", parity.sentence()
    assert parity.outputs


def segmenter(camvid: Path, out: Path, **model: Any) -> Path:
    """PSPNet on the real streets, warped by the boundaries of their own labels."""
    few = out / "labels"
    few.mkdir()
    for path in sorted((camvid / "train" / "labels").glob("*.png"))[::60]:
        shutil.copy(path, few)
    return exported(
        "cityscapes",
        out,
        **{
            "source": [360, 480],
            "crop": [352, 352],
            "scale": 0.5,
            "classes": CAMVID,
            "model": {"num_classes": len(CAMVID), **model},
            "warp.saliency": str(few),
            "evaluation": {"dataset": str(camvid / "val"), "frames": 2},
        },
    )


@pytest.fixture
def camvid(shared: Path, tmp_path: Path) -> Path:
    """The streets with their labels, and the names of these."""
    folder = shared / "camvid"
    if not folder.is_dir():
        pytest.skip(f"no camvid under {shared}")
    copy = tmp_path / "camvid"
    for part in ("train", "val"):
        (copy / part).mkdir(parents=True)
        for kind in ("images", "labels"):
            (copy / part / kind).symlink_to(folder / part / kind)
    (copy / "val" / "classes.txt").write_text("\n".join(CAMVID) + "\n")
    return copy


@pytest.fixture
def rig(shared: Path) -> Path:
    """Six cameras of one moment, with their calibration."""
    folder = shared / "nuscenes_sample"
    if not folder.is_dir():
        pytest.skip(f"no nuscenes_sample under {shared}")
    return folder


def test_a_segmenter_agrees_on_real_streets_and_is_scored(camvid: Path, tmp_path: Path) -> None:
    bundle = segmenter(camvid, tmp_path, depth=18, base_channels=8, channels=16)
    agrees(bundle, camvid / "val" / "images")
    accuracy = read_manifest(bundle).accuracy
    assert accuracy is not None
    assert 0 < accuracy.pytorch["mIoU"] < 60  # untrained
    assert accuracy.engines["onnxruntime/fp32"]["mIoU"] == pytest.approx(
        accuracy.pytorch["mIoU"], abs=0.01
    )


@pytest.mark.slow
def test_six_real_cameras_as_one_batch(rig: Path, golden: Path, tmp_path: Path) -> None:
    """The geometry of the released models, on the rig's own matrices, merged in the ego frame."""
    bundle = exported(
        "nuscenes",
        tmp_path,
        batch=6,
        scale=0.25,
        model=SMALL_FCOS3D,
        **{
            "warp.saliency": str(golden / "nuscenes_saliency_27x48.npy"),
            "postprocess.candidates_per_level": 20,
        },
    )
    cameras = read_cameras(rig / "sample.json")
    agrees(bundle, rig, cameras)
    detector = load(bundle)
    paths = sorted(rig.glob("*.jpg"))
    frames = [cv2.imread(str(path)) for path in paths]
    taken = [cameras.of(path.name) for path in paths]
    each = detector.batch(frames, [camera.cam2img for camera in taken])
    poses = [camera.cam2ego for camera in taken]
    merged = detector.rig(frames, [camera.cam2img for camera in taken], poses)
    assert len(each) == 6
    assert 0 < len(merged.scores) <= sum(len(found.scores) for found in each)
    for camera in np.unique(merged.cameras):
        chosen = merged.cameras == camera
        np.testing.assert_allclose(
            to_ego(merged.boxes[chosen], poses[camera]),
            merged.ego_boxes[chosen],
            rtol=1e-4,
            atol=1e-4,
        )


def rig_truth(rig: Path) -> tuple[list[Detections3d], list[np.ndarray]]:
    """The annotated boxes of each camera as if they had been detected, and the cameras' poses."""
    found, poses = [], []
    for camera in json.loads((rig / "sample.json").read_text())["cameras"].values():
        objects = camera["instances"]
        boxes = np.array([each["bbox_3d"] + each["velocity"] for each in objects], np.float32)
        found.append(
            Detections3d(
                np.nan_to_num(boxes),  # a few velocities are not known
                np.ones(len(objects), np.float32),
                np.array([each["bbox_label_3d"] for each in objects]),
                np.array([each["attr_label"] for each in objects]),
            )
        )
        poses.append(np.array(camera["cam2ego"]))
    return found, poses


def test_projected_truth_falls_on_the_objects(rig: Path) -> None:
    """Rectangles around the boxes' corners are the annotated ones, to about a pixel.

    The least overlap is 0.814, of boxes that the image cuts: the annotated rectangles surround what
    is left of the box, ours the whole one before they are cut. Of the others it is 0.917: boxes
    are upright in the camera's frame instead of the world's, and far ones a few pixels wide.
    """
    cameras = json.loads((rig / "sample.json").read_text())["cameras"]
    overlaps, cut = [], []
    for camera in cameras.values():
        matrix, size = camera_matrix(camera["cam2img"]), (camera["height"], camera["width"])
        objects = camera["instances"]
        boxes = np.array([each["bbox_3d"] for each in objects])
        pixels, depths = project(boxes[:, :3], matrix)
        np.testing.assert_allclose(pixels, [each["center_2d"] for each in objects], atol=1e-3)
        np.testing.assert_allclose(depths, [each["depth"] for each in objects], atol=1e-4)
        found = image_boxes(boxes, matrix, size)
        wanted = np.array([each["bbox"] for each in objects])
        low = np.maximum(found[:, :2], wanted[:, :2])
        high = np.minimum(found[:, 2:], wanted[:, 2:])
        shared = np.maximum(high - low, 0).prod(axis=1)
        areas = [(each[:, 2:] - each[:, :2]).prod(axis=1) for each in (found, wanted)]
        overlaps.append(shared / (areas[0] + areas[1] - shared))
        cut.append((wanted <= 0).any(axis=1) | (wanted[:, [3, 2]] >= size).any(axis=1))
    overlap, at_border = np.concatenate(overlaps), np.concatenate(cut)
    assert len(overlap) == 84
    assert overlap.min() > 0.81
    assert overlap[~at_border].min() > 0.91
    assert np.median(overlap) > 0.94


def test_what_two_real_cameras_see_is_kept_once(rig: Path) -> None:
    """68 objects are annotated 84 times; between two cameras' moments the rig moves 7 cm or so."""
    found, poses = rig_truth(rig)
    merged = merge_cameras(found, poses, iou_threshold=0.2)
    assert sum(len(each.scores) for each in found) == 84
    assert len(merged.scores) == 68
    # Everything that was seen is still there, at its place, once.
    seen = np.concatenate(
        [to_ego(each.boxes, pose) for each, pose in zip(found, poses, strict=True)]
    )
    labels = np.concatenate([each.labels for each in found])
    apart = np.linalg.norm(seen[:, None, :2] - merged.ego_boxes[None, :, :2], axis=2)
    apart[labels[:, None] != merged.labels[None]] = np.inf
    assert apart.min(axis=1).max() < 0.1
    assert ((apart < 0.1).sum(axis=1) == 1).all()
    footprints = ego_footprints(merged.ego_boxes)
    overlap = rotated_iou(footprints[:, None], footprints[None])
    overlap[merged.labels[:, None] != merged.labels[None]] = 0
    assert overlap[~np.eye(68, dtype=bool)].max() <= 0.2


def test_merging_by_default_costs_a_real_neighbour(rig: Path) -> None:
    """Two annotated pedestrians side by side share 8 % of their union; the default allows 5 %."""
    assert len(merge_cameras(*rig_truth(rig)).scores) == 67


def test_real_objects_stand_on_the_ground_of_the_ego_frame(rig: Path) -> None:
    """Near z = 0 (a street rises with distance), some meters away, on all sides."""
    merged = merge_cameras(*rig_truth(rig))
    boxes = merged.ego_boxes
    bottom = boxes[:, 2] - boxes[:, 5] / 2
    assert np.abs(np.median(bottom)) < 0.3
    assert bottom.min() > -1
    assert bottom.max() < 2  # someone stands on a truck
    distance = np.hypot(boxes[:, 0], boxes[:, 1])
    assert distance.min() > 3
    assert distance.max() < 100
    for camera, (x, y) in enumerate([(1, 0), (1, -1), (1, 1), (-1, 0), (-1, 1), (-1, -1)]):
        towards = boxes[merged.cameras == camera, :2] @ [x, y]
        assert (towards > 0).all(), camera


@pytest.mark.slow
def test_full_size_networks_agree_on_real_frames(
    camvid: Path, rig: Path, golden: Path, tmp_path: Path
) -> None:
    agrees(segmenter(camvid, tmp_path, depth=50), camvid / "val" / "images")
    fcos3d = exported(
        "nuscenes",
        tmp_path,
        scale=0.25,
        **{"warp.saliency": str(golden / "nuscenes_saliency_27x48.npy")},
    )
    agrees(fcos3d, rig, read_cameras(rig / "sample.json"))
