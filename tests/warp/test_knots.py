"""Knots of the LZ warp: monotone, anchored, and equal to the sums they are defined by."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from lzu_export.errors import LzuError
from lzu_export.warp.knots import (
    axis_knots,
    nonseparable_knots,
    separable_knots,
    separable_knots_from_marginals,
)
from lzu_export.warp.saliency import marginals, uniform_saliency

lattices = st.tuples(st.integers(2, 12), st.integers(2, 12))
saliencies = arrays.arrays(np.float64, lattices, elements=st.floats(1e-3, 1e3))
any_positive = st.floats(0, exclude_min=True, allow_infinity=False)
widths = st.floats(0.5, 20.0)


def knots_by_definition(saliency: np.ndarray, fwhm: float, mode: str) -> np.ndarray:
    """LZU eqs. (1) and (2), summed point by point over the padded lattice: (h, w, 2)."""
    height, width = saliency.shape
    pad = min(height, width) - 1
    padded = np.pad(saliency, pad, mode=mode)
    y, x = np.mgrid[-pad : height + pad, -pad : width + pad]
    result = np.empty((height, width, 2))
    for i, j in np.ndindex(height, width):
        square = (y - i) ** 2 + (x - j) ** 2
        kernel = np.exp(-4 * math.log(2) * square / fwhm**2)
        kernel[(abs(y - i) > pad) | (abs(x - j) > pad)] = 0
        weight = padded * kernel
        result[i, j, 0] = (weight * x).sum() / weight.sum() / (width - 1)
        result[i, j, 1] = (weight * y).sum() / weight.sum() / (height - 1)
    return np.clip(2 * result - 1, -1, 1)


@settings(max_examples=40, deadline=None)
@given(saliency=saliencies, fwhm=widths)
def test_nonseparable_knots_are_the_defining_sums(saliency: np.ndarray, fwhm: float) -> None:
    ours = nonseparable_knots(saliency, fwhm)
    np.testing.assert_allclose(ours, knots_by_definition(saliency, fwhm, "reflect"), atol=1e-12)


def test_plain_knots_are_the_defining_sums() -> None:
    saliency = np.random.default_rng(0).uniform(1, 1.2, (9, 11))
    ours = nonseparable_knots(saliency, 3, anti_crop=False)
    np.testing.assert_allclose(ours, knots_by_definition(saliency, 3, "edge"), atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(
    marginals=st.tuples(
        arrays.arrays(np.float64, 7, elements=st.floats(0.1, 10)),
        arrays.arrays(np.float64, 9, elements=st.floats(0.1, 10)),
    ),
    fwhm=widths,
)
def test_both_kinds_agree_on_a_product_saliency(
    marginals: tuple[np.ndarray, np.ndarray], fwhm: float
) -> None:
    s_y, s_x = marginals
    knots_x, knots_y = separable_knots_from_marginals(s_x, s_y, fwhm)
    plane = nonseparable_knots(s_y[:, None] * s_x, fwhm)
    np.testing.assert_allclose(plane, np.stack(np.meshgrid(knots_x, knots_y), -1), atol=1e-12)


@settings(deadline=None)
@given(saliency=saliencies, fwhm=widths)
def test_anti_crop_knots_increase_between_exact_ends(saliency: np.ndarray, fwhm: float) -> None:
    for knots in separable_knots(saliency, fwhm):
        assert knots[0] == -1.0
        assert knots[-1] == 1.0
        assert (np.diff(knots) > 0).all()
    plane = nonseparable_knots(saliency, fwhm)
    assert (plane[:, 0, 0] == -1).all()
    assert (plane[:, -1, 0] == 1).all()
    assert (plane[0, :, 1] == -1).all()
    assert (plane[-1, :, 1] == 1).all()


@settings(deadline=None)
@given(
    saliency=arrays.arrays(np.float64, lattices, elements=any_positive),
    fwhm=st.floats(1e-3, 1e3),
    anti_crop=st.booleans(),
)
def test_any_positive_saliency_gives_knots_or_is_refused_but_never_nan(
    saliency: np.ndarray, fwhm: float, anti_crop: bool
) -> None:
    with np.errstate(all="ignore"):
        for function in (separable_knots, nonseparable_knots):
            knots = outcome(function, saliency, fwhm, anti_crop)
            if isinstance(knots, str):
                assert "increase strictly" in knots or "infinite" in knots
                continue
            for values in knots:
                assert np.isfinite(values).all()
                assert (np.abs(values) <= 1).all()


def outcome(
    function: Callable[..., Any], saliency: np.ndarray, fwhm: float, anti_crop: bool
) -> Any:
    try:
        return function(saliency, fwhm, anti_crop=anti_crop)
    except LzuError as error:
        return str(error)


@given(factor=st.floats(1e-200, 1e200))
def test_only_ratios_of_saliency_count(factor: float) -> None:
    saliency = np.array([0.3, 1.0, 0.2, 0.9, 0.5])
    np.testing.assert_allclose(
        axis_knots(factor * saliency, 2.0), axis_knots(saliency, 2.0), atol=1e-13
    )


@pytest.mark.parametrize("lattice", [(2, 2), (5, 9), (31, 51)])
def test_uniform_saliency_gives_the_identity(lattice: tuple[int, int]) -> None:
    knots_x, knots_y = separable_knots(uniform_saliency(lattice), 10)
    np.testing.assert_allclose(knots_x, np.linspace(-1, 1, lattice[1]), atol=1e-14)
    np.testing.assert_allclose(knots_y, np.linspace(-1, 1, lattice[0]), atol=1e-14)


def test_knots_gather_where_saliency_is_high() -> None:
    saliency = np.ones(21)
    saliency[14] = 10.0
    gaps = np.diff(axis_knots(saliency, 5.0))
    assert gaps[13:15].max() < 0.8 * gaps.mean()


def test_marginals_sum_over_rows_and_columns() -> None:
    s_x, s_y = marginals([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    np.testing.assert_array_equal(s_x, [5, 7, 9])
    np.testing.assert_array_equal(s_y, [6, 15])


def test_merged_knots_are_refused_with_a_remedy() -> None:
    saliency = np.full(31, 1e-300)
    saliency[14] = 1.0
    with pytest.raises(LzuError, match=r"knots do not increase strictly.*flatten the saliency"):
        axis_knots(saliency, 4.0)
    edge = np.array([1e6, 1, 1, 1, 1, 1, 1, 1, 1e6])
    with pytest.raises(LzuError, match=r"plain LZ crops and merges.*anti_crop"):
        axis_knots(edge, 9.0, anti_crop=False)


@pytest.mark.parametrize(
    ("marginal", "options", "message"),
    [
        (np.ones((3, 3)), {}, "marginal has shape"),
        (np.array([1.0, 0.0, 1.0]), {}, "not above zero"),
        (np.array([1.0, np.nan, 1.0]), {}, "NaN"),
        (np.ones(3), {"fwhm": 0.0}, "fwhm is 0.0"),
        (np.ones(3), {"fwhm": np.nan}, "fwhm is nan"),
        (np.ones(3), {"pad": 3}, "pad is 3"),
    ],
)
def test_bad_input_is_refused_by_name(marginal: np.ndarray, options: dict, message: str) -> None:
    with pytest.raises(LzuError, match=message):
        axis_knots(marginal, **{"fwhm": 2.0, **options})
