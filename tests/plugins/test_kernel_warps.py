"""BoxKnots and InvertWarp, built for the host, against the float64 mathematics."""

import numpy as np
import pytest
from host_calls import LATTICE, SOURCE, box_knots, invert
from host_kernels import INVALID, Array, address, aligned, library, run
from hypothesis import given, settings
from hypothesis import strategies as st

from lzu_benchmarks.studies.adaptive_speed import InvertWarp, time_inversion
from lzu_export.warp.box_saliency import box_saliency
from lzu_export.warp.forward import forward_points, pixel_centres
from lzu_export.warp.inverse import MIN_GAP, invert_tiles
from lzu_export.warp.knots import nonseparable_knots, separable_knots_from_marginals
from lzu_export.warp.saliency import marginals, mix


def expected_knots(boxes, *, mixed=1.0, fixed=None, lattice=LATTICE, a=1.0, b=64.0, fwhm=10):
    adaptive = marginals(box_saliency(boxes, SOURCE, lattice, amplitude=a, bandwidth=b))
    if fixed is not None:
        adaptive = [mix(f, s, mixed) for f, s in zip(fixed, adaptive, strict=True)]
    return separable_knots_from_marginals(*adaptive, fwhm)


def random_boxes(rng: np.random.Generator, count: int) -> Array:
    centre = rng.uniform(0, 1, (count, 2)) * (SOURCE[1], SOURCE[0])
    size = rng.exponential(60, (count, 2)) + 4
    return np.concatenate([centre - size / 2, centre + size / 2], axis=1).astype(np.float32)


def check_knots(knots: Array) -> None:
    assert (knots[:, 0] == -1).all()
    assert (knots[:, -1] == 1).all()
    assert (np.diff(knots, axis=1) >= np.float32(MIN_GAP)).all()


@pytest.mark.parametrize("count", [1, 3, 100, 1000])
@pytest.mark.parametrize("lattice", [LATTICE, (27, 48), (45, 45), (5, 90)])
def test_box_knots_equal_the_mathematics(count, lattice):
    rng = np.random.default_rng(count)
    boxes = np.stack([random_boxes(rng, count) for _ in range(2)])
    for fwhm in (4, 10, 22.5):
        x, y = box_knots(boxes, lattice=lattice, fwhm=fwhm)
        for b in range(2):
            truth = expected_knots(boxes[b], lattice=lattice, fwhm=fwhm)
            np.testing.assert_allclose(x[b], truth[0], rtol=0, atol=1e-5)
            np.testing.assert_allclose(y[b], truth[1], rtol=0, atol=1e-5)
        check_knots(x)
        check_knots(y)


def test_mixture_amplitude_and_bandwidth():
    rng = np.random.default_rng(1)
    boxes = random_boxes(rng, 20)
    fixed = [rng.uniform(0.2, 1, n) for n in (51, 31)]
    fixed = [f / f.sum() for f in fixed]
    for mixed, a, b in ((0.5, 1, 64), (0.0, 1, 64), (0.25, 3.0, 7.5), (1.0, 0.1, 900.0)):
        x, y = box_knots(boxes[None], mixed=mixed, fixed=fixed, a=a, b=b)
        truth = expected_knots(boxes, mixed=mixed, fixed=fixed, a=a, b=b)
        np.testing.assert_allclose(x[0], truth[0], rtol=0, atol=1e-5)
        np.testing.assert_allclose(y[0], truth[1], rtol=0, atol=1e-5)


def test_nothing_valid_is_the_identity_warp():
    rng = np.random.default_rng(2)
    for boxes, valid in (
        (np.zeros((1, 0, 4)), None),
        (random_boxes(rng, 9)[None], 0),
        (np.full((1, 4, 4), np.nan), None),
    ):
        x, y = box_knots(boxes, valid)
        np.testing.assert_allclose(x[0], np.linspace(-1, 1, 51), rtol=0, atol=1e-6)
        np.testing.assert_allclose(y[0], np.linspace(-1, 1, 31), rtol=0, atol=1e-6)


