"""Pictures of boxes in space: where their edges are, from the camera and from above."""

from typing import Any

import numpy as np
import pytest

from lzu_export.errors import LzuError
from lzu_export.runtime.draw3d import (
    AHEAD,
    AROUND,
    GROUND,
    VIEW,
    Plan,
    birds_eye,
    camera_plan,
    camera_view,
    draw_boxes_3d,
    draw_detections_3d,
    ego_plan,
)
from lzu_export.runtime.palette import PALETTE, distinct_colours
from lzu_export.runtime.postprocess3d import Detections3d, merge_cameras, to_ego

CLASSES = ("car", "sign")
CAMERA = np.array([[300.0, 0, 160], [0, 300, 100], [0, 0, 1]])
BOX = [0.0, 0, 11, 4, 2, 2, 0.0]  # its near face at 10 m: 120 x 60 pixels around the centre
PLAN = Plan(-20, 20, 0, 40)


def grey() -> np.ndarray:
    return np.full((200, 320, 3), 128, np.uint8)


def is_like(pixel: np.ndarray, colour: tuple[int, int, int]) -> bool:
    return bool(np.abs(pixel.astype(int) - colour).max() < 40)


def test_no_box_no_paint() -> None:
    frame = grey()
    picture = draw_boxes_3d(frame, [], [], CLASSES, CAMERA)
    np.testing.assert_array_equal(picture, frame)
    assert picture is not frame


def test_edges_are_where_they_project() -> None:
    frame = grey()
    picture = draw_boxes_3d(frame, [BOX], [1], CLASSES, CAMERA, scores=[0.8])
    assert (frame == 128).all()
    for x, y in ((100, 85), (220, 85), (160, 130), (110, 125), (110, 100)):  # near and far face
        around = picture[y - 1 : y + 2, x - 1 : x + 2].reshape(-1, 3)
        assert any(is_like(pixel, PALETTE[1]) for pixel in around), (x, y)
    assert (picture[95:105, 125:195] == 128).all()  # between the edges
    assert (picture[140:] == 128).all()


def test_only_the_front_is_crossed() -> None:
    """The cross is on the near face of an oncoming box and on the far face of a leaving one."""
    ahead = draw_boxes_3d(grey(), [[4, 0, 12, 4, 2, 2, -np.pi / 2]], [0], CLASSES, CAMERA)
    coming = draw_boxes_3d(grey(), [[4, 0, 12, 4, 2, 2, np.pi / 2]], [0], CLASSES, CAMERA)
    x, y = 295, 115  # on a diagonal of the near face, right of all of the far one
    assert (ahead[y - 1 : y + 2, x - 1 : x + 2] == 128).all()
    assert (coming[y - 1 : y + 2, x - 1 : x + 2] != 128).any()


@pytest.mark.parametrize(
    "box",
    [
        [0, 0, 0, 4, 2, 2, 0.3],  # around the camera
        [1, 0, 0.5, 9, 2, 2, -1.2],  # through the image plane
        [1e5, 0, 1e-3, 1e6, 1e6, 1e6, 0],
        [0, 0, -10, 4, 2, 2, 0],  # behind
        [500, 0, 10, 4, 2, 2, 0],  # beside
        [np.nan, 0, 10, 4, 2, 2, 0],
        [0, 0, np.inf, 4, 2, 2, 0],
    ],
)
def test_boxes_out_of_view_do_no_harm(box: list[float]) -> None:
    picture = draw_detections_3d(grey(), [box], [0], CLASSES, CAMERA, scores=[0.5], truth=[box])
    assert picture.shape[0] == 200
    behind = box[2] < 0 or box[0] == 500 or not np.isfinite(box).all()
    assert (picture[20:, :320] == 128).all() == behind


def test_a_legend_names_classes_and_truth_lies_below() -> None:
    picture = draw_boxes_3d(grey(), [BOX], [0], CLASSES, CAMERA, truth=[BOX])
    alone = draw_boxes_3d(grey(), [], [], CLASSES, CAMERA, truth=[BOX])
    assert (picture[:10, :16] == PALETTE[0]).all(axis=2).any()
    assert (alone.min(axis=2) > 180).any()  # white, smoothed
    assert not (picture[60:].min(axis=2) > 180).any()


def test_names_do_not_hide_each_other() -> None:
    """The best name is in its usual place, the second below it, and the third is left out."""
    frame = np.full((400, 320, 3), 128, np.uint8)
    camera = CAMERA + np.array([[0, 0, 0], [0, 0, 100], [0, 0, 0]])
    alone = draw_boxes_3d(frame, [BOX], [0], CLASSES, camera, scores=[0.9])
    three = draw_boxes_3d(frame, [BOX] * 3, [0] * 3, CLASSES, camera, scores=[0.5, 0.9, 0.4])
    np.testing.assert_array_equal(three[:168], alone[:168])
    assert (alone[234:] == 128).all()
    assert not (three[234:250] == 128).all()
    assert (three[250:] == 128).all()


