"""Resample tables: positions packed without loss, antialiased rows, unfilled edges."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lzu_export.models.matrices import resize_matrix
from lzu_export.warp.geometry import Level, unzoom_positions
from lzu_export.warp.knots import separable_knots
from lzu_export.warp.sampling import antialias_support, axis_weights
from lzu_export.warp.tables import (
    is_bilinear,
    label_tables,
    resample_table,
    table_matrix,
    table_pixels,
    unzoom_tables,
    zoom_coverage,
    zoom_tables,
)
from warp_oracles import published_inverse_grid

LATTICE = (9, 14)


@pytest.fixture
def knots() -> tuple[np.ndarray, np.ndarray]:
    return separable_knots(np.random.default_rng(0).uniform(0.2, 2, LATTICE), 5)


@settings(max_examples=60, deadline=None)
@given(
    positions=st.lists(st.floats(-3, 3), min_size=1, max_size=30),
    n_in=st.integers(1, 5000),
)
def test_a_table_is_the_axis_weights_to_float32(positions: list[float], n_in: int) -> None:
    table = resample_table(positions, n_in)
    assert table.dtype == np.float32
    assert table.shape == (4, len(positions))
    assert is_bilinear(table)
    exact = (np.array(positions) + 1) / 2 * (n_in - 1)
    assert np.abs(table_pixels(table) - exact).max() <= 2.0**-24
    assert np.abs(table_matrix(table, n_in) - axis_weights(positions, n_in)).max() <= 2.0**-24


@settings(max_examples=60, deadline=None)
@given(
    reach=st.floats(0.1, 4),
    n_out=st.integers(2, 30),
    n_in=st.integers(1, 200),
    gain=st.floats(0.1, 2),
)
def test_antialiased_rows_are_the_axis_weights(
    reach: float, n_out: int, n_in: int, gain: float
) -> None:
    """Outside the input too, where there is nothing to normalise by."""
    positions = np.linspace(-reach, reach, n_out)
    table = resample_table(positions, n_in, antialias=True, gain=gain)
    assert np.isfinite(table).all()
    exact = axis_weights(positions, n_in, support=antialias_support(positions, n_in), gain=gain)
    np.testing.assert_allclose(table_matrix(table, n_in), exact, atol=1e-5)


def test_antialiased_rows_sum_to_one_inside() -> None:
    table = resample_table(np.linspace(-1, 1, 7), 60, antialias=True)
    assert not is_bilinear(table)
    np.testing.assert_allclose(table_matrix(table, 60).sum(axis=1), 1, atol=1e-6)


def test_gain_scales_rows_and_zero_empties_them() -> None:
    gain = np.array([1, 0.5, 0])
    plain = table_matrix(resample_table([-0.5, 0, 0.5], 9), 9)
    scaled = resample_table([-0.5, 0, 0.5], 9, gain=gain)
    np.testing.assert_array_equal(table_matrix(scaled, 9), plain * gain[:, None])
    assert not is_bilinear(scaled)
    wide = resample_table([-1, 0, 1], 90, antialias=True, gain=gain)
    np.testing.assert_allclose(table_matrix(wide, 90).sum(axis=1), gain, atol=1e-6)


def test_positions_outside_read_nothing() -> None:
    matrix = table_matrix(resample_table([-1.6, -1.1, 1.1, 1.6], 5), 5)
    assert not matrix[[0, 3]].any()
    np.testing.assert_allclose(matrix[1], [0.8, 0, 0, 0, 0], atol=1e-6)
    np.testing.assert_allclose(matrix[2], [0, 0, 0, 0, 0.8], atol=1e-6)


def test_the_zoom_fills_the_canvas(knots: tuple[np.ndarray, np.ndarray]) -> None:
    for antialias in (False, True):
        pair = zoom_tables(*knots, (60, 100), (30, 50), antialias=antialias)
        assert (pair.rows.shape, pair.cols.shape) == ((4, 30), (4, 50))
        for table, n_in in ((pair.rows, 60), (pair.cols, 100)):
            np.testing.assert_allclose(table_matrix(table, n_in).sum(axis=1), 1, atol=1e-6)
        pixels = table_pixels(pair.rows)
        assert (pixels[0], pixels[-1]) == (0, 59)


def test_a_uniform_zoom_of_the_same_size_is_the_identity() -> None:
    knots_x, knots_y = separable_knots(np.ones(LATTICE), 5)
    pair = zoom_tables(knots_x, knots_y, (12, 20), (12, 20))
    np.testing.assert_allclose(table_matrix(pair.rows, 12), np.eye(12), atol=1e-6)
    np.testing.assert_allclose(table_matrix(pair.cols, 20), np.eye(20), atol=1e-6)


@pytest.mark.parametrize("geometry", ["consistent", "published"])
def test_the_unzoom_is_one_pair_at_the_geometry_s_positions(
    geometry: str, knots: tuple[np.ndarray, np.ndarray]
) -> None:
    level, canvas = Level(8, (8, 12)), (60, 90)
    (pair,) = unzoom_tables(*knots, level, canvas, geometry=geometry, unfilled=())
    rows, cols = unzoom_positions(*knots, level, canvas, geometry=geometry)
    np.testing.assert_allclose(table_pixels(pair.rows), (rows + 1) / 2 * 7, atol=1e-6)
    np.testing.assert_allclose(table_pixels(pair.cols), (cols + 1) / 2 * 11, atol=1e-6)


@pytest.mark.parametrize("edge", ["top", "bottom", "left", "right"])
def test_an_unfilled_edge_outside_the_map_is_zeros(
    edge: str, knots: tuple[np.ndarray, np.ndarray]
) -> None:
    pairs = unzoom_tables(
        *knots, Level(8, (20, 30)), (1, 1), geometry="published", unfilled=(edge,)
    )
    (pair,) = pairs
    filled = np.outer(
        table_matrix(pair.rows, 20).sum(axis=1), table_matrix(pair.cols, 30).sum(axis=1)
    )
    place = {"top": (0,), "bottom": (-1,), "left": (slice(None), 0), "right": (slice(None), -1)}
    assert not filled[place[edge]].any()
    assert filled[1:-1, 1:-1].all()


def test_levels_of_one_cell_read_that_cell(knots: tuple[np.ndarray, np.ndarray]) -> None:
    for geometry in ("consistent", "published"):
        level = Level(128, (1, 1))
        (pair,) = unzoom_tables(*knots, level, (48, 80), geometry=geometry, unfilled=())
        assert table_matrix(pair.rows, 1) == table_matrix(pair.cols, 1) == 1


@pytest.mark.parametrize("geometry", ["published", "consistent"])
@pytest.mark.parametrize("scale", [2, 3])
def test_a_finer_unzoom_samples_between_the_cells(
    geometry: str, scale: int, knots: tuple[np.ndarray, np.ndarray]
) -> None:
    """In true pixels its cell i stands for canvas pixel stride * i / scale."""
    level, canvas = Level(8, (8, 12)), (60, 90)
    (pair,) = unzoom_tables(*knots, level, canvas, geometry=geometry, unfilled=(), scale=scale)
    assert (pair.rows.shape, pair.cols.shape) == ((4, 8 * scale), (4, 12 * scale))
    (plain,) = unzoom_tables(*knots, level, canvas, geometry=geometry, unfilled=())
    if geometry == "consistent":
        np.testing.assert_allclose(pair.rows[:, ::scale], plain.rows, atol=1e-6)
        np.testing.assert_allclose(pair.cols[:, ::scale], plain.cols, atol=1e-6)
    else:  # the ends of both grids lie on the image's
        for fine, coarse in zip(pair, plain, strict=True):
            ends = table_pixels(fine)[[0, -1]], table_pixels(coarse)[[0, -1]]
            np.testing.assert_allclose(*ends, atol=1e-6)


@pytest.mark.parametrize("scale", [2, 4])
def test_a_finer_unzoom_is_the_finer_level_s_positions_on_the_coarse_map(
    scale: int, knots: tuple[np.ndarray, np.ndarray]
) -> None:
    """Each cell of it, between the level's own too: true pixels know no level."""
    canvas, coarse = (60, 90), Level(8, (8, 12))
    fine = Level(8 // scale, (8 * scale, 12 * scale))
    positions = unzoom_positions(*knots, coarse, canvas, geometry="consistent", scale=scale)
    wanted = unzoom_positions(*knots, fine, canvas, geometry="consistent")
    for axis in range(2):
        own, other = coarse.size[axis] - 1, fine.size[axis] - 1
        pixel = 8 * (positions[axis] + 1) / 2 * own
        np.testing.assert_allclose(pixel, fine.stride * (wanted[axis] + 1) / 2 * other, atol=1e-9)
    published = unzoom_positions(*knots, coarse, canvas, geometry="published", scale=scale)
    for mine, direct in zip(
        published, unzoom_positions(*knots, fine, canvas, geometry="published"), strict=True
    ):
        np.testing.assert_array_equal(mine, direct)  # in both the ends are the image's


def test_unfilled_edges_of_a_finer_unzoom_copy_what_its_own_size_says(
    knots: tuple[np.ndarray, np.ndarray],
) -> None:
    """The sentinel is of the map that is filled, here of 4 x 4 cells."""
    level, fine = Level(32, (2, 2)), Level(32, (4, 4))
    edges: tuple[Any, ...] = ("bottom", "right")
    pairs = unzoom_tables(*knots, level, (1, 1), geometry="published", unfilled=edges, scale=2)
    assert len(pairs) == 3
    x = np.random.default_rng(2).normal(size=(2, 2))
    got = sum(table_matrix(p.rows, 2) @ x @ table_matrix(p.cols, 2).T for p in pairs)
    grid = published_inverse_grid(*knots, fine, unfilled=edges)
    for i, j in np.ndindex(4, 4):
        cell_x, cell_y = grid[i, j]
        weights = axis_weights([cell_y], 2)[0], axis_weights([cell_x], 2)[0]
        assert got[i, j] == pytest.approx(weights[0] @ x @ weights[1], abs=1e-6)


def test_a_uniform_unzoom_of_twice_the_cells_is_in_phase() -> None:
    even = np.linspace(-1, 1, 9)
    (pair,) = unzoom_tables(
        even, even, Level(4, (16, 24)), (60, 90), geometry="consistent", unfilled=(), scale=2
    )
    np.testing.assert_allclose(table_pixels(pair.rows), np.arange(32) / 2, atol=1e-5)
    np.testing.assert_allclose(table_pixels(pair.cols), np.arange(48) / 2, atol=1e-5)


def test_coverage_is_what_lies_inside_the_picture(knots: tuple[np.ndarray, np.ndarray]) -> None:
    tables = zoom_tables(*knots, (64, 96), (40, 56))
    np.testing.assert_array_equal(zoom_coverage(tables, (64, 96)), [[1.0]])
    covered = zoom_coverage(tables, (60, 96))  # four rows are not there
    assert covered.shape == (40, 1)
    pixels = table_pixels(tables.rows)
    np.testing.assert_allclose(covered[:, 0], np.clip(60 - pixels, 0, 1), atol=1e-5)
    assert covered[-1, 0] == 0


@pytest.mark.parametrize("view", [(60, 90), (33, 47), (200, 100)])
def test_half_pixel_labels_lie_edge_on_edge(view: tuple[int, int]) -> None:
    """As the matrices of mmseg's resize, where the map covers the canvas exactly."""
    canvas, cells = (40, 56), (10, 14)
    tables = label_tables(cells, 4.0, canvas, view, canvas_step=(1.0, 1.0), upsampling="half-pixel")
    for table, n_in, n_out in zip(tables, cells, view, strict=True):
        np.testing.assert_allclose(table_matrix(table, n_in), resize_matrix(n_out, n_in), atol=1e-5)


def test_labels_of_one_cell_are_everywhere() -> None:
    tables = label_tables(
        (1, 1), 32.0, (16, 16), (20, 30), canvas_step=(1.25, 1.9), upsampling="in-phase"
    )
    assert (table_matrix(tables.rows, 1) == 1).all()
    assert tables.cols.shape == (4, 30)


@settings(max_examples=40, deadline=None)
@given(
    step=st.sampled_from([2.0, 4.0, 8.0]),
    canvas=st.integers(9, 60),
    ratio=st.floats(0.4, 4),
    slope=st.floats(-3, 3),
)
def test_in_phase_labels_are_exact_on_ramps(
    step: float, canvas: int, ratio: float, slope: float
) -> None:
    """Up to the last cell, beyond which its value stays."""
    cells, shown = int(-(-canvas // step)) + 1, int(canvas * ratio) + 1
    tables = label_tables(
        (cells, cells),
        step,
        (canvas, canvas),
        (shown, shown),
        canvas_step=(ratio, ratio),
        upsampling="in-phase",
    )
    ramp = 1 + slope * step * np.arange(cells)
    expected = 1 + slope * np.minimum(np.arange(shown) / ratio, step * (cells - 1))
    np.testing.assert_allclose(table_matrix(tables.rows, cells) @ ramp, expected, atol=1e-4)
    np.testing.assert_array_equal(tables.rows, tables.cols)
