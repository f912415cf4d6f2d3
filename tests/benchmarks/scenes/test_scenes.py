"""The renderer: determinism, and labels that agree with geometry."""

from collections.abc import Iterator

import numpy as np
import pytest

from lzu_benchmarks.scenes import CLASSES, LABELS, Frame, Sequence, render
from lzu_benchmarks.scenes.categories import BUS, CAR, ROAD, SKY, TRAFFIC_SIGN, TRUCK
from lzu_benchmarks.scenes.motion import MOVING

SEEDS = (0, 1, 2, 3)
MOVING_SEEDS = (MOVING, MOVING + 2, MOVING + 4)


@pytest.fixture(scope="module", params=[SEEDS, MOVING_SEEDS], ids=["steady", "moving"])
def keys(request: pytest.FixtureRequest) -> list[tuple[int, int]]:
    return [(seed, index) for seed in request.param for index in (0, 25)]


@pytest.fixture(scope="module")
def frames(keys: list[tuple[int, int]]) -> list[Frame]:
    return [render(Sequence(seed), index) for seed, index in keys]


def objects(frames: list[Frame]) -> Iterator[tuple[Frame, int]]:
    for frame in frames:
        for i in range(len(frame.boxes)):
            yield frame, i


def outline(frame: Frame, i: int) -> np.ndarray:
    """The box around the projected corners of a 3-D box, unclipped; nan if partly behind."""
    x, y, z, length, height, width, yaw = frame.boxes3d[i]
    along = np.array([np.cos(yaw), 0, -np.sin(yaw)]) * length / 2
    across = np.array([np.sin(yaw), 0, np.cos(yaw)]) * width / 2
    up = np.array([0, height / 2, 0])
    signs = np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1])).reshape(3, -1).T
    corners = np.array([x, y, z]) + signs @ np.stack([along, across, up])
    if corners[:, 2].min() < 0.5:
        return np.full(4, np.nan)
    pixels = corners @ frame.intrinsics.T
    pixels = pixels[:, :2] / pixels[:, 2:]
    return np.concatenate([pixels.min(axis=0), pixels.max(axis=0)])


@pytest.mark.parametrize("seed", [5, MOVING + 5])
def test_equal_seeds_give_equal_bytes(seed: int) -> None:
    first, second = render(Sequence(seed), 7), render(Sequence(seed), 7)
    for name, value in vars(first).items():
        np.testing.assert_array_equal(value, getattr(second, name), err_msg=name)


def test_frames_do_not_depend_on_what_was_rendered_before() -> None:
    sequence = Sequence(5)
    render(sequence, 0)
    np.testing.assert_array_equal(render(sequence, 7).image, render(Sequence(5), 7).image)


def test_seeds_and_frames_differ() -> None:
    image = render(Sequence(5), 7).image.astype(int)
    assert np.abs(image - render(Sequence(6), 7).image).mean() > 5
    assert np.abs(image - render(Sequence(5), 8).image).mean() > 0.5


def test_frame_has_the_stated_shapes(frames: list[Frame]) -> None:
    for frame in frames:
        n = len(frame.boxes)
        assert frame.image.shape == (360, 640, 3)
        assert frame.image.dtype == np.uint8
        assert frame.labels.shape == frame.depth.shape == (360, 640)
        assert frame.boxes.shape == (n, 4)
        assert frame.boxes3d.shape == (n, 7)
        for name in ("classes", "tracks", "visibility", "ignore"):
            assert getattr(frame, name).shape == (n,)
        assert frame.labels.max() < len(LABELS)
        assert len(np.unique(frame.tracks)) == n
        assert n == 0 or frame.classes.max() < len(CLASSES)


