"""Rotated overlap, suppression per class, cameras and rigs."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lzu_export.errors import LzuError
from lzu_export.inputs.camera_matrix import camera_matrices
from lzu_export.runtime import postprocess
from lzu_export.runtime.postprocess3d import (
    Detections3d,
    camera_footprints,
    ego_footprints,
    intersection_areas,
    merge_cameras,
    rotated_iou,
    suppress_3d,
    to_camera,
    to_ego,
)
from samples import loaded_by

RIGHT = np.pi / 2
UNIT = (0.0, 0.0, 1.0, 1.0, 0.0)
OCTAGON = 2 * (np.sqrt(2) - 1)
Rectangle = tuple[float, float, float, float, float]


def test_it_imports_no_torch() -> None:
    assert loaded_by("lzu_export.runtime.postprocess3d", ["torch"]) == []


@pytest.mark.parametrize(
    ("first", "second", "area"),
    [
        (UNIT, UNIT, 1.0),
        (UNIT, (0, 0, 1, 1, RIGHT / 2), OCTAGON),
        (UNIT, (0, 0, 1, 1, RIGHT), 1.0),
        (UNIT, (0, 0, 1, 1, -5 * np.pi), 1.0),
        (UNIT, (0.5, 0, 1, 1, 0), 0.5),
        (UNIT, (0.25, -0.5, 1, 1, 0), 0.375),
        (UNIT, (1, 0, 1, 1, 0), 0.0),  # a common edge
        (UNIT, (1, 1, 1, 1, 0), 0.0),  # a common corner
        (UNIT, (7, 0, 1, 1, 0.3), 0.0),
        (UNIT, (0, 0, 4, 4, 0.7), 1.0),  # inside
        ((0, 0, 4, 4, 0.7), UNIT, 1.0),
        ((0, 0, 10, 1, 0), (0, 0, 10, 1, RIGHT), 1.0),  # a cross
        ((0, 0, 10, 1, 0.4), (0, 0, 10, 1, 0.4 + RIGHT), 1.0),
        ((0, 0, 2, 2, 0), (1, 1, np.sqrt(8), np.sqrt(8), RIGHT / 2), 2.0),
        (UNIT, (0, 0, 0, 1, 0.2), 0.0),  # a line
        ((1e4, -1e4, 1, 1, 0), (1e4 + 0.5, -1e4, 1, 1, 0), 0.5),
    ],
)
def test_known_areas(first: Rectangle, second: Rectangle, area: float) -> None:
    assert intersection_areas(first, second) == pytest.approx(area, abs=1e-9)
    assert intersection_areas(second, first) == pytest.approx(area, abs=1e-9)


def test_iou_of_known_pairs_and_of_nothing() -> None:
    pairs = np.array([UNIT, (0.5, 0, 1, 1, 0), (0, 0, 0, 0, 0), (9, 9, 1, 1, 1)])
    iou = rotated_iou(pairs[:, None], pairs[None])
    np.testing.assert_allclose(np.diag(iou), [1, 1, 0, 1])
    assert iou[0, 1] == pytest.approx(1 / 3)
    assert not iou[2].any()
    assert not iou[3, :3].any()


rectangles = st.tuples(
    st.floats(-3, 3), st.floats(-3, 3), st.floats(0.1, 5), st.floats(0.1, 5), st.floats(-7, 7)
)


def clipped_area(first: Rectangle, second: Rectangle) -> float:
    """Clip a polygon by one half plane after the other, as Sutherland and Hodgman do."""

    def corners(box: Rectangle) -> list[NDArray[np.float64]]:
        x, y, length, width, angle = box
        along = np.array([np.cos(angle), np.sin(angle)]) * length / 2
        across = np.array([-np.sin(angle), np.cos(angle)]) * width / 2
        centre = np.array([x, y])
        return [centre + a * along + b * across for a, b in ((1, 1), (-1, 1), (-1, -1), (1, -1))]

    def side(a: NDArray[np.float64], b: NDArray[np.float64], p: NDArray[np.float64]) -> float:
        return float((b[0] - a[0]) * (p[1] - a[1]) - (b[1] - a[1]) * (p[0] - a[0]))

    polygon, frame = corners(first), corners(second)
    for a, b in zip(frame, frame[1:] + frame[:1], strict=True):
        result = []
        for p, q in zip(polygon, polygon[1:] + polygon[:1], strict=True):
            at_p, at_q = side(a, b, p), side(a, b, q)
            if at_p >= 0:
                result.append(p)
            if at_p * at_q < 0:
                result.append(p + (q - p) * at_p / (at_p - at_q))
        polygon = result
    if not polygon:
        return 0.0
    x, y = np.array(polygon).T
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2)


@settings(max_examples=300, deadline=None)
@given(rectangles, rectangles)
def test_areas_equal_those_of_clipped_polygons(first: Rectangle, second: Rectangle) -> None:
    area = intersection_areas(first, second)
    assert area == pytest.approx(clipped_area(first, second), abs=1e-9)
    assert area == pytest.approx(float(intersection_areas(second, first)), abs=1e-9)


def random_rectangles(seed: int, count: int) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    centres, sides = rng.uniform(-2, 2, (count, 2)), rng.uniform(0.3, 4, (count, 2))
    return np.column_stack([centres, sides, rng.uniform(-7, 7, count)])


def test_areas_equal_a_count_of_random_points() -> None:
    first, second = random_rectangles(0, 8), random_rectangles(1, 8)
    points = np.random.default_rng(2).uniform(-5, 5, (200_000, 2))

    def holds(box: NDArray[np.float64]) -> NDArray[np.bool_]:
        x, y = (points - box[:2]).T
        cos, sin = np.cos(box[4]), np.sin(box[4])
        return (abs(cos * x + sin * y) <= box[2] / 2) & (abs(cos * y - sin * x) <= box[3] / 2)

    counted = [100 * (holds(a) & holds(b)).mean() for a, b in zip(first, second, strict=True)]
    np.testing.assert_allclose(intersection_areas(first, second), counted, atol=0.1)


def test_areas_equal_shapelys() -> None:
    pytest.importorskip("shapely", reason="shapely is not installed")
    from shapely import affinity, geometry

    def polygon(box: NDArray[np.float64]) -> geometry.Polygon:
        x, y, length, width, angle = box
        flat = geometry.box(-length / 2, -width / 2, length / 2, width / 2)
        return affinity.translate(affinity.rotate(flat, angle, (0, 0), use_radians=True), x, y)

    first, second = random_rectangles(3, 200), random_rectangles(4, 200)
    expected = [
        polygon(a).intersection(polygon(b)).area for a, b in zip(first, second, strict=True)
    ]
    np.testing.assert_allclose(intersection_areas(first, second), expected, atol=1e-9)


def crowd(count: int, classes: int = 3, seed: int = 0) -> tuple[NDArray, NDArray, NDArray]:
    rng = np.random.default_rng(seed)
    boxes = np.column_stack(
        [
            rng.uniform(-12, 12, count),
            rng.uniform(0, 2, count),
            rng.uniform(5, 30, count),
            rng.uniform(0.5, 5, (count, 3)),
            rng.uniform(-4, 4, count),
            rng.standard_normal((count, 2)),
        ]
    ).astype(np.float32)
    scores = (rng.integers(0, 64, (count, classes)) / 64).astype(np.float32)
    return boxes, scores, rng.integers(0, 9, count)


def naive(
    boxes: NDArray, scores: NDArray, score: float, iou: float, limit: int
) -> list[tuple[int, int]]:
    """Return (candidate, class) of the boxes that a loop over all pairs keeps."""
    found, prints = [], camera_footprints(boxes)
    overlaps = rotated_iou(prints[:, None], prints[None])
    for label in range(scores.shape[1]):
        kept: list[int] = []
        for i in sorted(range(len(boxes)), key=lambda i: -scores[i, label]):  # sorted() is stable
            if scores[i, label] <= score:
                continue
            if all(overlaps[each, i] <= iou for each in kept):
                kept.append(i)
        found += [(i, label) for i in kept]
    return sorted(found, key=lambda each: -scores[each])[:limit]


@pytest.mark.parametrize("chunk", [1, 7, 128])
@pytest.mark.parametrize(("iou", "limit"), [(0.05, 500), (0.3, 40), (0.8, 500)])
def test_suppression_equals_the_naive_loop(
    iou: float, limit: int, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postprocess, "CHUNK", chunk)
    boxes, scores, attributes = crowd(120)
    kept = suppress_3d(
        boxes, scores, attributes, score_threshold=0.1, iou_threshold=iou, max_detections=limit
    )
    expected = naive(boxes, scores, 0.1, iou, limit)
    candidates = [i for i, _ in expected]
    np.testing.assert_array_equal(kept.boxes, boxes[candidates])
    np.testing.assert_array_equal(kept.labels, [label for _, label in expected])
    np.testing.assert_array_equal(kept.scores, [scores[each] for each in expected])
    np.testing.assert_array_equal(kept.attributes, attributes[candidates])


@pytest.mark.parametrize("place", ["box", "score", "size"])
def test_unsound_candidates_are_dropped_and_suppress_nothing(place: str) -> None:
    boxes = np.tile(np.array([0, 0, 9, 4, 2, 2, 0, 0, 0], np.float32), (2, 1))
    scores = np.array([[0.9], [0.8]], np.float32)
    if place == "score":
        scores[0] = np.inf
    else:
        boxes[0, 2 if place == "box" else 3] = np.nan if place == "box" else 0
    kept = suppress_3d(boxes, scores, np.zeros(2, np.int64))
    np.testing.assert_array_equal(kept.scores, np.array([0.8], np.float32))


def test_results_have_stated_types_even_when_empty() -> None:
    boxes, scores, attributes = crowd(0)
    for kept in (
        suppress_3d(boxes, scores, attributes),
        suppress_3d(*crowd(5), score_threshold=2.0),
        merge_cameras([suppress_3d(boxes, scores, attributes)] * 2, [np.eye(4)] * 2),
    ):
        assert kept.boxes.shape == (0, 9)
        types = [np.float32, np.float32, np.int64, np.int64]
        assert [kept.boxes.dtype, kept.scores.dtype] == types[:2]
        assert [kept.labels.dtype, kept.attributes.dtype] == types[2:]


def test_inputs_stay_as_they_were() -> None:
    arrays = crowd(50)
    copies = [each.copy() for each in arrays]
    suppress_3d(*arrays)
    for array, copy in zip(arrays, copies, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_shapes_that_do_not_fit_are_refused() -> None:
    boxes, scores, attributes = crowd(5)
    for wrong in (
        (boxes[:4], scores, attributes),
        (boxes[:, :7], scores, attributes),
        (boxes, scores[:, 0], attributes),
        (boxes, scores, attributes[:4]),
        (boxes[None], scores[None], attributes[None]),
    ):
        with pytest.raises(LzuError, match="do not fit together"):
            suppress_3d(*wrong)


FORWARD = np.array([[0.0, 0, 1, 1.5], [-1, 0, 0, 0.2], [0, -1, 0, 1.6], [0, 0, 0, 1]])
"""A camera that looks along the ego frame's x from 1.5 m ahead of it and 1.6 m above it."""