def test_more_classes_than_the_palette_have_their_own_colours() -> None:
    classes = [f"c{i}" for i in range(10)]
    picture = draw_boxes_3d(grey(), [BOX], [9], classes, CAMERA)
    assert (picture == distinct_colours(10)[9]).all(axis=2).any()


def test_from_above_boxes_stand_where_they_are() -> None:
    """At 10 pixels a metre (400 for 40 m) a car at (5, 20) faces right."""
    rows = camera_plan([[5, 0, 20, 4, 1.5, 2, 0]])
    picture = birds_eye(rows, [0], CLASSES, height=400, plan=PLAN)
    assert picture.shape == (400, 400, 3)
    changed = (picture != birds_eye([], [], CLASSES, height=400, plan=PLAN)).any(axis=2)
    y, x = np.nonzero(changed)
    assert abs(y.min() - 190) <= 1
    assert abs(y.max() - 210) <= 1
    assert abs(x.min() - 230) <= 1
    assert abs(x.max() - 290) <= 1  # to the front at 270, and its pointer 2 m on
    assert changed[:, 272:].sum(axis=0).max() <= 3  # only the pointer


def test_headings_point_the_same_way_in_camera_and_ego_plans() -> None:
    """The camera stands at the ego frame's origin and looks ahead."""
    pose = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
    boxes = np.array([[3.0, 1, 20, 4, 1.5, 2, 0.7, 0, 0], [-3, 1, 9, 4, 1.5, 2, -2.0, 0, 0]])
    one, two = camera_plan(boxes), ego_plan(to_ego(boxes, pose))
    np.testing.assert_allclose(one[:, :4], two[:, :4], atol=1e-9)
    np.testing.assert_allclose(np.cos(one[:, 4] - two[:, 4]), 1, atol=1e-9)
    assert one[0, 4] == pytest.approx(-0.7)  # turned to the right of what lies right


def test_the_view_is_as_wide_as_the_image() -> None:
    view = camera_view(CAMERA, (200, 320))
    assert view.place.tolist() == [0, 0]
    assert view.left[0] / view.left[1] == pytest.approx(-160.5 / 300)
    assert view.right[0] / view.right[1] == pytest.approx(159.5 / 300)
    picture = birds_eye([], [], CLASSES, views=[view], height=400, plan=PLAN)
    assert picture[5, 205].tolist() == list(VIEW)
    assert picture[350, 5].tolist() == list(GROUND)


def test_a_camera_of_a_rig_looks_where_it_is_mounted() -> None:
    """The camera looks to the left, 1 m ahead of the ego frame's origin."""
    pose = np.array([[1.0, 0, 0, 1], [0, 0, 1, 0], [0, -1, 0, 1.5], [0, 0, 0, 1]])
    view = camera_view(CAMERA, (200, 320), pose)
    assert view.place.tolist() == [0, 1]
    middle = view.left + view.right
    assert middle[0] < 0
    assert abs(middle[1]) < 0.01
    assert view.left[1] < 0 < view.right[1]
    picture = birds_eye([], [], CLASSES, views=[view], height=400, plan=AROUND)
    assert picture.shape == (400, 400, 3)
    assert picture[205, 20].tolist() == list(VIEW)


def test_truth_is_dashed() -> None:
    rows = camera_plan([[0, 0, 20, 20, 1.5, 10, 0]])
    picture = birds_eye([], [], CLASSES, truth=rows, height=400, plan=PLAN)
    edge = (picture[249:251, 100:300] > 140).all(axis=2).any(axis=0)  # smoothed
    assert 0.3 < edge.mean() < 0.7