def test_only_valid_finite_boxes_count():
    rng = np.random.default_rng(3)
    boxes = random_boxes(rng, 12)
    valid = np.ones(12)
    valid[[1, 5]] = 0
    boxes[2, 1], boxes[7, 3], boxes[8, 0] = np.nan, np.inf, -np.inf
    x, y = box_knots(boxes[None], valid)
    truth = expected_knots(boxes[[0, 3, 4, 6, 9, 10, 11]])
    np.testing.assert_allclose(x[0], truth[0], rtol=0, atol=1e-5)
    np.testing.assert_allclose(y[0], truth[1], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "box",
    [
        [100, 100, 100, 100],
        [500, 400, 300, 200],
        [-900, -900, -800, -850],
        [1e5, 1e5, 1e6, 1e6],
        [0, 0, 1920, 1200],
        [1e30, 0, 3e30, 5],
        [-3e38, -3e38, 3e38, 3e38],
    ],
)
def test_extreme_boxes(box):
    x, y = box_knots([[box]])
    check_knots(x)
    check_knots(y)
    truth = expected_knots(np.array([box], np.float32))
    np.testing.assert_allclose(x[0], truth[0], rtol=0, atol=1e-5)
    np.testing.assert_allclose(y[0], truth[1], rtol=0, atol=1e-5)


@given(
    boxes=st.lists(st.tuples(*[st.floats(-1e4, 1e4, width=32)] * 4), min_size=0, max_size=12),
    a=st.floats(0, 50, width=32),
    b=st.floats(0.125, 1e4, width=32),
    fwhm=st.floats(0.5, 60, width=32),
)
@settings(max_examples=60, deadline=None)
def test_any_boxes_give_knots_that_can_be_inverted(boxes, a, b, fwhm):
    x, y = box_knots(np.reshape(boxes, (1, -1, 4)), a=a, b=b, fwhm=fwhm)
    check_knots(x)
    check_knots(y)


def test_merged_knots_are_pushed_apart():
    fixed = [np.zeros(51), np.zeros(31)]
    fixed[0][[20, 40]] = 0.5  # everything between falls on two points
    fixed[1][3] = 1
    x, y = box_knots(np.zeros((1, 0, 4)), mixed=0.0, fixed=fixed, fwhm=2.0)
    check_knots(x)
    check_knots(y)


@pytest.mark.parametrize("number", [np.nan, np.inf, -1.0])
def test_unusable_learned_numbers_give_the_identity_warp(number):
    boxes = random_boxes(np.random.default_rng(1), 4)[None]
    for name in ("a", "b"):
        x, _ = box_knots(boxes, **{name: number})
        np.testing.assert_allclose(x[0], np.linspace(-1, 1, 51), rtol=0, atol=1e-6)


# --- InvertWarp -----------------------------------------------------------------------------------


def centres(size: tuple[int, int]) -> Array:
    return np.stack(np.meshgrid(pixel_centres(size[1]), pixel_centres(size[0])), axis=-1)


def random_warp(seed: int, lattice=LATTICE, fwhm=10.0) -> Array:
    rng = np.random.default_rng(seed)
    return nonseparable_knots(rng.uniform(0.1, 1, lattice) ** 2, fwhm).astype(np.float32)


@pytest.mark.parametrize("tactic", [0, 1, 2])
@pytest.mark.parametrize("lattice", [LATTICE, (2, 2), (3, 40), (45, 45)])
@pytest.mark.parametrize("size", [(75, 120), (38, 60), (1, 1), (1, 7), (33, 2)])
def test_inverse_of_random_warps(tactic, lattice, size):
    knots = np.stack([random_warp(seed, lattice) for seed in range(2)])
    grid = invert(knots, size, tactic=tactic)
    for b in range(2):
        truth = invert_tiles(knots[b], centres(size), outside=9.0)
        np.testing.assert_allclose(grid[b], truth, rtol=0, atol=1e-5)


def test_cells_of_a_level_stand_where_scale_and_offset_say():
    knots, size = random_warp(5), (20, 30)
    affine = (float(np.float32(0.09)), -0.9, float(np.float32(0.07)), -1.05)
    grid = invert(knots[None], size, affine=affine)[0]
    y = affine[0] * np.arange(20) + np.float32(affine[1])
    x = affine[2] * np.arange(30) + np.float32(affine[3])
    places = np.stack(np.meshgrid(x, y), axis=-1)
    truth = invert_tiles(knots, places, outside=9.0)
    np.testing.assert_allclose(grid, truth, rtol=0, atol=1e-5)
    assert (grid == 9).any()


def test_identity_and_parallelograms_have_no_case_of_their_own():
    identity = centres(LATTICE).astype(np.float32)
    grid = invert(identity[None], (75, 120))
    np.testing.assert_allclose(grid[0], centres((75, 120)), rtol=0, atol=1e-6)