def turned(angle: float) -> NDArray[np.float64]:
    """Return `FORWARD` turned to the left with its mount by `angle` in radians."""
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.array([[cos, -sin, 0, 0], [sin, cos, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    return np.asarray(turn @ FORWARD)


def test_boxes_in_the_ego_frame() -> None:
    # 10 m ahead, 2 m to the right, on the ground, heading away from the camera at 5 m/s.
    box = np.array([[2.0, 0.6, 10, 4, 2, 1.8, -RIGHT, 0, 5]])
    (ego,) = to_ego(box, FORWARD)
    np.testing.assert_allclose(ego, [11.5, -1.8, 1.0, 4, 1.8, 2, 0, 5, 0], atol=1e-12)
    (left,) = to_ego(box, turned(RIGHT))
    np.testing.assert_allclose(left, [1.8, 11.5, 1.0, 4, 1.8, 2, RIGHT, 0, 5], atol=1e-12)


def test_footprints_keep_their_overlap_between_frames() -> None:
    boxes, _, _ = crowd(40, seed=5)
    first, second = camera_footprints(boxes), ego_footprints(to_ego(boxes, turned(0.7)))
    assert (rotated_iou(first[:, None], first[None]) > 0).sum() > 60
    np.testing.assert_allclose(
        rotated_iou(first[:, None], first[None]),
        rotated_iou(second[:, None], second[None]),
        atol=1e-6,
    )


def from_ego(ego: NDArray[np.float64], pose: NDArray[np.float64]) -> NDArray[np.float32]:
    """Camera boxes of ego boxes whose camera stands upright."""
    back = np.linalg.inv(pose)
    centre = ego[:, :3] @ back[:3, :3].T + back[:3, 3]
    zero = np.zeros(len(ego))
    heading = np.stack([np.cos(ego[:, 6]), np.sin(ego[:, 6]), zero], axis=1) @ back[:3, :3].T
    speed = np.stack([ego[:, 7], ego[:, 8], zero], axis=1) @ back[:3, :3].T
    yaw = np.arctan2(-heading[:, 2], heading[:, 0])
    return np.column_stack([centre, ego[:, [3, 5, 4]], yaw, speed[:, [0, 2]]]).astype(np.float32)


def test_a_rig_of_six_keeps_what_two_cameras_see_once() -> None:
    poses = [turned(angle) for angle in np.arange(6) * np.pi / 3]
    ego = np.array(
        [[20.0 * np.cos(a), 20 * np.sin(a), 0.8, 4, 1.8, 1.5, a + 1, 2, 1] for a in range(6)]
    )
    per_camera = []
    for camera, pose in enumerate(poses):
        seen = [camera, (camera + 1) % 6]  # every object by two cameras
        boxes = from_ego(ego[seen], pose)
        boxes[:, 0] += 0.1 * camera  # which do not quite agree
        scores = np.array([0.9 - 0.01 * camera, 0.5], np.float32)
        per_camera.append(Detections3d(boxes, scores, np.array(seen) % 2, np.array(seen)))
    merged = merge_cameras(per_camera, poses)
    assert merged.attributes.tolist() == merged.cameras.tolist() == [0, 1, 2, 3, 4, 5]
    np.testing.assert_allclose(merged.scores, 0.9 - 0.01 * np.arange(6), rtol=1e-6)
    for camera in range(6):
        np.testing.assert_array_equal(merged.boxes[camera], per_camera[camera].boxes[0])
    np.testing.assert_allclose(merged.ego_boxes[:, 3:6], ego[:, 3:6], rtol=1e-6)
    np.testing.assert_allclose(merged.ego_boxes[:, :2], ego[:, :2], atol=0.6)
    np.testing.assert_allclose(np.cos(merged.ego_boxes[:, 6] - ego[:, 6]), 1, atol=1e-6)
    np.testing.assert_allclose(merged.ego_boxes[:, 7:], ego[:, 7:], atol=1e-5)
    assert len(merge_cameras(per_camera, poses, iou_threshold=1.0).scores) == 12
    assert merge_cameras(per_camera, poses, score_threshold=0.88).cameras.tolist() == [0, 1]
    assert merge_cameras(per_camera, poses, max_detections=2).cameras.tolist() == [0, 1]


def test_rigs_that_cannot_be_are_refused() -> None:
    one = suppress_3d(*crowd(5))
    with pytest.raises(LzuError, match="detections of 1 cameras and 2 poses"):
        merge_cameras([one], [FORWARD, FORWARD])
    with pytest.raises(LzuError, match="detections of 0 cameras"):
        merge_cameras([], [])
    for wrong in (FORWARD[:3], 2 * FORWARD, np.full((4, 4), np.nan)):
        with pytest.raises(LzuError, match="cam2ego of camera 1 is not a 4 x 4 matrix"):
            merge_cameras([one, one], [FORWARD, wrong])


CAMERA = np.array([[1266.4, 0, 816.3], [0, 1266.4, 491.5], [0, 0, 1]])


@pytest.mark.parametrize("columns", [3, 4])
def test_camera_matrices_are_padded_scaled_and_inverted(columns: int) -> None:
    given = np.column_stack([CAMERA, [0.0, 0, 0]])[:, :columns]
    matrix, inverse = camera_matrices(given, 2, scale=(0.5, 0.25))
    assert matrix.shape == inverse.shape == (2, 4, 4)
    assert matrix.dtype == inverse.dtype == np.float32
    np.testing.assert_allclose(matrix[1, 0], [1266.4 / 4, 0, 816.3 / 4, 0], rtol=1e-6)
    np.testing.assert_allclose(matrix[1, 1], [0, 1266.4 / 2, 491.5 / 2, 0], rtol=1e-6)
    np.testing.assert_allclose(inverse[0] @ matrix[0], np.eye(4), atol=1e-4)
    half = np.diag([0.5, 0.5, 1, 1]) @ matrix[0]
    full, _ = camera_matrices(np.stack([matrix[0], half]), 2)
    np.testing.assert_allclose(full[1], half)


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.eye(2), r"cam2img has shape \(2, 2\); give 3 x 3"),
        (np.zeros((4, 3)), r"shape \(4, 3\)"),
        (np.zeros((2, 2, 4, 4)), "shape"),
        (np.zeros((3, 4, 4)), "holds 3 matrices for 2 images"),
        (np.zeros((3, 3)), "cam2img of image 0 is singular"),
        (np.stack([CAMERA, CAMERA * [[1], [0], [1]]]), "cam2img of image 1 is singular"),
        (np.stack([CAMERA, CAMERA * [[1], [-1], [1]]]), "cam2img of image 1 has a focal length"),
        (CAMERA * np.nan, "an entry that is not finite"),
        ([["a"] * 3] * 3, "not a matrix of numbers"),
        ([[1, 2], [3]], "not a matrix of numbers"),
    ],
)
def test_cameras_that_cannot_be_are_refused_in_one_sentence(matrix: NDArray, message: str) -> None:
    with pytest.raises(LzuError, match=message) as caught:
        camera_matrices(matrix, 2)
    assert "\n" not in str(caught.value)


