"""From a recipe's warp settings to its tables; its saliency is in test_saliency_sources.py."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lzu_export.errors import LzuError
from lzu_export.recipes import Recipe
from lzu_export.tasks.warps import SOURCES, KnotSource, make_warp, stored_warp, warp_source
from lzu_export.warp.families import gaze_knots
from lzu_export.warp.saliency import Array
from lzu_export.warp.tables import is_bilinear, table_matrix, table_pixels
from lzu_export.warp.warp import Knots
from samples import registered, tiny_recipe


def test_uniform_is_the_identity_without_an_unzoom(tmp_path: Path) -> None:
    warp = make_warp(tiny_recipe(tmp_path, variant="uniform", scale=1.0, warp={"saliency": None}))
    assert warp.unzoom is None
    np.testing.assert_allclose(table_matrix(warp.zoom.rows, 96), np.eye(96), atol=1e-5)
    np.testing.assert_allclose(table_matrix(warp.zoom.cols, 160), np.eye(160), atol=1e-5)


def test_fixed_has_an_unzoom_for_every_level(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path)
    warp = make_warp(recipe)
    assert warp.unzoom is not None
    sizes = [[(p.rows.shape[1], p.cols.shape[1]) for p in level] for level in warp.unzoom]
    assert sizes == [[level.size] for level in recipe.levels]
    assert (warp.zoom.rows.shape[1], warp.zoom.cols.shape[1]) == recipe.canvas
    assert (warp.knots_y.shape, warp.knots_x.shape) == ((7,), (11,))
    assert np.abs(np.diff(table_pixels(warp.zoom.rows), 2)).max() > 0.01  # it does warp


def test_zoom_and_unzoom_of_the_consistent_geometry_undo_each_other(tmp_path: Path) -> None:
    """Cell i of a level stands at canvas pixel stride * i and returns to where it came from."""
    recipe = tiny_recipe(tmp_path, source=[480, 800])
    warp = make_warp(recipe)
    assert warp.unzoom is not None
    stride = recipe.levels[0].stride
    canvas_rows = table_pixels(warp.unzoom[0][0].rows) * stride
    source_rows = np.interp(canvas_rows, np.arange(recipe.canvas[0]), table_pixels(warp.zoom.rows))
    cells = np.arange(len(canvas_rows)) * stride
    inside = cells < recipe.canvas[0]
    straight = cells * (recipe.source[0] - 1) / (recipe.canvas[0] - 1)
    assert np.abs(source_rows - straight)[inside].max() < 0.02 * stride


def test_an_external_warp_begins_with_a_file_s_knots_or_the_identity(tmp_path: Path) -> None:
    """The fixed saliency of the recipe does not matter, and no unzoom is written into the graph."""
    begin = make_warp(recipe := tiny_recipe(tmp_path, variant="external"))
    assert begin.unzoom is None
    np.testing.assert_allclose(begin.knots_x, np.linspace(-1, 1, 11), atol=1e-12)
    assert warp_source(recipe) == "knots of the host, at first even"
    knots = gaze_knots((40, 40), (96, 160), lattice=(7, 11))
    arrays: dict[str, Any] = dict(knots)
    np.savez(tmp_path / "mine.npz", **arrays)
    of_file = {"knots": str(tmp_path / "mine.npz")}
    warp = make_warp(recipe := tiny_recipe(tmp_path, variant="external", warp=of_file))
    np.testing.assert_array_equal(warp.knots_y, knots["knots_y"])
    assert warp_source(recipe) == "knots of the host, at first mine.npz"
    other = tiny_recipe(tmp_path, variant="external", warp={**of_file, "lattice": [9, 11]})
    with pytest.raises(LzuError, match=r"7x11 knots but warp.lattice is 9x11; set .* \[7, 11\]"):
        make_warp(other)


def test_antialiased_widens_the_zoom_only(tmp_path: Path) -> None:
    warp = make_warp(tiny_recipe(tmp_path, sampler="antialiased", scale=0.25))
    assert not is_bilinear(warp.zoom.rows)
    assert warp.unzoom is not None
    assert all(is_bilinear(table) for level in warp.unzoom for pair in level for table in pair)


def test_a_stored_warp_comes_back_whole(tmp_path: Path) -> None:
    settings = {"geometry": "published", "unfilled": ["bottom", "right"]}
    warp = make_warp(tiny_recipe(tmp_path, warp=settings))
    np.savez_compressed(tmp_path / "warp.npz", **warp.arrays())
    with np.load(tmp_path / "warp.npz") as stored:
        again = stored_warp(dict(stored))
    assert again.unzoom is not None
    assert warp.unzoom is not None
    assert [len(level) for level in again.unzoom] == [len(level) for level in warp.unzoom]
    assert max(len(level) for level in warp.unzoom) > 1
    assert again.arrays().keys() == warp.arrays().keys()
    for name, array in warp.arrays().items():
        np.testing.assert_array_equal(again.arrays()[name], array)
    uniform = make_warp(tiny_recipe(tmp_path, variant="uniform"))
    assert stored_warp(uniform.arrays()).unzoom is None


def test_levels_beyond_nine_keep_their_order() -> None:
    table = np.zeros((4, 1), np.float32)
    arrays: dict[str, Any] = dict.fromkeys(
        ("saliency", "knots_x", "knots_y", "zoom_rows", "zoom_cols"), table
    )
    for level in range(11):
        arrays[f"unzoom_{level}_0_rows"] = arrays[f"unzoom_{level}_0_cols"] = table + level
    unzoom = stored_warp(arrays).unzoom
    assert unzoom is not None
    assert [level[0].rows[0, 0] for level in unzoom] == list(range(11))


def test_the_source_of_a_warp_is_told_in_words(tmp_path: Path) -> None:
    told = {
        "saliency saliency.npy": {},
        "nothing: every place alike": {"variant": "uniform"},
        "boxes of the frame before": {"variant": "adaptive"},
        "boxes of the frame before (share 0.5) and saliency saliency.npy": {
            "variant": "adaptive",
            "warp": {"mix": 0.5},
        },
    }
    for words, changes in told.items():
        assert warp_source(tiny_recipe(tmp_path, **changes)) == words


def test_boxes_are_scaled_by_the_convention_of_the_sampler(tmp_path: Path) -> None:
    assert tiny_recipe(tmp_path).canvas_step == (95 / 47, 159 / 79)
    published = tiny_recipe(tmp_path, warp={"geometry": "published", "unfilled": []})
    assert published.canvas_step == (2, 2)
    opencv = {"variant": "uniform", "input": "zoomed", "sampler": "opencv"}
    assert tiny_recipe(tmp_path, **opencv).canvas_step == (2, 2)


def test_nothing_is_lost_where_nothing_is_warped(tmp_path: Path) -> None:
    """Only the fixed warp has the edges that the training code left unfilled."""
    warp = {"geometry": "published", "unfilled": ["bottom"]}
    filled = {}
    for variant in ("uniform", "fixed"):
        unzoom = make_warp(tiny_recipe(tmp_path, "seg", variant=variant, warp=warp)).unzoom
        assert unzoom is not None
        gains = [pair.rows[3] for pair in unzoom[0]]
        filled[variant] = bool(gains[0][-1])
    assert filled == {"uniform": True, "fixed": False}


class Crop(KnotSource):
    """A static crop: linear knots over a window, without a saliency."""

    key = "variant"
    window = (0.25, 0.75, 0.0, 0.5)
    """left, right, top and bottom, in shares of the picture."""

    def applies(self, recipe: Recipe) -> bool:
        """It takes whatever comes."""
        return True

    def saliency(self, recipe: Recipe) -> Array:
        """It has none; any that is not constant stands for it."""
        return np.linspace(1, 2, recipe.warp.lattice[0] * recipe.warp.lattice[1]).reshape(
            recipe.warp.lattice
        )

    def knots(self, recipe: Recipe, saliency: Array) -> Knots:
        """Evenly spaced over the window."""
        height, width = recipe.warp.lattice
        left, right, top, bottom = (2 * each - 1 for each in self.window)
        return {
            "knots_x": np.linspace(left, right, width),
            "knots_y": np.linspace(top, bottom, height),
        }

    def describe(self, recipe: Recipe) -> str:
        """For the manifest."""
        return "crop"


@registered(SOURCES, "crop", Crop())
def test_a_new_source_is_a_class_and_one_line(tmp_path: Path) -> None:
    """The tables of the zoom and the unzoom follow from the new source's knots."""
    recipe = tiny_recipe(tmp_path, scale=0.5)
    warp = make_warp(recipe)
    assert warp_source(recipe) == "crop"
    height, width = recipe.source
    columns, rows = table_pixels(warp.zoom.cols), table_pixels(warp.zoom.rows)
    np.testing.assert_allclose(columns[[0, -1]], np.array([0.25, 0.75]) * (width - 1), atol=1e-4)
    np.testing.assert_allclose(rows[[0, -1]], np.array([0.0, 0.5]) * (height - 1), atol=1e-4)
    assert warp.unzoom is not None
    assert len(warp.unzoom) == len(recipe.levels)
    cells = table_pixels(warp.unzoom[0][0].cols)
    # A window of half the width spreads the cells: twice as far apart as those of the canvas.
    np.testing.assert_allclose(np.diff(cells), 2, rtol=1e-3)
