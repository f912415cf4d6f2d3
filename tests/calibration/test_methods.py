"""Limits of distributions whose best ones are known, and of degenerate tensors."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lzu_calibration import METHODS, Histogram, limit_of
from lzu_calibration.errors import CalibrationError
from lzu_calibration.methods import LIMIT_OF_ZEROS

N = 400_000
DRAWS = {
    "gauss": lambda generator, n: generator.standard_normal(n),
    "laplace": lambda generator, n: generator.laplace(size=n),
    "uniform": lambda generator, n: generator.uniform(-1, 1, n),
    "relu": lambda generator, n: np.maximum(generator.standard_normal(n), 0),
    "lognormal": lambda generator, n: generator.lognormal(size=n),
}


def draw(kind: str, seed: int = 0, n: int = N, scale: float = 1.0) -> np.ndarray:
    return (scale * DRAWS[kind](np.random.default_rng(seed), n)).astype(np.float32)


def limit(values: np.ndarray, method: str, percentile: float = 99.99) -> float:
    histogram = Histogram()
    histogram.add(np.asarray(values, np.float32))
    return limit_of(histogram, method, percentile)


def squared_error(values: np.ndarray, limit: float) -> float:
    exact = values.astype(np.float64)
    step = limit / 127
    return float(np.mean((np.clip(np.round(exact / step), -127, 127) * step - exact) ** 2))


kinds = st.sampled_from(sorted(DRAWS))
scales = st.floats(1e-4, 1e4)


@settings(max_examples=25, deadline=None)
@given(kinds, st.integers(0, 1000), scales, st.integers(3, 20_000))
def test_limits_are_positive_and_within_the_values(
    kind: str, seed: int, scale: float, n: int
) -> None:
    """And the largest magnitude is exactly the one of `max`."""
    values = draw(kind, seed, n, scale)
    largest = float(np.abs(values).max())
    for method in METHODS:
        assert 0 < limit(values, method) <= largest or largest == 0
    assert limit(values, "max") == (largest or LIMIT_OF_ZEROS)


@settings(max_examples=25, deadline=None)
@given(kinds, st.integers(0, 1000), scales, st.floats(50, 100))
def test_percentiles_are_within_a_bin_of_the_exact_ones(
    kind: str, seed: int, scale: float, percentile: float
) -> None:
    """Zeros included, as long as the percentile is not one of them."""
    values = draw(kind, seed, 20_000, scale)
    histogram = Histogram()
    histogram.add(values)
    magnitudes = np.abs(values)
    # Between two ranks any value is the percentile.
    low = np.percentile(magnitudes, percentile, method="lower")
    high = np.percentile(magnitudes, percentile, method="higher")
    if low > 0:
        found = limit_of(histogram, "percentile", percentile)
        assert low - histogram.width <= found <= high + histogram.width


@settings(max_examples=25, deadline=None)
@given(kinds, st.integers(0, 1000), scales)
def test_mse_is_no_worse_than_any_other_limit(kind: str, seed: int, scale: float) -> None:
    """On the samples themselves, the maximum included, up to the luck of how so few are rounded."""
    values = draw(kind, seed, 50_000, scale)
    error = squared_error(values, limit(values, "mse"))
    largest = float(np.abs(values).max())
    for other in (1, 0.9, 0.7, 0.5, 0.3, 0.2):
        assert error <= 1.05 * squared_error(values, other * largest)


def test_the_best_limit_of_a_gaussian_is_known() -> None:
    """INT8's least squared error clips at 3.92 sigma, Laplace's at 9.9 b (ACIQ: 3.92, 9.89)."""
    assert limit(draw("gauss", n=4_000_000), "mse") == pytest.approx(3.92, rel=0.03)
    assert limit(draw("laplace", n=4_000_000), "mse") == pytest.approx(9.89, rel=0.03)


@pytest.mark.parametrize(("kind", "low", "high"), [("gauss", 3.2, 5.5), ("laplace", 6, 14)])
def test_entropy_clips_tails_but_not_much(kind: str, low: float, high: float) -> None:
    """In units of sigma and b."""
    assert low < limit(draw(kind), "entropy") < high


def divergence(counts: np.ndarray, end: int) -> float:
    """Of the first `end` bins from their 128 levels, bin by bin."""
    p = counts[:end].copy()
    p[-1] += counts[end:].sum()
    starts = np.arange(128) * end // 128
    sizes = np.diff([*starts, end])
    mass = np.add.reduceat(counts[:end], starts)
    if mass[-1] == 0 and counts[end:].sum() > 0:
        mass[-1] = 1e-4
    filled = np.add.reduceat((p > 0).astype(float), starts)
    q = np.repeat(mass / np.maximum(filled, 1), sizes)
    some = p > 0
    p, q = p / p.sum(), q / counts[:end].sum()
    return float((p[some] * np.log(p[some] / q[some])).sum())


@pytest.mark.parametrize("kind", ["relu", "lognormal"])
def test_entropy_is_the_divergence_by_its_definition(kind: str) -> None:
    """Least over all candidates; the running sums only make it quick."""
    histogram = Histogram()
    histogram.add(draw(kind, n=30_000))
    counts = histogram.counts.astype(float)
    counts[0] = min(counts[0], counts[1])
    ends = range(128, int(np.flatnonzero(counts)[-1]) + 2)
    best = min(ends, key=lambda end: (round(divergence(counts, end), 12), -end))
    expected = min(best * histogram.width, histogram.largest)
    assert limit_of(histogram, "entropy") == pytest.approx(expected)


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_zeros_of_a_relu_do_not_fool_entropy_and_mse(share: float) -> None:
    """They change nothing, however many: the rest decides."""
    values = np.abs(draw("gauss"))
    zeros = np.zeros(round(N * share / (1 - share)), np.float32)
    for method in ("entropy", "mse"):
        assert limit(np.concatenate([values, zeros]), method) == limit(values, method)


def test_a_peak_near_zero_does_not_fool_entropy() -> None:
    """Values that are not quite zero, ten times as many as the others."""
    values = np.concatenate([draw("gauss"), 1e-4 * draw("gauss", 1, 10 * N)])
    assert limit(values, "entropy") > 3.2


@pytest.mark.parametrize("outlier", [100.0, 1000.0])
def test_one_outlier_is_clipped(outlier: float) -> None:
    """By entropy as far as it searches, to 1/32; the squared error of a far one weighs more."""
    values = np.append(draw("gauss"), np.float32(outlier))
    assert limit(values, "max") == outlier
    assert limit(values, "percentile") == pytest.approx(3.9, rel=0.05)
    assert 3 < limit(values, "entropy") < outlier / 16
    assert squared_error(values, limit(values, "mse")) < squared_error(values, outlier / 16)


def test_a_uniform_tensor_is_not_clipped() -> None:
    """There is nothing to win."""
    for method in ("max", "entropy", "mse"):
        assert limit(draw("uniform"), method) > 0.99


@pytest.mark.parametrize("method", METHODS)
def test_degenerate_tensors_have_a_limit(method: str) -> None:
    """All zeros, one value, two values, tiny ones; a tensor nearly all zeros keeps its rest."""
    assert limit(np.zeros(10), method) == LIMIT_OF_ZEROS > 0
    assert np.float16(LIMIT_OF_ZEROS / 127) >= np.finfo(np.float16).smallest_normal
    assert limit(np.full(10, -3.3), method) == pytest.approx(3.3)
    assert limit(np.array([1.0, 3.0]), method) == pytest.approx(3, rel=1e-3)
    assert limit(np.array([1e-40]), method) == pytest.approx(1e-40, rel=1e-3)
    assert limit(np.array([1e-38, 1e-36]), method) > 0
    sparse = np.zeros(1_000_000, np.float32)
    sparse[:3] = 5
    assert limit(sparse, method) == 5


def test_unknown_methods_and_percentiles_are_refused() -> None:
    """In one sentence."""
    with pytest.raises(
        CalibrationError, match=r"'kl' is unknown; choose one of max, entropy, percentile"
    ):
        limit(np.ones(3), "kl")
    for percentile in (0.9999, 101, float("nan")):
        with pytest.raises(CalibrationError, match="give a number from 50 to 100"):
            limit(np.ones(3), "percentile", percentile)
    assert limit(np.ones(3), "max", 0.9999) == 1
