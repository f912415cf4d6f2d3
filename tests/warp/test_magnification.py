"""Magnification by its definition: the slope of the inverse warp over the uniform canvas's."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from lzu_export.errors import LzuError
from lzu_export.warp import magnification
from lzu_export.warp.forward import forward_at, forward_points, pixel_centres
from lzu_export.warp.inverse import invert_axis, invert_tiles
from lzu_export.warp.knots import nonseparable_knots, separable_knots
from lzu_export.warp.magnification import (
    axis_extremes,
    axis_magnification,
    canvas_sizes,
    tile_magnification,
    uniform_sizes,
)
from lzu_export.warp.warp import saliency_knots

SPAN, CANVAS = (90, 160), (40, 77)
saliencies = arrays.arrays(
    np.float64, st.tuples(st.integers(3, 9), st.integers(3, 9)), elements=st.floats(0.1, 10)
)
widths = st.floats(0.5, 8.0)
kinds = st.booleans()


@given(saliency=saliencies, fwhm=widths)
@settings(deadline=None)
def test_the_mean_reciprocal_over_the_canvas_is_one(saliency: np.ndarray, fwhm: float) -> None:
    """What the zoom takes from one place it gives to another, if the whole frame is shown."""
    for knots in separable_knots(saliency, fwhm):
        assert (1 / axis_magnification(knots)).mean() == pytest.approx(1, abs=1e-12)


@given(saliency=saliencies, fwhm=widths)
@settings(deadline=None)
def test_it_is_canvas_pixels_per_frame_pixel_over_those_of_the_uniform_canvas(
    saliency: np.ndarray, fwhm: float
) -> None:
    knots, _ = separable_knots(saliency, fwhm)
    pieces = len(knots) - 1
    frame, canvas = SPAN[1] - 1, CANVAS[1] - 1
    a, b = (forward_at(knots, -1 + 2 * (np.arange(pieces) + at) / pieces) for at in (0.3, 0.6))
    pixels = (invert_axis(knots, b) - invert_axis(knots, a)) / 2 * canvas
    per_pixel = pixels / ((b - a) / 2 * frame)
    np.testing.assert_allclose(axis_magnification(knots), per_pixel / (canvas / frame), rtol=1e-7)


@given(saliency=saliencies, fwhm=widths, separable=kinds)
@settings(deadline=None)
def test_tiles_cover_the_frame_and_each_has_its_part_of_the_canvas(
    saliency: np.ndarray, fwhm: float, separable: bool
) -> None:
    found = tile_magnification(saliency_knots(saliency, fwhm, separable=separable), SPAN)
    assert found.share.sum() == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(found.share * found.area, 1 / found.area.size, rtol=1e-12)


@given(saliency=saliencies, fwhm=widths)
@settings(deadline=None)
def test_a_separable_warp_is_the_same_as_a_plane_of_knots(
    saliency: np.ndarray, fwhm: float
) -> None:
    knots = saliency_knots(saliency, fwhm)
    plane = {"knots": np.stack(np.meshgrid(knots["knots_x"], knots["knots_y"]), axis=-1)}
    for one, other in zip(
        tile_magnification(knots, SPAN), tile_magnification(plane, SPAN), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-9)
    np.testing.assert_allclose(axis_extremes(knots, SPAN), axis_extremes(plane, SPAN), rtol=1e-9)


@given(saliency=saliencies, fwhm=widths)
@settings(max_examples=30, deadline=None)
def test_a_step_along_the_frame_is_as_long_on_the_canvas_as_its_magnification(
    saliency: np.ndarray, fwhm: float
) -> None:
    """Of a non-separable warp, at the centres of tiles, by differences of the inverse."""
    knots = nonseparable_knots(saliency, fwhm)
    found = tile_magnification({"knots": knots}, SPAN)
    rows, columns = found.x.shape
    x, y = np.meshgrid(
        -1 + (2 * np.arange(columns) + 1) / columns, -1 + (2 * np.arange(rows) + 1) / rows
    )
    places = forward_points(knots, np.stack([x, y], axis=-1))
    pixels = np.array(SPAN[::-1]) - 1.0
    for axis, expected in enumerate((found.x, found.y)):
        step = np.zeros(2)
        step[axis] = 1e-5
        moved = invert_tiles(knots, places + step) - invert_tiles(knots, places - step)
        length = np.linalg.norm(moved / 2 * pixels, axis=-1) / (step[axis] * pixels[axis])
        np.testing.assert_allclose(length, expected, rtol=1e-6)


@given(saliency=saliencies, fwhm=widths, u=st.floats(0, 1), v=st.floats(0, 1))
@settings(max_examples=30, deadline=None)
def test_no_place_in_a_tile_is_magnified_more_than_the_largest(
    saliency: np.ndarray, fwhm: float, u: float, v: float
) -> None:
    knots = nonseparable_knots(saliency, fwhm)
    try:
        x, y = axis_extremes({"knots": knots}, SPAN)
    except LzuError as error:
        assert "tiles of the non-separable warp fold" in str(error)  # noqa: PT017
        return
    rows, columns = saliency.shape[0] - 1, saliency.shape[1] - 1
    corners = -1 + 2 * (np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), -1)) / [
        columns,
        rows,
    ]
    inside = np.clip([u, v], 0.01, 0.99) * 2 / [columns, rows]
    step = 1e-7
    slope = [
        (
            forward_points(knots, corners + inside + step * each)
            - forward_points(knots, corners + inside - step * each)
        )
        / (2 * step)
        for each in np.eye(2)
    ]
    pixels = np.array(SPAN[::-1]) - 1.0
    jacobian = np.stack(slope, axis=-1) * pixels[:, None] / pixels
    inverse = np.linalg.inv(jacobian)
    for axis, extremes in enumerate((x, y)):
        lengths = np.linalg.norm(inverse[..., axis], axis=-1)
        assert lengths.max() <= extremes.largest * (1 + 1e-5)


def test_folded_tiles_are_refused() -> None:
    knots = np.stack(np.meshgrid(pixel_centres(3), pixel_centres(3)), axis=-1)
    knots[1, 1] = [1.5, 1.5]
    with pytest.raises(LzuError, match="tiles of the non-separable warp fold"):
        axis_extremes({"knots": knots}, SPAN)


@given(saliency=saliencies, fwhm=widths, separable=kinds)
@settings(max_examples=40, deadline=None)
def test_boxes_that_tile_the_frame_tile_the_canvas(
    saliency: np.ndarray, fwhm: float, separable: bool
) -> None:
    """Their areas sum to the canvas's, whatever the warp."""
    knots = saliency_knots(saliency, fwhm, separable=separable)
    xs, ys = np.linspace(0, SPAN[1] - 1, 5), np.linspace(0, SPAN[0] - 1, 4)
    boxes = [
        (xs[j], ys[i], xs[j + 1], ys[i + 1]) for i in range(len(ys) - 1) for j in range(len(xs) - 1)
    ]
    area = (canvas_sizes(knots, boxes, SPAN, CANVAS) ** 2).sum()
    if separable:
        assert area == pytest.approx((CANVAS[0] - 1) * (CANVAS[1] - 1))
    elif (tile_magnification(knots, SPAN).area > 0).all():
        # Along the border outlines are straight; inside, neighbours follow the same points.
        assert area == pytest.approx((CANVAS[0] - 1) * (CANVAS[1] - 1), rel=1e-6)


