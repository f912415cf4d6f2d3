"""The warp against vectors made by running the published LZU and FOVEA code."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lzu_export.warp.forward import forward_grid
from lzu_export.warp.geometry import (
    Level,
    level_sizes,
    padded_size,
    published_inverse_grid,
    unzoom_positions,
    zoom_positions,
)
from lzu_export.warp.knots import separable_knots
from lzu_export.warp.saliency import box_marginals, box_saliency, load_saliency, marginals

SCALES = ("0.25", "0.5", "0.75", "1.0")
STRIDES = (8, 16, 32, 64, 128)


def plane(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.stack(np.meshgrid(x, y), axis=-1)


def deviation(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float(np.abs(ours - theirs).max())


class Vectors:
    def __init__(self, path: Path) -> None:
        with np.load(path) as archive:
            self.arrays = dict(archive)
        self.meta: dict[str, Any] = json.loads(str(self.arrays.pop("meta")))

    def __getitem__(self, name: str) -> np.ndarray:
        return self.arrays[name]


@pytest.fixture(scope="module")
def warps(golden: Path) -> Vectors:
    return Vectors(golden / "published_warps.npz")


@pytest.fixture(scope="module")
def nuscenes(golden: Path) -> Vectors:
    return Vectors(golden / "published_nuscenes.npz")


@pytest.fixture(scope="module")
def nuscenes_knots(golden: Path) -> tuple[np.ndarray, np.ndarray]:
    saliency = load_saliency(golden / "nuscenes_saliency_27x48.npy", (27, 48))
    return separable_knots(saliency, 10)


def test_separable_knots_and_forward_grids(warps: Vectors) -> None:
    for case in (case for case in warps.meta["warps"] if case["separable"]):
        name = case["name"]
        x, y = separable_knots(warps[f"{name}/saliency"], case["fwhm"], anti_crop=case["anti_crop"])
        assert deviation(plane(x, y), warps[f"{name}/knots"]) < 2e-6
        grid = forward_grid(x, y, case["canvas"])[::7, ::7]
        assert deviation(grid, warps[f"{name}/grid"]) < 2e-6


def test_separable_inverse_where_the_published_code_wrote(warps: Vectors) -> None:
    for case in (case for case in warps.meta["warps"] if case["separable"]):
        name = case["name"]
        x, y = separable_knots(warps[f"{name}/saliency"], case["fwhm"], anti_crop=case["anti_crop"])
        for height, width in case["levels"]:
            rows, columns = unzoom_positions(
                x, y, Level(8, (height, width)), case["canvas"], geometry="published"
            )
            filled = warps[f"{name}/filled_{height}x{width}"]
            theirs = warps[f"{name}/inverse_{height}x{width}"]
            assert deviation(plane(columns, rows)[filled], theirs[filled]) < 1e-5


def test_box_saliency(warps: Vectors) -> None:
    for case in warps.meta["kde"]:
        name, lattice = case["name"], tuple(case["grid_shape"])
        boxes = warps[f"{name}/boxes"]
        parameters = {"amplitude": case["amplitude"], "bandwidth": case["bandwidth"]}
        saliency = box_saliency(boxes, case["image"], lattice, **parameters)
        # The published code expands the squared distance in float32, which costs it three digits.
        np.testing.assert_allclose(saliency, warps[f"{name}/saliency"], rtol=5e-4)
        assert (
            deviation(plane(*separable_knots(saliency, case["fwhm"])), warps[f"{name}/knots"])
            < 2e-6
        )
        along_x, along_y = box_marginals(boxes, case["image"], lattice, **parameters)
        expected_x, expected_y = marginals(saliency)
        np.testing.assert_allclose(along_x, expected_x, rtol=1e-12)
        np.testing.assert_allclose(along_y, expected_y, rtol=1e-12)


def test_released_nuscenes_knots(
    nuscenes: Vectors, nuscenes_knots: tuple[np.ndarray, np.ndarray]
) -> None:
    assert deviation(plane(*nuscenes_knots), nuscenes["knots"]) < 2e-6


@pytest.mark.parametrize("scale", SCALES)
def test_released_nuscenes_zoom(
    scale: str, nuscenes: Vectors, nuscenes_knots: tuple[np.ndarray, np.ndarray]
) -> None:
    canvas = tuple(nuscenes.meta[scale]["canvas"])
    assert padded_size(canvas) == tuple(nuscenes.meta[scale]["padded"])
    rows, columns = zoom_positions(*nuscenes_knots, canvas)
    assert deviation(plane(columns, rows)[::15, ::15], nuscenes[f"{scale}/forward"]) < 2e-6


@pytest.mark.parametrize("scale", SCALES)
def test_released_nuscenes_unzoom_with_its_lost_bottom_row(
    scale: str, nuscenes: Vectors, nuscenes_knots: tuple[np.ndarray, np.ndarray]
) -> None:
    levels = level_sizes(tuple(nuscenes.meta[scale]["canvas"]), STRIDES)
    assert [list(level.size) for level in levels] == nuscenes.meta[scale]["levels"]
    for level in levels:
        name = "{}x{}".format(*level.size)
        grid = published_inverse_grid(*nuscenes_knots, level, unfilled=("bottom",))
        assert deviation(grid[0, :, 0], nuscenes[f"{scale}/inverse_x_{name}"]) < 1e-5
        middle = grid[:, level.size[1] // 2, 1]
        assert deviation(middle, nuscenes[f"{scale}/inverse_y_{name}"]) < 1e-5
        assert deviation(grid[-1], nuscenes[f"{scale}/last_row_{name}"]) < 1e-5
