"""Streaming histograms: pieces and their order do not matter, nothing is lost or made up."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lzu_calibration.histogram import BINS, Histogram, NotFinite

values = hnp.arrays(
    np.float32,
    st.integers(1, 40),
    elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
)


def counted(*arrays: np.ndarray) -> Histogram:
    histogram = Histogram()
    for each in arrays:
        histogram.add(each)
    return histogram


def same(a: Histogram, b: Histogram) -> bool:
    return ((a.limit, a.largest, a.zeros) == (b.limit, b.largest, b.zeros)) and np.array_equal(
        a.counts, b.counts
    )


@settings(deadline=None)
@given(st.lists(values, min_size=1, max_size=5), st.randoms())
def test_neither_pieces_nor_their_order_matter(arrays: list[np.ndarray], random: object) -> None:
    """Widening by merging bins gives what counting all at once gives, to the last value."""
    whole = counted(np.concatenate(arrays))
    assert same(counted(*arrays), whole)
    random.shuffle(arrays)  # type: ignore[attr-defined]
    assert same(counted(*arrays), whole)


@settings(deadline=None)
@given(st.lists(st.lists(values, max_size=3), max_size=4), st.randoms())
def test_histograms_merge_to_that_of_all_values(
    parts: list[list[np.ndarray]], random: object
) -> None:
    """In any order, also of parts with nothing or zeros alone, and after they were stored."""
    whole = counted(*(array for part in parts for array in part))
    random.shuffle(parts)  # type: ignore[attr-defined]
    merged = Histogram()
    for part in parts:
        merged.merge(Histogram.of(counted(*part).state()))
    assert same(merged, whole)


def test_histograms_that_only_saw_values_merge_too() -> None:
    first, second = Histogram(), Histogram()
    first.see(np.array([1.0, -3.0]))
    second.see(np.array([2.0]))
    second.merge(Histogram.of(first.state()))
    assert (second.largest, second.limit, second.total) == (3.0, 0.0, 0)


@settings(deadline=None)
@given(values)
def test_every_value_is_in_its_bin(array: np.ndarray) -> None:
    """As numpy.histogram counts in float64; zeros apart."""
    histogram = counted(array)
    magnitudes = np.abs(array.astype(np.float64))
    assert histogram.total == array.size
    assert histogram.zeros == int((array == 0).sum())
    assert histogram.largest == magnitudes.max()
    if histogram.largest:
        assert histogram.limit > histogram.largest
        direct, _ = np.histogram(magnitudes[magnitudes > 0], BINS, (0, histogram.limit))
        np.testing.assert_array_equal(histogram.counts, direct)


def test_at_least_half_of_the_bins_are_in_use() -> None:
    """Whatever the scale of the values."""
    for largest in (1e-20, 0.3, 0.5, 1.0, 1.9, 3e38):
        histogram = counted(np.array([largest], np.float32))
        (used,) = np.flatnonzero(histogram.counts)
        assert used >= BINS // 2


def test_a_large_tensor_is_counted_in_pieces() -> None:
    """Of any shape, memory order and floating-point type."""
    generator = np.random.default_rng(0)
    tensor = generator.standard_normal((1, 8, 130, 150)).astype(np.float32)
    assert same(counted(tensor), counted(*tensor[0]))
    assert same(counted(tensor.transpose(0, 3, 1, 2)), counted(tensor))
    assert same(counted(tensor.astype(np.float64)), counted(tensor))
    half = tensor.astype(np.float16)
    assert same(counted(half), counted(half.astype(np.float32)))
    assert counted(np.zeros((0, 3), np.float32)).total == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused(bad: float) -> None:
    """Before anything of that array is counted."""
    histogram = counted(np.ones(3, np.float32))
    with pytest.raises(NotFinite, match="NaN" if np.isnan(bad) else "infinity"):
        histogram.add(np.array([1, bad, 2], np.float32))
    assert histogram.total == 3
