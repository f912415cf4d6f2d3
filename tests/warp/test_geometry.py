"""Levels, and the two geometries of the unzoom."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lzu_export.errors import LzuError
from lzu_export.warp.forward import forward_at
from lzu_export.warp.geometry import (
    Level,
    canvas_to_source,
    level_sizes,
    padded_size,
    published_sentinel,
    unzoom_positions,
    zoom_positions,
)
from lzu_export.warp.inverse import invert_axis
from lzu_export.warp.knots import axis_knots, separable_knots
from lzu_export.warp.sampling import axis_weights
from warp_oracles import published_inverse_grid

STRIDES = (8, 16, 32, 64, 128)
CANVASES = [(225, 400), (450, 800), (675, 1200), (900, 1600), (300, 480), (600, 960)]


@pytest.fixture(scope="module")
def knots() -> tuple[np.ndarray, np.ndarray]:
    """A strong warp: magnified 2 to 3 times at the horizon and somewhat left of the middle."""
    rows, columns = np.mgrid[0:31, 0:51]
    saliency = 0.15 + np.exp(-(((rows - 12) / 3) ** 2) - ((columns - 20) / 8) ** 2)
    return separable_knots(saliency, 10)


def test_level_sizes() -> None:
    assert padded_size((225, 400)) == (256, 416)
    assert padded_size((450, 800), 1) == (450, 800)
    sizes = [level.size for level in level_sizes((225, 400), STRIDES)]
    assert sizes == [(32, 52), (16, 26), (8, 13), (4, 7), (2, 4)]
    assert level_sizes((225, 400), STRIDES)[2] == Level(32, (8, 13))
    with pytest.raises(LzuError, match="strides"):
        level_sizes((225, 400), [])
    with pytest.raises(LzuError, match="canvas"):
        padded_size((0, 4))


@pytest.mark.parametrize("canvas", CANVASES)
@pytest.mark.parametrize("stride", STRIDES)
def test_consistent_unzoom_lands_on_the_label_position(
    knots: tuple[np.ndarray, np.ndarray], canvas: tuple[int, int], stride: int
) -> None:
    """Features that hold their own zoomed pixel, unzoomed, name the pixel that shows the label."""
    (level,) = level_sizes(canvas, [stride])
    positions = unzoom_positions(*knots, level, canvas, geometry="consistent")
    zoomed = zoom_positions(*knots, canvas)
    for axis in range(2):
        cells, pixels = level.size[axis], canvas[axis]
        features = stride * np.arange(cells, dtype=float)
        inside = np.abs(positions[axis]) <= 1
        zoomed_pixel = (axis_weights(positions[axis], cells) @ features)[inside]
        source = forward_at(knots[1 - axis], -1 + 2 * zoomed_pixel / (pixels - 1))
        label_pixel = (source + 1) / 2 * (pixels - 1)
        expected = stride * np.arange(cells)[inside]
        np.testing.assert_allclose(label_pixel, expected, atol=1e-6)
        # The same through the canvas' own table, where a zoomed pixel is between two pixels.
        table = np.interp(zoomed_pixel, np.arange(pixels), zoomed[axis])
        on_canvas = zoomed_pixel <= pixels - 1
        label_pixel = (table + 1) / 2 * (pixels - 1)
        np.testing.assert_allclose(label_pixel[on_canvas], expected[on_canvas], atol=0.2)


@pytest.mark.parametrize("canvas", CANVASES)
def test_consistent_unzoom_of_a_zoomed_image(
    knots: tuple[np.ndarray, np.ndarray], canvas: tuple[int, int]
) -> None:
    """Zoom a ramp, pad, take every eighth pixel as features, unzoom: the ramp comes back."""
    stride, (source_pixels, canvas_pixels) = 8, (2 * canvas[0], canvas[0])
    rows, _ = zoom_positions(*knots, canvas)
    zoomed = axis_weights(rows, source_pixels) @ np.linspace(-1, 1, source_pixels)
    padded = np.zeros(padded_size(canvas)[0])
    padded[:canvas_pixels] = zoomed
    features = padded[::stride]
    (level,) = level_sizes(canvas, [stride])
    positions, _ = unzoom_positions(*knots, level, canvas, geometry="consistent")
    unzoomed = axis_weights(positions, level.size[0]) @ features
    last_full_cell = (canvas_pixels - 1) // stride
    cell = (positions + 1) / 2 * (level.size[0] - 1)
    clear = cell <= last_full_cell
    label = -1 + 2 * stride * np.arange(level.size[0]) / (canvas_pixels - 1)
    error = np.abs(unzoomed - label)[clear] / 2 * (canvas_pixels - 1)
    assert clear.sum() >= last_full_cell - 2
    assert error.max() < 0.1 * stride


def test_published_unzoom_ignores_padding(knots: tuple[np.ndarray, np.ndarray]) -> None:
    canvas = (225, 400)
    for level in level_sizes(canvas, STRIDES):
        rows, columns = unzoom_positions(*knots, level, canvas, geometry="published")
        np.testing.assert_array_equal(
            rows, invert_axis(knots[1], np.linspace(-1, 1, level.size[0]))
        )
        assert rows[[0, -1]] == pytest.approx([-1, 1])
        assert columns[[0, -1]] == pytest.approx([-1, 1])


def test_geometries_agree_where_padding_and_cell_centres_vanish(
    knots: tuple[np.ndarray, np.ndarray],
) -> None:
    level = Level(1, (64, 96))
    published, consistent = (
        unzoom_positions(*knots, level, (64, 96), geometry=geometry)  # type: ignore[arg-type]
        for geometry in ("published", "consistent")
    )
    np.testing.assert_allclose(published[0], consistent[0], atol=1e-12)
    np.testing.assert_allclose(published[1], consistent[1], atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(
    canvas=st.tuples(st.integers(1, 200), st.integers(1, 200)),
    stride=st.sampled_from(STRIDES),
    geometry=st.sampled_from(["published", "consistent"]),
)
def test_positions_are_finite_for_every_size(
    canvas: tuple[int, int], stride: int, geometry: str
) -> None:
    (level,) = level_sizes(canvas, [stride])
    knots = axis_knots([1.0, 5.0, 2.0, 1.0], 2.0)
    pair = unzoom_positions(knots, knots, level, canvas, geometry=geometry)  # type: ignore[arg-type]
    for positions, cells in zip(pair, level.size, strict=True):
        assert positions.shape == (cells,)
        assert np.isfinite(positions).all()
        if cells == 1:
            assert positions[0] == 0


def test_sentinel_falls_inside_at_coarse_levels() -> None:
    assert published_sentinel((4, 7), (27, 48)) == pytest.approx((-0.40425531, 0.07692308))
    assert min(published_sentinel((116, 200), (27, 48))) > 1


def test_unfilled_edges_are_stated(knots: tuple[np.ndarray, np.ndarray]) -> None:
    level = Level(8, (10, 15))
    whole = published_inverse_grid(*knots, level, unfilled=())
    rows, columns = unzoom_positions(*knots, level, (80, 120), geometry="published")
    np.testing.assert_array_equal(whole, np.stack(np.meshgrid(columns, rows), -1))
    sentinel = published_sentinel((10, 15), (31, 51))
    for edges, lost in (
        (("bottom",), np.s_[-1, :]),
        (("top",), np.s_[0, :]),
        (("left",), np.s_[:, 0]),
        (("right",), np.s_[:, -1]),
    ):
        grid = published_inverse_grid(*knots, level, unfilled=edges)
        assert (grid[lost] == sentinel).all()
        kept = np.ones((10, 15), bool)
        kept[lost] = False
        np.testing.assert_array_equal(grid[kept], whole[kept])
    both = published_inverse_grid(*knots, level, unfilled=("bottom", "right"))
    assert (both == sentinel).all(-1).sum() == 10 + 15 - 1


def test_bad_input_is_refused_by_name(knots: tuple[np.ndarray, np.ndarray]) -> None:
    level = Level(8, (10, 15))
    with pytest.raises(LzuError, match="geometry is 'exact'; choose one of published, consistent"):
        unzoom_positions(*knots, level, (80, 120), geometry="exact")  # type: ignore[arg-type]


def test_canvas_to_source() -> None:
    assert canvas_to_source((600, 960), (1200, 1920)) == (1199 / 599, 1919 / 959)
    assert canvas_to_source((1, 2), (5, 5)) == (0.0, 4.0)
