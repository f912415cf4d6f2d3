"""Anchor boxes."""

import numpy as np
import pytest

from lzu_export.errors import LzuError
from lzu_export.recipes.networks import AnchorSpec
from lzu_export.warp.anchors import base_anchors, grid_anchors


def test_base_anchors_have_the_stated_areas_and_ratios_scales_fastest() -> None:
    spec = AnchorSpec()
    anchors = base_anchors(8, spec).astype(np.float64)
    width, height = (anchors[:, 2:] - anchors[:, :2]).T
    scales = 4 * 2 ** (np.arange(3) / 3)
    np.testing.assert_allclose(height / width, np.repeat([0.5, 1, 2], 3), rtol=1e-6)
    np.testing.assert_allclose(np.sqrt(width * height), 8 * np.tile(scales, 3), rtol=1e-6)
    np.testing.assert_array_equal(anchors[:, :2], -anchors[:, 2:])
    np.testing.assert_array_equal(anchors[3], [-16, -16, 16, 16])


def test_grid_runs_over_anchors_then_columns_then_rows() -> None:
    spec = AnchorSpec(strides=(4, 8), scales_per_octave=2, ratios=(1.0,))
    fine, coarse = grid_anchors([(3, 5), (2, 3)], spec.strides, spec)
    assert fine.shape == (3 * 5 * 2, 4)
    assert fine.dtype == coarse.dtype == np.float32
    centres = (fine.reshape(3, 5, 2, 4)[..., :2] + fine.reshape(3, 5, 2, 4)[..., 2:]) / 2
    np.testing.assert_allclose(centres[2, 4], [[16, 8], [16, 8]])
    np.testing.assert_array_equal(coarse[:2], base_anchors(8, spec))


def test_sizes_and_strides_must_pair_up() -> None:
    with pytest.raises(LzuError, match="one stride per level"):
        grid_anchors([(3, 5)], (4, 8), AnchorSpec())
