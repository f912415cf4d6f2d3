"""Non-separable warps as grids: zoom and unzoom undo each other, in true pixel coordinates."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lzu_export.errors import LzuError
from lzu_export.warp.forward import forward_points
from lzu_export.warp.geometry import Level, level_sizes, unzoom_positions
from lzu_export.warp.grids import (
    GridTable,
    coverage,
    grid_table,
    grid_taps,
    stored_zoom,
    unzoom_grid,
    zoom_arrays,
    zoom_grid,
)
from lzu_export.warp.knots import nonseparable_knots, separable_knots
from lzu_export.warp.tables import table_pixels, zoom_tables
from samples import PublishedWarps

CANVAS = (48, 80)
Pair = tuple[int, int]


def places(table: GridTable) -> np.ndarray:
    return table.whole.astype(np.float64) + table.fraction


def random_knots(seed: int, lattice: Pair = (7, 11), fwhm: float = 4) -> np.ndarray:
    saliency = np.random.default_rng(seed).uniform(0.05, 1, lattice) ** 2
    return nonseparable_knots(saliency, fwhm)


@settings(max_examples=20)
@given(
    seed=st.integers(0, 2**31),
    lattice=st.tuples(st.integers(2, 9), st.integers(2, 9)),
    canvas=st.tuples(st.integers(9, 70), st.integers(9, 70)),
    fwhm=st.floats(2, 12),
    scale=st.integers(1, 3),
)
def test_zoom_undoes_unzoom(
    seed: int, lattice: Pair, canvas: Pair, fwhm: float, scale: int
) -> None:
    """What the warp shows at an unzoomed cell's place is the place that the cell stands for."""
    knots = random_knots(seed, lattice, fwhm)
    span = np.array(canvas[::-1]) - 1
    for level in level_sizes(canvas, (4, 8, 16)):
        table = unzoom_grid(knots, level, canvas, scale=scale)
        rows, columns = (level.stride / scale * np.arange(n * scale) for n in level.size)
        labels = np.stack(np.meshgrid(columns, rows), axis=-1)
        inside = (labels <= span).all(axis=-1)
        found = places(table)
        for axis in (0, 1):
            if level.size[1 - axis] == 1:  # it is not moved: every position is its one cell
                inside = np.zeros_like(inside)
        shown = forward_points(knots, found[inside] * level.stride / span * 2 - 1)
        np.testing.assert_allclose((shown + 1) / 2 * span, labels[inside], atol=1e-4)


def test_cells_over_the_padding_read_zeros() -> None:
    (level,) = level_sizes(CANVAS, (8,))
    table = unzoom_grid(random_knots(0), level, CANVAS)
    _, weights = grid_taps(table, level.size)
    rows = 8 * np.arange(level.size[0]) < CANVAS[0]
    columns = 8 * np.arange(level.size[1]) < CANVAS[1]
    np.testing.assert_allclose(weights.sum(axis=0), np.outer(rows, columns), atol=1e-6)


