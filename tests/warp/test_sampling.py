"""Sampling matrices."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from lzu_export.errors import LzuError
from lzu_export.warp.sampling import antialias_support, axis_weights

positions = arrays.arrays(np.float64, st.integers(1, 12), elements=st.floats(-1.6, 1.6))


@settings(max_examples=60, deadline=None)
@given(rows=positions, columns=positions, size=st.tuples(st.integers(1, 9), st.integers(1, 9)))
def test_two_matrices_are_grid_sample(
    rows: np.ndarray, columns: np.ndarray, size: tuple[int, int]
) -> None:
    torch = pytest.importorskip("torch")
    image = np.random.default_rng(0).standard_normal(size)
    ours = axis_weights(rows, size[0]) @ image @ axis_weights(columns, size[1]).T
    grid = torch.from_numpy(np.stack(np.meshgrid(columns, rows), -1))[None]
    theirs = torch.nn.functional.grid_sample(
        torch.from_numpy(image)[None, None], grid, align_corners=True, padding_mode="zeros"
    )
    np.testing.assert_allclose(ours, theirs[0, 0].numpy(), atol=1e-12)


@given(positions=positions, n=st.integers(1, 40))
def test_no_weight_is_negative_and_no_row_exceeds_one(positions: np.ndarray, n: int) -> None:
    for support in (1.0, 2.7, antialias_support(positions, n)):
        weights = axis_weights(positions, n, support=support)
        assert weights.shape == (len(positions), n)
        assert (weights >= 0).all()
        assert (weights.sum(axis=1) <= 1 + 1e-12).all()


@given(
    positions=arrays.arrays(np.float64, 9, elements=st.floats(-1, 1)),
    support=arrays.arrays(np.float64, 9, elements=st.floats(1, 30)),
    n=st.integers(1, 40),
)
def test_rows_inside_sum_to_one(positions: np.ndarray, support: np.ndarray, n: int) -> None:
    weights = axis_weights(positions, n, support=support)
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-9)


def test_antialias_averages_what_it_shrinks() -> None:
    positions = np.linspace(-1, 1, 25)
    support = antialias_support(positions, 97)
    np.testing.assert_allclose(support, 4.0)
    stripes = np.tile([0.0, 1.0], 49)[:97]
    smooth = axis_weights(positions, 97, support=support) @ stripes
    np.testing.assert_allclose(smooth[1:-1], 0.5, atol=1e-9)
    np.testing.assert_allclose(axis_weights(positions, 97) @ stripes, 0.0, atol=1e-9)


def test_antialias_leaves_magnification_bilinear() -> None:
    np.testing.assert_array_equal(antialias_support(np.linspace(-1, 1, 50), 20), 1.0)
    np.testing.assert_array_equal(antialias_support([0.3], 20), 1.0)


def test_wide_rows_fade_outside() -> None:
    weights = axis_weights([1.0, 1.1, 1.3, 3.0], 41, support=8.0).sum(axis=1)
    assert weights[0] == pytest.approx(1)
    assert (np.diff(weights) < 0).all()
    assert weights[-1] == 0


def test_gain_scales_rows() -> None:
    np.testing.assert_allclose(
        axis_weights([0.0, 0.5], 5, gain=[1.0, 0.25]).sum(axis=1), [1.0, 0.25]
    )


def test_bad_input_is_refused_by_name() -> None:
    with pytest.raises(LzuError, match=r"support is 0.5 pixels"):
        axis_weights([0.0], 5, support=0.5)
    with pytest.raises(LzuError, match="positions have shape"):
        axis_weights([[0.0]], 5)
    with pytest.raises(LzuError, match="positions"):
        axis_weights([np.nan], 5)
    with pytest.raises(LzuError, match="axis of 0 pixels"):
        axis_weights([0.0], 0)
