"""Levels whose cells lie off the canvas pixels stride * i: their phase in every form of unzoom.

A level that holds where its own cells lie on the zoomed canvas is unzoomed. The forward warp of
what a cell then holds must be the place for which the cell stands, whatever the phase.
"""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lzu_export.warp.forward import forward_at, forward_points
from lzu_export.warp.geometry import Level, level_sizes, unzoom_positions
from lzu_export.warp.grids import grid_taps, unzoom_grid
from lzu_export.warp.knots import nonseparable_knots, separable_knots
from lzu_export.warp.registration import misregistration, source_places
from lzu_export.warp.sampling import axis_weights

CANVAS = (72, 112)
SALIENCY = 0.1 + np.exp(
    -(((np.mgrid[0:9, 0:13][0] - 4) / 2) ** 2) - ((np.mgrid[0:9, 0:13][1] - 7) / 3) ** 2
)
AXES = separable_knots(SALIENCY, 4)
PLANE = nonseparable_knots(SALIENCY, 4)
phases = st.tuples(*[st.floats(-8, 16).map(lambda value: round(value, 3))] * 2)


def with_phase(phase: tuple[float, float], stride: int = 8) -> Level:
    (level,) = level_sizes(CANVAS, [stride])
    return Level(level.stride, level.size, phase)


@settings(max_examples=40)
@given(phase=phases, stride=st.sampled_from([1, 2, 4, 8, 16]), scale=st.sampled_from([1, 2]))
def test_a_separable_unzoom_lands_on_the_label_position(
    phase: tuple[float, float], stride: int, scale: int
) -> None:
    level = with_phase(phase, stride)
    positions = unzoom_positions(*AXES, level, CANVAS, geometry="consistent", scale=scale)
    tried = 0
    for axis, place in enumerate(positions):
        cells, pixels = level.size[axis], CANVAS[axis]
        assert len(place) == scale * cells
        held = stride * np.arange(cells) + phase[axis]
        inside = np.abs(place) <= 1
        zoomed = (axis_weights(place, cells) @ held)[inside]
        source = forward_at(AXES[1 - axis], -1 + 2 * zoomed / (pixels - 1))
        label = (stride * np.arange(scale * cells) / scale + phase[axis])[inside]
        np.testing.assert_allclose((source + 1) / 2 * (pixels - 1), label, atol=1e-6)
        tried += int(inside.sum())
    assert tried > 0


@settings(max_examples=25)
@given(phase=phases, stride=st.sampled_from([2, 4, 8]), scale=st.sampled_from([1, 2]))
def test_an_unzoom_of_the_plane_lands_on_the_label_position(
    phase: tuple[float, float], stride: int, scale: int
) -> None:
    level = with_phase(phase, stride)
    table = unzoom_grid(PLANE, level, CANVAS, scale=scale)
    index, weight = grid_taps(table, level.size)
    rows, columns = (stride * np.arange(n) + at for n, at in zip(level.size, phase, strict=True))
    held = np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 2)
    zoomed = (held[index] * weight[..., None]).sum(0)
    whole = weight.sum(0) > 1 - 1e-6
    assert whole.mean() > 0.2
    span = np.array(CANVAS[::-1]) - 1
    source = (forward_points(PLANE, -1 + 2 * zoomed / span) + 1) / 2 * span
    y, x = (
        stride * np.arange(n * scale) / scale + at for n, at in zip(level.size, phase, strict=True)
    )
    label = np.stack(np.meshgrid(x, y), axis=-1)
    np.testing.assert_allclose(source[whole], label[whole], atol=1e-4)


@pytest.mark.parametrize("phase", [(0.0, 0.0), (3.5, 3.5), (-1.25, 2.0)])
def test_zoom_and_unzoom_of_any_phase_compose_to_the_identity(phase: tuple[float, float]) -> None:
    """Without a phase in the level, the same cells are off by up to the phase's own error."""
    source = tuple(2 * each for each in CANVAS)
    level = with_phase(phase)
    options: Any = {"geometry": "consistent", "frame": "centres"}
    axes = misregistration(*AXES, level, CANVAS, source, **options)
    largest = max(np.nanmax(np.abs(each)) for each in axes)
    # Two frame pixels a canvas pixel; the zoomed canvas is read between its pixels.
    assert largest < 0.25
    if any(phase):
        wrong = unzoom_positions(*AXES, with_phase((0.0, 0.0)), CANVAS, geometry="consistent")
        right = unzoom_positions(*AXES, level, CANVAS, geometry="consistent")
        error = max(np.abs(a - b).max() for a, b in zip(wrong, right, strict=True))
        assert error > 0.01


def test_what_a_cell_stands_for_moves_with_the_phase() -> None:
    source = (143, 223)  # frame pixels are twice canvas pixels, centre on centre
    rows, columns = source_places(with_phase((3.5, 1.0)), CANVAS, source, frame="centres")
    np.testing.assert_allclose(rows, 2 * (8 * np.arange(len(rows)) + 3.5))
    np.testing.assert_allclose(columns, 2 * (8 * np.arange(len(columns)) + 1.0))


@pytest.mark.parametrize("phase", [(0.0, 0.0), (3.5, -2.0), (1.0, 5.0)])
def test_the_identity_samples_every_cell_itself(phase: tuple[float, float]) -> None:
    level = with_phase(phase)
    even = np.linspace(-1, 1, 5)
    for cells, place in zip(
        level.size,
        unzoom_positions(even, even, level, CANVAS, geometry="consistent"),
        strict=True,
    ):
        np.testing.assert_allclose(place, np.linspace(-1, 1, cells), atol=1e-12)
    plane = np.stack(np.meshgrid(even, even), axis=-1)
    table = unzoom_grid(plane, level, CANVAS)
    columns, rows = np.meshgrid(*(np.arange(n) for n in level.size[::-1]))
    found = table.whole + table.fraction
    inside = found[..., 0] > -999  # cells beyond the canvas sample zeros on the plane
    assert inside.mean() > 0.5
    np.testing.assert_allclose(found[inside], np.stack([columns, rows], axis=-1)[inside], atol=1e-5)


def test_the_published_geometry_has_no_phase() -> None:
    for level in (with_phase((0.0, 0.0)), with_phase((3.5, 3.5))):
        rows, columns = unzoom_positions(*AXES, level, CANVAS, geometry="published")
        plain = unzoom_positions(*AXES, with_phase((0.0, 0.0)), CANVAS, geometry="published")
        np.testing.assert_array_equal(rows, plain[0])
        np.testing.assert_array_equal(columns, plain[1])


@pytest.mark.parametrize(
    ("size", "canvas"), [((1, 4), (8, 32)), ((4, 1), (32, 8)), ((4, 4), (1, 32))]
)
def test_axes_of_one_cell_or_pixel_are_not_moved(
    size: tuple[int, int], canvas: tuple[int, int]
) -> None:
    level = Level(8, size, (3.5, 3.5))
    places = unzoom_positions(*AXES, level, canvas, geometry="consistent")
    for place, cells, pixels in zip(places, size, canvas, strict=True):
        if cells == 1:
            assert place.tolist() == [0.0]
        elif pixels == 1:
            np.testing.assert_allclose(place, np.linspace(-1, 1, cells))
    table = unzoom_grid(PLANE, level, canvas)
    assert np.isfinite(table.whole).all()
