"""The forward warp and its exact inverses."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from lzu_export.errors import LzuError
from lzu_export.warp.forward import (
    forward_at,
    forward_axis,
    forward_points,
    nonseparable_forward_grid,
    pixel_centres,
)
from lzu_export.warp.inverse import MIN_GAP, invert_axis, invert_tiles
from lzu_export.warp.knots import axis_knots, nonseparable_knots, separable_knots
from warp_oracles import forward_grid

saliencies = arrays.arrays(
    np.float64, st.tuples(st.integers(2, 12), st.integers(2, 12)), elements=st.floats(0.1, 10)
)
widths = st.floats(0.5, 15.0)
positions = arrays.arrays(np.float64, 20, elements=st.floats(-1.5, 1.5))


def test_pixel_centres() -> None:
    np.testing.assert_array_equal(pixel_centres(3), [-1, 0, 1])
    np.testing.assert_array_equal(pixel_centres(1), [0])


def test_forward_passes_through_the_knots_and_continues_straight() -> None:
    knots = np.array([-1.0, -0.1, 0.0, 1.0])
    np.testing.assert_array_equal(forward_at(knots, pixel_centres(4)), knots)
    third = 2 / 3
    np.testing.assert_allclose(forward_at(knots, [-1 - third, 1 + third]), [-1.9, 2.0])


@given(saliency=saliencies, fwhm=widths)
@settings(max_examples=30, deadline=None)
def test_grids_are_bilinear_between_knots(saliency: np.ndarray, fwhm: float) -> None:
    size = (7, 10)
    lattice = np.stack(np.meshgrid(pixel_centres(10), pixel_centres(7)), -1)
    knots = nonseparable_knots(saliency, fwhm)
    expected = forward_points(knots, lattice)
    np.testing.assert_allclose(nonseparable_forward_grid(knots, size), expected, atol=1e-12)
    knots_x, knots_y = separable_knots(saliency, fwhm)
    expected = forward_points(np.stack(np.meshgrid(knots_x, knots_y), -1), lattice)
    np.testing.assert_allclose(forward_grid(knots_x, knots_y, size), expected, atol=1e-12)
    by_numpy = np.interp(pixel_centres(10), pixel_centres(len(knots_x)), knots_x)
    np.testing.assert_allclose(forward_axis(knots_x, 10), by_numpy, atol=1e-12)


@given(saliency=saliencies, fwhm=widths, u=positions)
@settings(deadline=None)
def test_inverse_of_forward_is_the_identity_also_outside(
    saliency: np.ndarray, fwhm: float, u: np.ndarray
) -> None:
    for knots in separable_knots(saliency, fwhm):
        np.testing.assert_allclose(invert_axis(knots, forward_at(knots, u)), u, atol=1e-9)
        np.testing.assert_allclose(forward_at(knots, invert_axis(knots, u)), u, atol=1e-9)


def test_inverse_can_clip() -> None:
    knots = np.array([-0.9, 0.3, 0.8])
    v = np.array([-1.0, -0.9, 0.3, 0.8, 1.0])
    np.testing.assert_allclose(invert_axis(knots, v, extrapolate=False), [-1, -1, 0, 1, 1])
    assert invert_axis(knots, v)[0] < -1
    assert invert_axis(knots, v)[-1] > 1


def test_inverse_keeps_the_shape_of_its_points() -> None:
    assert invert_axis([-1.0, 0.0, 1.0], np.zeros((2, 3, 4))).shape == (2, 3, 4)
    assert invert_axis([-1.0, 1.0], 0.25) == 0.25


@given(
    gaps=arrays.arrays(np.float64, 5, elements=st.sampled_from([0.0, MIN_GAP / 3, 0.2])),
    v=positions,
)
def test_knots_that_touch_never_divide_by_zero(gaps: np.ndarray, v: np.ndarray) -> None:
    inverted = invert_axis(np.concatenate([[-0.5], -0.5 + np.cumsum(gaps)]), np.sort(v))
    assert np.isfinite(inverted).all()
    assert (np.diff(inverted) >= 0).all()


@pytest.mark.parametrize(
    ("knots", "message"),
    [
        ([0.0, -1.0], "decrease"),
        ([0.0, np.nan], "NaN"),
        ([0.0], "shape"),
        ([[0.0, 1.0]], "shape"),
    ],
)
def test_bad_knots_are_refused_by_name(knots: list, message: str) -> None:
    for function in (invert_axis, forward_at):
        with pytest.raises(LzuError, match=f"knots .*{message}"):
            function(knots, 0.0)


# --- bilinear tiles -------------------------------------------------------------------------------


@given(saliency=saliencies, fwhm=widths, seed=st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_tile_inverse_of_forward_is_the_identity(
    saliency: np.ndarray, fwhm: float, seed: int
) -> None:
    knots = nonseparable_knots(saliency, fwhm)
    points = np.random.default_rng(seed).uniform(-1, 1, (30, 2))
    inverted = invert_tiles(knots, points)
    # The canvas covers the source, so every point lies in some tile.
    assert np.isfinite(inverted).all()
    np.testing.assert_allclose(forward_points(knots, inverted), points, atol=1e-8)


def test_folded_tiles_still_yield_an_inverse() -> None:
    knots = np.stack(np.meshgrid([-1.0, 0.0, 1.0], [-1.0, 0.0, 1.0]), -1)
    knots[1, 1] = -0.8  # past the diagonal of the first tile, which folds over
    points = np.random.default_rng(0).uniform(-1, 1, (2000, 2))
    inverted = invert_tiles(knots, points)
    np.testing.assert_allclose(forward_points(knots, inverted), points, atol=1e-9)


@given(saliency=saliencies, fwhm=widths)
@settings(max_examples=60, deadline=None)
def test_tiles_have_no_holes_on_seams_corners_and_borders(
    saliency: np.ndarray, fwhm: float
) -> None:
    knots = nonseparable_knots(saliency, fwhm)
    height, width = saliency.shape
    inverted = invert_tiles(knots, knots)
    expected = np.stack(np.meshgrid(pixel_centres(width), pixel_centres(height)), -1)
    np.testing.assert_allclose(inverted, expected, atol=1e-6)


@given(saliency=saliencies, fwhm=widths, v=positions)
@settings(max_examples=60, deadline=None)
def test_tiles_of_a_separable_warp_invert_as_its_axes(
    saliency: np.ndarray, fwhm: float, v: np.ndarray
) -> None:
    knots_x, knots_y = separable_knots(saliency, fwhm)
    points = np.stack(np.meshgrid(v.clip(-1, 1), v.clip(-1, 1)), -1)
    inverted = invert_tiles(np.stack(np.meshgrid(knots_x, knots_y), -1), points)
    np.testing.assert_allclose(inverted[..., 0], invert_axis(knots_x, points[..., 0]), atol=1e-8)
    np.testing.assert_allclose(inverted[..., 1], invert_axis(knots_y, points[..., 1]), atol=1e-8)


def test_points_in_no_tile() -> None:
    knots = np.stack(np.meshgrid([-0.5, 0.5], [-0.5, 0.0, 0.5]), -1)
    points = np.array([[0.0, 0.0], [0.6, 0.0], [0.0, -0.51]])
    np.testing.assert_array_equal(np.isnan(invert_tiles(knots, points)).any(-1), [0, 1, 1])
    np.testing.assert_array_equal(invert_tiles(knots, points, outside=7.0)[1:], 7.0)


def test_degenerate_tiles_are_passed_over() -> None:
    knots_x = np.array([-1.0, -1.0, 0.0, 1.0, 1.0])
    knots = np.stack(np.meshgrid(knots_x, [-1.0, 1.0]), -1)
    inverted = invert_tiles(knots, np.array([[-0.5, 0.0], [0.5, 0.0]]))
    np.testing.assert_allclose(inverted, [[-0.25, 0.0], [0.25, 0.0]])


def test_a_full_size_level_is_inverted_quickly() -> None:
    saliency = np.random.default_rng(0).uniform(0.5, 2.0, (31, 51))
    knots = nonseparable_knots(saliency, 10)
    points = np.stack(np.meshgrid(pixel_centres(200), pixel_centres(116)), -1)
    start = time.process_time()
    inverted = invert_tiles(knots, points)
    assert time.process_time() - start < 5.0
    np.testing.assert_allclose(forward_points(knots, inverted), points, atol=1e-12)


@pytest.mark.parametrize(
    ("knots", "points", "message"),
    [
        (np.zeros((3, 3)), np.zeros((1, 2)), "knots have shape"),
        (np.full((3, 3, 2), np.nan), np.zeros((1, 2)), "knots hold NaN"),
        (np.zeros((3, 3, 2)), np.zeros((1, 3)), "points have shape"),
        (np.zeros((3, 3, 2)), np.full((1, 2), np.nan), "points have shape"),
    ],
)
def test_bad_tiles_are_refused_by_name(knots: np.ndarray, points: np.ndarray, message: str) -> None:
    with pytest.raises(LzuError, match=message):
        invert_tiles(knots, points)


def test_an_axis_of_one_pixel_samples_the_middle() -> None:
    knots = axis_knots([1.0, 3.0, 2.0], 2.0)
    np.testing.assert_allclose(forward_axis(knots, 1), knots[1:2])