def test_points_outside_the_warp():
    knots = (random_warp(4) * 0.7 + 0.05).astype(np.float32)
    size = (75, 120)
    grid = invert(knots[None], size)
    truth = invert_tiles(knots, centres(size), outside=9.0)
    np.testing.assert_allclose(grid[0], truth, rtol=0, atol=1e-5)
    assert (grid == 9).any()


def test_points_on_seams_have_a_tile():
    # Canvas points of the lattice itself: every pixel lies on a corner of up to four tiles.
    identity = centres((31, 51)).astype(np.float32)
    grid = invert(identity[None], (61, 101))
    np.testing.assert_allclose(grid[0], centres((61, 101)), rtol=0, atol=1e-6)
    sheared = identity + 0.02 * np.sin(7 * identity[..., ::-1]).astype(np.float32)
    sheared[[0, -1]], sheared[:, [0, -1]] = identity[[0, -1]], identity[:, [0, -1]]
    assert (invert(sheared[None], (61, 101)) != 9).all()


@pytest.mark.parametrize("fwhm", [4.0, 22.0])
@pytest.mark.parametrize("contrast", [1e3, 1e6])
def test_extreme_warps(fwhm, contrast):
    rng = np.random.default_rng(6)
    saliency = contrast ** rng.uniform(0, 1, LATTICE)
    knots = nonseparable_knots(saliency, fwhm).astype(np.float32)
    size = (75, 120)
    grid = invert(knots[None], size)[0]
    truth = invert_tiles(knots, centres(size), outside=9.0)
    assert ((grid == 9) == (truth == 9)).all()
    inside = grid[..., 0] != 9
    # Where tiles are thin the inverse is steep; its forward must still be the point.
    back = forward_points(knots, grid[inside])
    close = np.abs(grid - truth)[inside].max(axis=-1) < 1e-5
    found = np.abs(back - centres(size)[inside]).max(axis=-1) < 1e-5
    assert (close | found).all()
    assert close.mean() > 0.98


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_bad_knots_are_outside(bad):
    knots = random_warp(1)
    knots[3:6, 5:9] = bad
    grid = invert(knots[None], (75, 120))
    assert np.isfinite(grid).all()
    assert (np.abs(grid) <= 9).all()


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, 7.0])
@pytest.mark.parametrize("tactic", range(3))
def test_a_flat_plane_is_the_identity_warp_only_when_tactics_are_timed(value, tactic):
    """TensorRT times tactics on zeros, on which no tile would hold a point."""
    size = (24, 40)
    flat = np.full((2, 9, 13, 2), value, np.float32)
    even = np.stack(np.meshgrid(pixel_centres(size[1]), pixel_centres(size[0])), axis=-1)
    timed = invert(flat, size, tactic=tactic, timing=1)
    np.testing.assert_allclose(timed, np.stack([even] * 2), atol=1e-6)
    assert not np.allclose(invert(flat, size, tactic=tactic), timed, atol=0.5)


def test_timing_leaves_a_plane_as_it_is():
    plane = nonseparable_knots(np.random.default_rng(8).uniform(0.1, 1, LATTICE) ** 2, 10.0)
    knots = plane[None].astype(np.float32)
    assert (invert(knots, (30, 50)) == invert(knots, (30, 50), timing=1)).all()


def test_two_runs_are_equal():
    knots = random_warp(2)[None]
    assert (invert(knots, (75, 120)) == invert(knots, (75, 120))).all()
    for tactic in (1, 2):
        assert (invert(knots, (75, 120)) == invert(knots, (75, 120), tactic=tactic)).all()


def test_host_kernel_is_twenty_times_faster_than_algorithm_1() -> None:
    """About 40 times; both on one thread, by time of the processor."""
    times = time_inversion(library())
    print({name: round(each, 2) for name, each in times.items()})
    assert times["Algorithm 1, NumPy"] > 20 * times["host kernel"]


def test_invalid_calls_launch_nothing():
    assert library().lzu_invert_warp(None, None) == INVALID
    assert library().lzu_box_knots(None, None) == INVALID
    grid = aligned((1, 4, 4, 2), np.float32)
    for lattice, tactic in (((1, 5), 0), ((300, 300), 0), ((5, 5), 7)):
        call = InvertWarp(
            address(grid), address(grid), 1, *lattice, 4, 4, 0.5, -1, 0.5, -1, 0.0, tactic
        )
        assert run("lzu_invert_warp", call) == INVALID