def test_rays_go_through_their_pixels(golden: Path) -> None:
    camera = np.load(golden / "openmmlab_fcos3d_decode.npz")["cam2img"]
    matrix, inverse = camera_matrices(camera, 1)
    ray = inverse[0] @ [100 * 30, 60 * 30, 30, 1]
    pixel = matrix[0] @ ray
    np.testing.assert_allclose(pixel[:2] / pixel[2], [100, 60], atol=1e-3)
    assert ray[2] == pytest.approx(30)


def test_boxes_return_from_the_ego_frame() -> None:
    """FORWARD and a camera that looks to the left keep headings in the ground plane."""
    boxes = crowd(20)[0].astype(np.float64)
    turned = FORWARD.copy()
    turned[:3, :3] = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]) @ FORWARD[:3, :3]
    for pose in (FORWARD, turned):
        back = to_camera(to_ego(boxes, pose), pose)
        turns = (back[:, 6] - boxes[:, 6]) / (2 * np.pi)
        np.testing.assert_allclose(turns, np.rint(turns), atol=1e-9)
        np.testing.assert_allclose(np.delete(back, 6, 1), np.delete(boxes, 6, 1), atol=1e-9)
    assert to_camera(np.empty((0, 9)), FORWARD).shape == (0, 9)
    with pytest.raises(LzuError, match="cam2ego is not a 4 x 4 matrix"):
        to_camera(boxes, np.ones((4, 4)))
