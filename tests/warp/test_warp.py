"""Tables follow from knots and a geometry alone, whichever kind of knots."""

import numpy as np
import pytest

from lzu_export.warp.geometry import Level
from lzu_export.warp.grids import GridTable
from lzu_export.warp.tables import TablePair
from lzu_export.warp.warp import Warp, WarpGeometry, saliency_knots
from samples import loaded_by

GEOMETRY = WarpGeometry(picture=(96, 160), canvas=(48, 80), levels=[Level(8, (6, 10))])
SALIENCY = 1 + np.random.default_rng(0).random((7, 11))


@pytest.mark.parametrize("separable", [True, False])
def test_both_kinds_are_stored_and_read(separable: bool) -> None:
    knots = saliency_knots(SALIENCY, 5.0, separable=separable)
    warp = Warp.of(knots, GEOMETRY, SALIENCY)
    assert isinstance(warp.zoom, TablePair if separable else GridTable)
    assert [len(parts) for parts in warp.unzoom or ()] == [1]
    arrays = warp.arrays()
    again = Warp.from_arrays(arrays).arrays()
    assert again.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(again[name], array)


def test_without_levels_there_is_no_unzoom() -> None:
    geometry = WarpGeometry(picture=(96, 160), canvas=(48, 80))
    warp = Warp.of(saliency_knots(SALIENCY, 5.0), geometry, SALIENCY)
    assert warp.unzoom is None
    assert (warp.knots_x.shape, warp.knots_y.shape) == ((11,), (7,))


def test_a_warp_needs_neither_recipes_nor_torch() -> None:
    others = ("torch", "onnx", "lzu_export.recipes", "lzu_export.inputs")
    assert loaded_by("lzu_export.warp.warp", others) == []
