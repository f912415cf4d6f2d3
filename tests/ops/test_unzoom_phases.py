"""Unzooms at computed knots take levels of any phase: operator, body, and module of the plane."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import lzu_export.ops.torch_ops  # noqa: F401  registers torch.ops.lzu
from lzu_export.models.grid_warp import GridUnzoom
from lzu_export.ops.separable_unzoom import consistent_affine
from lzu_export.warp.geometry import Level, level_sizes, unzoom_positions
from lzu_export.warp.grids import grid_taps, unzoom_grid
from lzu_export.warp.knots import nonseparable_knots
from lzu_export.warp.sampling import axis_weights
from samples import adaptive_model, random_positions, run_onnx

CANVAS = (48, 80)
phases = st.lists(
    st.tuples(*[st.floats(-4, 8).map(lambda value: round(value, 3))] * 2), min_size=3, max_size=3
)


def levels_at(places: list[tuple[float, float]]) -> list[Level]:
    sizes = level_sizes(CANVAS, (4, 8, 16))
    return [Level(each.stride, each.size, at) for each, at in zip(sizes, places, strict=True)]


def maps_of(levels: list[Level]) -> list[np.ndarray]:
    generator = np.random.default_rng(1)
    return [generator.normal(size=(1, 2, *each.size)).astype(np.float32) for each in levels]


@settings(max_examples=15)
@given(places=phases, seed=st.integers(0, 99))
def test_the_operator_samples_where_the_mathematics_do(
    places: list[tuple[float, float]], seed: int
) -> None:
    generator = np.random.default_rng(seed)
    knots = [random_positions(generator, n, -1, 1)[None].astype(np.float32) for n in (9, 7)]
    levels = levels_at(places)
    maps, affine = maps_of(levels), consistent_affine(levels, CANVAS)
    by_torch = torch.ops.lzu.separable_unzoom(
        [torch.from_numpy(each) for each in maps],
        *[torch.from_numpy(each) for each in knots],
        *affine.values(),
        1,
    )
    names = [f"level_{i}" for i in range(3)]
    inputs = dict(zip([*names, "knots_x", "knots_y"], [*maps, *knots], strict=True))
    outputs = {f"unzoomed_{i}": each.shape for i, each in enumerate(maps)}
    model = adaptive_model("SeparableUnzoom", inputs, outputs, **affine, upscale=1)
    by_body = run_onnx(model, **inputs)
    for i, (level, x) in enumerate(zip(levels, maps, strict=True)):
        rows, columns = unzoom_positions(
            knots[0][0], knots[1][0], level, CANVAS, geometry="consistent"
        )
        a_y, a_x = (axis_weights(p, n) for p, n in zip((rows, columns), level.size, strict=True))
        expected = a_y @ x.astype(np.float64) @ a_x.T
        bound = 2e-4 * np.abs(x).max()
        np.testing.assert_allclose(by_torch[i].numpy(), expected, atol=bound)
        np.testing.assert_allclose(by_body[f"unzoomed_{i}"], expected, atol=bound)


@pytest.mark.parametrize(
    "places",
    [
        [(0.0, 0.0)] * 3,
        [(1.5, 1.5), (3.5, 3.5), (7.5, 7.5)],
        [(1.5, 1.5)] * 3,
        [(0.0, 2.0), (-1.0, 0.5), (0.0, 2.0)],
    ],
)
@pytest.mark.parametrize("upscale", [1, 2])
def test_the_module_of_the_plane_samples_where_the_mathematics_do(
    places: list[tuple[float, float]], upscale: int
) -> None:
    rows, columns = np.mgrid[0:7, 0:11]
    saliency = 0.1 + np.exp(-(((rows - 3) / 1.5) ** 2) - ((columns - 6) / 2) ** 2)
    knots = nonseparable_knots(saliency, 3).astype(np.float32)
    levels = levels_at(places)
    maps = maps_of(levels)
    module = GridUnzoom(levels, CANVAS, upscale=upscale)
    found = module([torch.from_numpy(each) for each in maps], torch.from_numpy(knots)[None])
    for x, got, level in zip(maps, found, levels, strict=True):
        table = unzoom_grid(knots, level, CANVAS, scale=upscale)
        index, weight = grid_taps(table, level.size)
        expected = (x[0].reshape(2, -1)[:, index] * weight).sum(1)
        assert got.shape[2:] == expected.shape[1:]
        away = np.abs(got[0].numpy() - expected).max(0)
        # At the edge of the warp a rounding decides whether a cell samples the map or zeros.
        edge = np.abs(np.abs(table.whole + table.fraction) - 0.0).min(-1) < 1e-3
        edge |= (np.array(level.size[::-1]) - 1 - table.whole - table.fraction).min(-1) < 1e-3
        assert away[~edge].max() < 2e-3 * np.abs(x).max()
        assert (~edge).mean() > 0.5