def test_both_views_side_by_side() -> None:
    picture = draw_detections_3d(grey(), [BOX], [0], CLASSES, CAMERA, scores=[0.9])
    assert picture.shape == (200, 320 + 4 + 200, 3)
    np.testing.assert_array_equal(
        picture[:, :320], draw_boxes_3d(grey(), [BOX], [0], CLASSES, CAMERA, scores=[0.9])
    )
    assert (picture[:, 320:324] == 255).all()
    assert AHEAD.right - AHEAD.left == AHEAD.ahead - AHEAD.behind  # a square


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"boxes": [BOX[:6]]}, "at least 7 numbers"),
        ({"labels": [0, 1]}, "1 boxes have 2 labels"),
        ({"labels": [2]}, "for 2 classes"),
        ({"labels": [-1]}, "for 2 classes"),
        ({"scores": [0.5, 0.5]}, "1 boxes have 2 scores"),
        ({"cam2img": np.eye(2)}, "cam2img has shape"),
        ({"cam2img": np.zeros((3, 3))}, "cam2img is singular"),
        ({"truth": [[1, 2]]}, "truth have shape"),
        ({"frame": np.zeros((9, 9, 3))}, "float64"),
    ],
)
def test_unfit_arguments_are_refused(change: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {
        "frame": grey(),
        "boxes": [BOX],
        "labels": [0],
        "classes": CLASSES,
        "cam2img": CAMERA,
        **change,
    }
    with pytest.raises(LzuError, match=message) as caught:
        draw_detections_3d(**given)
    assert "\n" not in str(caught.value)


def test_footprints_of_another_shape_are_refused() -> None:
    with pytest.raises(LzuError, match=r"give \(n, 5\)"):
        birds_eye(np.zeros((2, 4)), [0, 0], CLASSES)


def test_found_boxes_draw_themselves() -> None:
    frame = np.full((200, 320, 3), 120, np.uint8)
    boxes = np.array([[*BOX, 0, 0], [2.0, 0, 20, 4, 2, 2, 0.0, 0, 0]], np.float32)
    scores, labels = np.array([0.9, 0.2], np.float32), np.array([0, 1])
    found = Detections3d(boxes, scores, labels, np.zeros(2, np.int64), CLASSES)
    assert len(found) == 2
    whole = draw_detections_3d(frame, boxes, labels, CLASSES, CAMERA, scores=scores)
    np.testing.assert_array_equal(found.draw(frame, CAMERA), whole)
    alone = found.draw(frame, CAMERA, lowest=0.5, from_above=False)
    assert alone.shape == frame.shape
    best = draw_boxes_3d(frame, boxes[:1], labels[:1], CLASSES, CAMERA, scores=scores[:1])
    np.testing.assert_array_equal(alone, best)
    assert (frame == 120).all()
    with pytest.raises(LzuError, match="cam2img"):
        found.draw(frame, np.eye(2))


def test_a_rig_s_boxes_are_drawn_in_their_cameras_and_from_above() -> None:
    """Four cameras look ahead and turned by quarters; the first and the third see a box."""
    ahead = np.array([[0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1]], float)
    poses = []
    for turn in range(4):
        cos, sin = np.cos(turn * np.pi / 2), np.sin(turn * np.pi / 2)
        turned = np.array([[cos, -sin, 0, 0], [sin, cos, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
        poses.append(turned @ ahead)
    nothing = np.zeros((0, 9), np.float32)
    boxes = [np.array([[*BOX, 0, 0]], np.float32), nothing] * 2
    found = [
        Detections3d(
            each, np.full(len(each), 0.9 - 0.2 * i, np.float32), np.full(len(each), i // 2),
            np.zeros(len(each), np.int64), CLASSES,
        )
        for i, each in enumerate(boxes)
    ]  # fmt: skip
    rig = merge_cameras(found, poses, score_threshold=0.1)
    assert (rig.cameras.tolist(), rig.classes) == ([0, 2], CLASSES)
    frames = [grey()] * 4
    picture = rig.draw(frames, [CAMERA] * 4, poses)
    assert picture.shape[0] == 400, "two rows of cameras"
    for i, (row, column) in enumerate([(0, 0), (0, 1), (0, 2), (1, 0)]):
        mine = picture[200 * row : 200 * (row + 1), 320 * column : 320 * (column + 1)]
        each = found[i]
        alone = draw_boxes_3d(grey(), each.boxes, each.labels, CLASSES, CAMERA, scores=each.scores)
        np.testing.assert_array_equal(mine, alone)
    assert (picture[200:, 320:960] == 255).all(), "there is no fifth camera"
    eye = birds_eye(
        ego_plan(rig.ego_boxes), rig.labels, CLASSES, height=400, plan=AROUND,
        views=[camera_view(CAMERA, (200, 320), pose) for pose in poses],
    )  # fmt: skip
    np.testing.assert_array_equal(picture[:, -eye.shape[1] :], eye)
    sure = rig.draw(frames, [CAMERA] * 4, poses, lowest=0.6)
    np.testing.assert_array_equal(sure[:200, 640:960], grey())
    with pytest.raises(LzuError, match="4 frames, 3 matrices and 4 poses"):
        rig.draw(frames, [CAMERA] * 3, poses)
    with pytest.raises(LzuError, match="differ in size"):
        rig.draw([grey()[:100], *frames[1:]], [CAMERA] * 4, poses)
