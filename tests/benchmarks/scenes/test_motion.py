"""Motion of the camera: none for the seeds of the steady scenes, hills and bends for the others."""

from hashlib import sha256

import numpy as np
import pytest

from lzu_benchmarks.scenes import LENGTH, Sequence, render
from lzu_benchmarks.scenes.motion import MOVING, Motion, Wave, motion_of


@pytest.mark.parametrize(
    ("seed", "index", "checksum"),
    [
        (0, 0, "cbd63cb50862b4c0"),
        (10_007, 5, "69eb62b514964f86"),
    ],
)
def test_frames_of_the_steady_camera_are_those_of_the_shipped_detectors(
    seed: int, index: int, checksum: str
) -> None:
    assert sha256(render(Sequence(seed), index).image.tobytes()).hexdigest()[:16] == checksum


def test_the_motion_belongs_to_the_seed() -> None:
    assert motion_of(0) == motion_of(MOVING - 1) == Motion()
    assert motion_of(MOVING) == motion_of(MOVING)
    assert len({motion_of(MOVING + i).tilt for i in range(20)}) == 20


def test_a_wave_returns_after_its_length() -> None:
    wave = Wave(amplitude=0.1, length=50.0, phase=0.3)
    places = np.linspace(0, 50, 201)
    values = np.array([wave.at(z) for z in places])
    assert values.max() == pytest.approx(0.1, rel=1e-3)
    assert values.min() == pytest.approx(-0.1, rel=1e-3)
    assert wave.at(57.0) == pytest.approx(wave.at(7.0))


def test_the_horizon_of_moving_cameras_moves_by_many_pixels() -> None:
    def horizons(first: int) -> np.ndarray:
        sequences = [Sequence(first + i) for i in range(32)]
        return np.array([[s.camera(i).centre[1] for i in range(LENGTH)] for s in sequences])

    steady, moving = horizons(0), horizons(MOVING)
    assert np.ptp(steady) < 20
    assert np.ptp(steady, axis=1).max() < 5
    assert np.ptp(moving) > 150  # of 360 rows, over all mountings
    assert np.median(np.ptp(moving, axis=1)) > 20  # on the drive of one camera
    assert moving.min() > 30
    assert moving.max() < 330


def test_the_camera_looks_where_motion_and_street_say() -> None:
    sequence = Sequence(MOVING + 2)
    first, last = sequence.camera(0), sequence.camera(LENGTH - 1)
    end = float(last.position[2])
    assert end > 10
    pitch = sequence.motion.pitch(end) - sequence.motion.pitch(0.0)
    yaw = sequence.motion.yaw(end) - sequence.motion.yaw(0.0)
    # What remains is the sway of the steady camera.
    assert last.centre[1] - first.centre[1] == pytest.approx(first.focal * pitch, abs=3)
    assert last.yaw - first.yaw == pytest.approx(yaw, abs=0.03)
    raised = -float(first.position[1]) - sequence.motion.raised
    assert raised == pytest.approx(1.5, abs=0.25)


def test_a_distant_object_moves_with_the_horizon() -> None:
    """Boxes follow the pitch, whatever else moves."""
    sequence = Sequence(MOVING)
    shifts = []
    for index in (0, 10, 20):
        frame, camera = render(sequence, index), sequence.camera(index)
        far = frame.boxes3d[:, 2] > 50
        assert far.sum() >= 3
        middle = (frame.boxes[far, 1] + frame.boxes[far, 3]) / 2
        shifts.append(float(np.median(middle)) - camera.centre[1])
    horizons = [sequence.camera(i).centre[1] for i in (0, 10, 20)]
    assert np.ptp(horizons) > 20
    assert np.ptp(shifts) < 8
