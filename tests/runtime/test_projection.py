"""Corners, edges and rectangles of boxes as a camera sees them."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lzu_export.errors import LzuError
from lzu_export.runtime.postprocess3d import camera_footprints
from lzu_export.runtime.projection import (
    EDGES,
    FRONT,
    NEAR,
    camera_matrix,
    checked_boxes,
    clip_segments,
    corners,
    image_boxes,
    project,
    view_planes,
)
from samples import loaded_by

CAMERA = np.array([[100.0, 0, 50], [0, 100, 30], [0, 0, 1]])
MATRIX = camera_matrix(CAMERA)
SIZE = (60, 100)


def test_it_imports_no_torch() -> None:
    assert loaded_by("lzu_export.runtime.projection", ["torch"]) == []


def test_corners_of_a_box_that_looks_ahead() -> None:
    """The box's front is its far face, and its right is the camera's right."""
    box = [1, 2, 10, 4, 1.5, 2, -np.pi / 2]
    points = corners([box])[0]
    front = [[0, 1.25, 12], [2, 1.25, 12], [2, 2.75, 12], [0, 2.75, 12]]
    np.testing.assert_allclose(points[list(FRONT)], front, atol=1e-12)
    np.testing.assert_allclose(points[4:], np.array(front) - [0, 0, 4], atol=1e-12)


def test_corners_of_a_box_that_looks_right() -> None:
    """The box's upper left front corner is at the far side."""
    points = corners([[0, 0, 10, 4, 2, 1, 0]])[0]
    np.testing.assert_allclose(points[0], [2, -1, 10.5])
    np.testing.assert_allclose(points[1], [2, -1, 9.5])


@given(st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_edges_are_as_long_as_the_box(seed: int) -> None:
    """Seen from above, the corners are those of the footprint."""
    random = np.random.default_rng(seed)
    box = np.concatenate(
        [random.normal(0, 9, 3), random.uniform(0.1, 9, 3), random.uniform(-9, 9, 1)]
    )
    points = corners(box[None])[0]
    first, last = np.array(EDGES).T
    lengths = np.linalg.norm(points[first] - points[last], axis=1)
    length, height, width = box[3:6]
    np.testing.assert_allclose(lengths, [width, height] * 4 + [length] * 4)
    np.testing.assert_allclose(points.mean(axis=0), box[:3], atol=1e-9)
    footprint = camera_footprints(box[None])[0]
    heading = [np.cos(footprint[4]), np.sin(footprint[4])]
    front = points[list(FRONT)][:, [0, 2]].mean(axis=0)
    np.testing.assert_allclose(front, footprint[:2] + np.array(heading) * length / 2, atol=1e-9)


def test_points_are_divided_by_their_depth() -> None:
    pixels, depth = project([[1.0, -1, 10], [0, 0, -2], [0, 0, 0]], MATRIX)
    np.testing.assert_allclose(pixels[0], [60, 20])
    assert np.isnan(pixels[1:]).all()
    assert depth.tolist() == [10, -2, 0]


def test_segments_are_cut_at_planes() -> None:
    near = np.array([[0.0, 0, 1, -NEAR]])
    starts = np.array([[0.0, 0, 1], [0, 0, -1], [3, 0, -1], [0, 0, NEAR]])
    ends = np.array([[0.0, 0, 2], [0, 0, 1], [3, 0, -2], [1, 0, NEAR]])
    first, last, left = clip_segments(starts, ends, near)
    assert left.tolist() == [True, True, False, True]
    np.testing.assert_allclose(first[[0, 1, 3]], [[0, 0, 1], [0, 0, NEAR], [0, 0, NEAR]])
    np.testing.assert_allclose(last[[0, 1, 3]], ends[[0, 1, 3]])


@given(st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_what_is_left_of_a_segment_lies_in_the_image(seed: int) -> None:
    random = np.random.default_rng(seed)
    starts, ends = random.normal(0, 5, (2, 40, 3))
    first, last, left = clip_segments(starts, ends, view_planes(MATRIX, SIZE))
    for points in (first[left], last[left]):
        pixels, depth = project(points, MATRIX)
        assert (depth >= NEAR - 1e-9).all()
        assert (pixels >= -0.5 - 1e-6).all()
        assert (pixels <= np.array([99.5, 59.5]) + 1e-6).all()
    # Nothing that is in view is lost.
    share = np.linspace(0, 1, 50)[:, None, None]
    pixels, depth = project(starts + share * (ends - starts), MATRIX)
    with np.errstate(invalid="ignore"):
        inside = (depth > NEAR) & (pixels > -0.5).all(axis=2)
        inside &= (pixels < np.array([99.5, 59.5])).all(axis=2)
    assert not (inside.any(axis=0) & ~left).any()


def test_rectangles_hold_what_is_seen_of_a_box() -> None:
    boxes = np.array(
        [
            [0, 0, 11, 1, 2, 2, 0],  # its near face is 1 wide, 10 m away
            [0, 0, -9, 4, 2, 2, 0],  # behind
            [0, 0, 0, 1, 1, 1, 0],  # around the camera
            [40, 0, 10, 1, 1, 1, 0],  # beside the image
            [np.nan, 0, 10, 1, 1, 1, 0],
        ]
    )
    found = image_boxes(boxes, MATRIX, SIZE)
    np.testing.assert_allclose(found[0], [45, 20, 55, 40])
    assert np.isnan(found[[1, 3, 4]]).all()
    np.testing.assert_allclose(found[2], [-0.5, -0.5, 99.5, 59.5])


def test_no_box_has_no_corners() -> None:
    assert corners([]).shape == (0, 8, 3)
    assert image_boxes([], MATRIX, SIZE).shape == (0, 4)


@pytest.mark.parametrize("boxes", [np.zeros((2, 6)), np.zeros(7), np.zeros((1, 1, 7))])
def test_other_shapes_of_boxes_are_refused(boxes: np.ndarray) -> None:
    with pytest.raises(LzuError, match="give rows of at least 7 numbers"):
        checked_boxes(boxes)


@pytest.mark.parametrize("matrix", [np.eye(2), np.zeros((3, 3)), CAMERA * np.nan, "no"])
def test_what_is_no_camera_is_refused_by_name(matrix: Any) -> None:
    with pytest.raises(LzuError, match="cam2img of the left camera"):
        camera_matrix(matrix, name="cam2img of the left camera")