@given(saliency=saliencies, fwhm=widths)
@settings(max_examples=40, deadline=None)
def test_sizes_are_those_of_the_inverse_warp(saliency: np.ndarray, fwhm: float) -> None:
    knots = saliency_knots(saliency, fwhm)
    boxes = np.array([[3.5, 10, 20.25, 80], [100, 0, 159, 89]])
    x, y = (
        (invert_axis(knots[name], -1 + 2 * boxes[:, side] / last) + 1) / 2 * canvas
        for name, side, last, canvas in (
            ("knots_x", [0, 2], 159, CANVAS[1] - 1),
            ("knots_y", [1, 3], 89, CANVAS[0] - 1),
        )
    )
    expected = np.sqrt((x[:, 1] - x[:, 0]) * (y[:, 1] - y[:, 0]))
    np.testing.assert_allclose(canvas_sizes(knots, boxes, SPAN, CANVAS), expected, rtol=1e-12)


def test_the_identity_makes_the_sizes_of_the_uniform_canvas() -> None:
    boxes = np.array([[0, 0, 160, 90], [10, 10, 11, 11], [5, 5, 5, 9]])
    found = uniform_sizes(boxes, SPAN, CANVAS)
    np.testing.assert_allclose(found[1], np.sqrt(76 / 159 * 39 / 89))
    assert found[2] == 0
    identity = {"knots_x": pixel_centres(4), "knots_y": pixel_centres(3)}
    np.testing.assert_allclose(canvas_sizes(identity, boxes, SPAN, CANVAS), found, atol=1e-12)


def test_boxes_that_are_cropped_have_no_size() -> None:
    """Of either kind of warp that shows the middle half of the frame along x."""
    knots = {"knots_x": np.array([-0.5, 0.5]), "knots_y": np.array([-1.0, 1.0])}
    plane = {"knots": np.stack(np.meshgrid(*knots.values()), axis=-1)}
    boxes = np.array([[60, 10, 90, 30], [20, 10, 90, 30]])
    for each in (knots, plane):
        found = canvas_sizes(each, boxes, SPAN, CANVAS)
        np.testing.assert_allclose(found[0], np.sqrt(2) * uniform_sizes(boxes, SPAN, CANVAS)[0])
        assert np.isnan(found[1])
    assert tile_magnification(knots, SPAN).share.sum() == pytest.approx(0.5)


def test_merged_knots_are_magnified_finitely() -> None:
    found = axis_magnification([-1.0, 0.0, 0.0, 1.0])
    assert np.isfinite(found).all()
    assert found[1] > 1e5
    with pytest.raises(LzuError, match="knots decrease somewhere"):
        axis_magnification([-1.0, 0.5, 0.0, 1.0])


def test_many_boxes_are_mapped_part_by_part(monkeypatch: pytest.MonkeyPatch) -> None:
    knots = saliency_knots(np.random.default_rng(0).uniform(0.5, 2, (5, 7)), 3)
    corners = np.random.default_rng(1).uniform(0, 40, (11, 2))
    boxes = np.hstack([corners, corners + 20])
    whole = canvas_sizes(knots, boxes, SPAN, CANVAS)
    monkeypatch.setattr(magnification, "CHUNK", 4)
    np.testing.assert_array_equal(canvas_sizes(knots, boxes, SPAN, CANVAS), whole)
    assert canvas_sizes(knots, np.empty((0, 4)), SPAN, CANVAS).shape == (0,)
