"""The map's numbers are those of the warp, and its colours those of its scale."""

import numpy as np
import pytest

from lzu_export.preview.magnification_map import STOPS, magnification_map, scale_colours

VIEW = (181, 321)


def grid(power: float = 1.0) -> np.ndarray:
    """A canvas half as large; columns are sampled densely in the middle for a power above 1."""
    steps = np.linspace(-1, 1, 161)
    x = (np.sign(steps) * np.abs(steps) ** power + 1) / 2 * (VIEW[1] - 1)
    y = np.linspace(0, VIEW[0] - 1, 91)
    return np.stack(np.meshgrid(x, y), axis=-1)


def test_the_uniform_canvas_magnifies_nothing() -> None:
    frame = np.full((*VIEW, 3), 90, np.uint8)
    found = magnification_map(frame, grid(), VIEW)
    assert found.smallest == pytest.approx(1.0)
    assert found.largest == pytest.approx(1.0)
    assert found.end == 2.0
    assert found.picture.shape == frame.shape
    assert np.unique(found.picture.reshape(-1, 3), axis=0).shape[0] == 1  # one colour


def test_what_is_dense_is_red_and_what_is_sparse_blue() -> None:
    frame = np.full((*VIEW, 3), 90, np.uint8)
    found = magnification_map(frame, grid(1.5), VIEW)
    # Along x the outermost cell spans (1 - (1 - 2 / 80) ** 1.5) / (2 / 80) of a uniform one.
    outer = (1 - (1 - 2 / 80) ** 1.5) / (2 / 80)
    assert found.smallest == pytest.approx(outer**-0.5, rel=1e-6)
    assert found.largest > 1.5
    blue, _, red = found.picture[90, 160].astype(int)
    assert red > blue
    blue, _, red = found.picture[90, 3].astype(int)
    assert blue > red


def test_the_scale_is_logarithmic_and_ends_in_its_own_colours() -> None:
    found = scale_colours(np.array([1 / 3, 1.0, 3.0, 9.0]), 3.0)
    stops = [[int(each[i : i + 2], 16) for i in (5, 3, 1)] for each in STOPS]
    np.testing.assert_array_equal(found[0], stops[0])
    np.testing.assert_array_equal(found[1], stops[2])
    np.testing.assert_array_equal(found[2], stops[-1])
    np.testing.assert_array_equal(found[3], stops[-1])  # beyond the end