def test_boxes_bound_the_pixels_of_unhidden_objects(frames: list[Frame]) -> None:
    checked = 0
    for frame, i in objects(frames):
        x1, y1, x2, y2 = frame.boxes[i]
        if frame.visibility[i] < 1 or min(x2 - x1, y2 - y1) < 8:
            continue
        surfaces = np.flatnonzero(
            (frame.table[:, 0] == frame.classes[i])
            & np.isclose(frame.table[:, 4], frame.boxes3d[i, 2])
        )
        rows, columns = np.nonzero(np.isin(frame.surfaces, surfaces))
        found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        np.testing.assert_allclose(found, [x1, y1, x2, y2], atol=1.6)
        checked += 1
    assert checked > 10


def test_boxes3d_project_onto_boxes(frames: list[Frame]) -> None:
    checked = 0
    for frame, i in objects(frames):
        projected = outline(frame, i)
        box = frame.boxes[i]
        inside = box[0] > 0 and box[1] > 0 and box[2] < 640 and box[3] < 360
        if not inside or np.isnan(projected).any() or min(box[2:] - box[:2]) < 6:
            continue
        slack = 1.0 + 0.04 * max(box[2:] - box[:2])
        if frame.classes[i] in (CAR, TRUCK, BUS, TRAFFIC_SIGN):
            np.testing.assert_allclose(projected, box, atol=3 * slack)
            checked += 1
        # Flat figures turn to the camera and swing their limbs a little beyond the box.
        assert (projected[:2] <= box[:2] + 8 * slack).all()
        assert (projected[2:] >= box[2:] - 8 * slack).all()
    assert checked > 20


def test_depth_is_that_of_the_ground_and_grows_upwards(
    keys: list[tuple[int, int]], frames: list[Frame]
) -> None:
    for (seed, index), frame in zip(keys, frames, strict=True):
        depth, labels = frame.depth, frame.labels
        assert (depth > 0).all()
        assert (depth[labels == SKY] == 1000).all()
        road = (labels == ROAD) & (depth < 1000)  # farther ground has the depth of the sky
        rows, _ = np.nonzero(road)
        ground = depth[road]
        height = ground * (rows + 0.5 - frame.intrinsics[1, 2]) / frame.intrinsics[1, 1]
        sequence = Sequence(seed)
        np.testing.assert_allclose(height, -sequence.camera(index).position[1], rtol=1e-3)
        assert 1.2 < np.median(height) - sequence.motion.raised < 1.8


def test_nearer_objects_hide_farther_ones(frames: list[Frame]) -> None:
    for frame, i in objects(frames):
        x1, y1, x2, y2 = frame.boxes[i]
        z = frame.boxes3d[i, 2]
        middle = (
            slice(int(y1 + y2) // 2, int(y1 + y2) // 2 + 1),
            slice(int(x1 + x2) // 2, int(x1 + x2) // 2 + 1),
        )
        if (
            frame.visibility[i] == 1
            and frame.classes[i] in (CAR, TRUCK, BUS)
            and min(x2 - x1, y2 - y1) > 12
        ):
            np.testing.assert_allclose(frame.depth[middle], z, rtol=1e-4)
        if frame.visibility[i] < 0.9 and (x1 > 0 and x2 < 640):
            # Something nearer stands in the box.
            window = frame.depth[int(y1) : int(y2) + 1, int(x1) : int(x2) + 1]
            assert window.min() < z + 1e-3


def test_few_visible_or_tiny_objects_are_to_be_ignored(frames: list[Frame]) -> None:
    for frame, i in objects(frames):
        side = frame.boxes[i, 2:] - frame.boxes[i, :2]
        ignored = frame.visibility[i] < 0.3 or side[1] < 8 or side.prod() < 64
        assert frame.ignore[i] == ignored


def test_tracks_keep_their_class() -> None:
    sequence = Sequence(3)
    known: dict[int, int] = {}
    for index in range(0, 40, 8):
        frame = render(sequence, index)
        for track, label in zip(frame.tracks.tolist(), frame.classes.tolist(), strict=True):
            assert known.setdefault(track, label) == label


def test_every_class_is_seen() -> None:
    seen = np.concatenate([render(Sequence(seed), 0).classes for seed in range(12)])
    assert set(seen.tolist()) == set(range(len(CLASSES)))