def test_a_saliency_that_is_a_product_makes_the_separable_warp() -> None:
    """Of such a saliency LZU eqs. (1) and (2) are eqs. (3) and (4)."""
    generator = np.random.default_rng(1)
    saliency = np.outer(generator.uniform(0.1, 1, 7), generator.uniform(0.1, 1, 11))
    knots = nonseparable_knots(saliency, 4)
    knots_x, knots_y = separable_knots(saliency, 4)
    tables = zoom_tables(knots_x, knots_y, (96, 160), CANVAS)
    x, y = table_pixels(tables.cols), table_pixels(tables.rows)
    expected = np.stack(np.meshgrid(x, y), axis=-1)
    np.testing.assert_allclose(places(zoom_grid(knots, (96, 160), CANVAS)), expected, atol=1e-5)
    (level,) = level_sizes(CANVAS, (8,))
    rows, columns = unzoom_positions(knots_x, knots_y, level, CANVAS, geometry="consistent")
    plane = np.stack(np.meshgrid(columns, rows), axis=-1)
    cells = (plane + 1) / 2 * (np.array(level.size[::-1]) - 1)
    inside = (slice(CANVAS[0] // 8), slice(CANVAS[1] // 8))
    found = places(unzoom_grid(knots, level, CANVAS))
    np.testing.assert_allclose(found[inside], cells[inside], atol=1e-5)


def test_coarser_levels_are_parts_of_the_finest() -> None:
    """Which is why inverting once is exact for all of them."""
    knots = random_knots(2)
    fine, *others = level_sizes(CANVAS, (4, 8, 16))
    finest = places(unzoom_grid(knots, fine, CANVAS)) * fine.stride
    for level in others:
        step = level.stride // fine.stride
        part = finest[::step, ::step][: level.size[0], : level.size[1]]
        found = places(unzoom_grid(knots, level, CANVAS)) * level.stride
        seen = found[..., 0] > -1  # what is outside is marked by a number of cells
        np.testing.assert_allclose(found[seen], part[seen], atol=1e-5)


@pytest.mark.parametrize("size", [(9, 14), (1, 14), (9, 1), (1, 1)])
def test_taps_are_bilinear_with_zeros_outside(size: Pair) -> None:
    generator = np.random.default_rng(3)
    cells = generator.uniform(-2, 16, (20, 30, 2))
    cells[0] = np.round(cells[0])
    image = generator.standard_normal((*size, 3))
    index, weights = grid_taps(grid_table(cells, size), size)
    got = (image.reshape(-1, 3)[index] * weights[..., None]).sum(axis=0)
    last = np.maximum(np.array(size[::-1]) - 1, 1)
    grid = np.where(np.array(size[::-1]) > 1, cells / last * 2 - 1, 0.0)
    expected = torch.nn.functional.grid_sample(
        torch.from_numpy(image).permute(2, 0, 1)[None],
        torch.from_numpy(grid)[None],
        align_corners=True,
    )[0]
    np.testing.assert_allclose(got, expected.permute(1, 2, 0), atol=1e-5)


def test_positions_keep_their_digits_in_wide_images() -> None:
    cells = np.full((1, 1, 2), 1919 - 1e-5)
    table = grid_table(cells, (1200, 1920))
    assert abs(places(table) - cells).max() < 1e-7


def test_a_zoom_beyond_the_picture_is_not_covered() -> None:
    zoom = zoom_grid(random_knots(4), (96, 160), CANVAS)
    np.testing.assert_array_equal(coverage(zoom, (96, 160)), [[1.0]])
    covered = coverage(zoom, (90, 160))
    assert covered.shape == CANVAS
    assert covered[0].min() > 0.999
    assert covered[-1].max() < 1e-6


def test_a_zoom_is_stored_by_its_kind() -> None:
    grid = zoom_grid(random_knots(5), (96, 160), CANVAS)
    tables = zoom_tables(np.linspace(-1, 1, 5), np.linspace(-1, 1, 4), (96, 160), CANVAS)
    for zoom in (grid, tables):
        again = stored_zoom(zoom_arrays(zoom))
        assert type(again) is type(zoom)
        for mine, theirs in zip(again, zoom, strict=True):
            np.testing.assert_array_equal(mine, theirs)


def test_unfit_positions_are_refused() -> None:
    for cells in (np.zeros((3, 4)), np.full((3, 4, 2), np.nan)):
        with pytest.raises(LzuError, match=r"positions have shape \(3, 4"):
            grid_table(cells, (9, 9))


def test_the_published_zooms(published_warps: PublishedWarps) -> None:
    """Every seventh row and column of the released code's grids."""
    arrays, settings = published_warps
    cases = [each for each in settings["warps"] if not each["separable"]]
    assert cases
    for case in cases:
        knots = nonseparable_knots(
            arrays[f"{case['name']}/saliency"], case["fwhm"], anti_crop=case["anti_crop"]
        )
        canvas = tuple(case["canvas"])
        cells = places(zoom_grid(knots, canvas, canvas))[::7, ::7]
        grid = cells / (np.array(canvas[::-1]) - 1) * 2 - 1
        assert np.abs(grid - arrays[f"{case['name']}/grid"]).max() < 1e-5  # theirs is float32


def test_the_finest_level_of_a_large_canvas_takes_seconds() -> None:
    """Tiles are tried where they are near: 1500 tiles times 36480 cells would take a minute."""
    knots = random_knots(6, (31, 51), 10)
    table = unzoom_grid(knots, Level(8, (152, 240)), (1200, 1920))
    span = np.array([1919, 1199])
    found = places(table)[::10, ::10]
    seen = found[..., 0] >= 0
    shown = (forward_points(knots, found[seen] * 8 / span * 2 - 1) + 1) / 2 * span
    rows, columns = np.mgrid[:152:10, :240:10] * 8.0
    assert np.abs(shown - np.stack([columns, rows], axis=-1)[seen]).max() < 1e-3
