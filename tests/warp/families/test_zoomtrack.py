"""Tracker's spacings: the minimum of the programme's energy, and its limits."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lzu_export.errors import LzuError
from lzu_export.warp.families.zoomtrack import zoomtrack_knots, zoomtrack_spacings
from lzu_export.warp.fixed_warp import FixedWarp

SOURCE = (240, 400)
sides = st.tuples(st.integers(1, 9), st.integers(1, 7))


def energy(
    rows: np.ndarray, columns: np.ndarray, saliency: np.ndarray, zoom: float, weights: Any
) -> float:
    """The programme's energy, summed cell by cell."""
    (m, n), (height, width), total = saliency.shape, SOURCE, 0.0
    for k in range(m):
        for j in range(n):
            size = (rows[k] - height / (m * zoom)) ** 2 + (columns[j] - width / (n * zoom)) ** 2
            shape = (m / height * rows[k] - n / width * columns[j]) ** 2
            total += saliency[k, j] ** 2 * (weights[0] * size + weights[1] * shape)
    return total


@settings(max_examples=40, deadline=None)
@given(
    shape=sides,
    zoom=st.floats(1, 4),
    rigidity=st.sampled_from([0.0, 1.0, 1e4]),
    seed=st.integers(0, 999),
)
def test_no_other_spacings_of_these_sums_have_less_energy(
    shape: tuple[int, int], zoom: float, rigidity: float, seed: int
) -> None:
    random = np.random.default_rng(seed)
    saliency, weights = random.uniform(0.1, 1, shape), (1.0, rigidity)
    rows, columns = zoomtrack_spacings(saliency, SOURCE, zoom=zoom, weights=weights)
    assert min(rows.min(), columns.min()) > 0
    np.testing.assert_allclose((rows.sum(), columns.sum()), SOURCE, rtol=1e-12)
    least = energy(rows, columns, saliency, zoom, weights)
    for _ in range(5):
        moves = [random.normal(size=count) for count in shape]
        down, across = (move - move.mean() for move in moves)
        other = energy(rows + down, columns + across, saliency, zoom, weights)
        assert other >= least * (1 - 1e-12)


@settings(max_examples=40, deadline=None)
@given(zoom=st.floats(1, 4), seed=st.integers(0, 999))
def test_without_rigidity_spacings_have_a_closed_form(zoom: float, seed: int) -> None:
    saliency = np.random.default_rng(seed).uniform(0.1, 1, (5, 8))
    rows, _ = zoomtrack_spacings(saliency, SOURCE, zoom=zoom, weights=(2.0, 0.0))
    shares = 1 / (saliency**2).sum(axis=1)
    wanted = 240 / (5 * zoom) + (240 - 240 / zoom) * shares / shares.sum()
    np.testing.assert_allclose(rows, wanted, rtol=1e-9)


@settings(max_examples=40, deadline=None)
@given(x=st.floats(-50, 450), y=st.floats(-50, 290), side=st.floats(0, 200), zoom=st.floats(1, 3))
def test_knots_increase_from_edge_to_edge(x: float, y: float, side: float, zoom: float) -> None:
    for knots in zoomtrack_knots((x, y, x + side, y + side), SOURCE, zoom=zoom).values():
        assert (np.diff(knots) > 0).all()
        assert (knots[0], knots[-1]) == (-1.0, 1.0)


def test_the_target_is_magnified_and_its_limits_are_the_identity() -> None:
    box = (190.0, 110.0, 210.0, 130.0)
    for given_box, zoom, identity in ((box, 1.5, False), (box, 1.0, True), (None, 1.5, True)):
        knots = zoomtrack_knots(given_box, SOURCE, zoom=zoom)
        assert FixedWarp.from_knots(knots=knots, source=SOURCE, scale=0.5).is_identity is identity
    knots_x = zoomtrack_knots(box, SOURCE)["knots_x"]
    assert (2 / 16) / np.diff(knots_x)[7:9] == pytest.approx([1.5, 1.5], rel=0.02)


@pytest.mark.parametrize(
    ("box", "changed", "message"),
    [
        ((3, 3, 1, 5), {}, "give x1, y1, x2, y2"),
        ((1, 2, 3), {}, "give x1, y1, x2, y2"),
        ((0, 0, 1, np.nan), {}, "give x1, y1, x2, y2"),
        ((0, 0, 1, 1), {"zoom": 0.5}, "zoom is 0.5"),
        ((0, 0, 1, 1), {"bandwidth": 0}, "bandwidth is 0"),
        ((0, 0, 1, 1), {"weights": (0, 1)}, r"weights\[0\]"),
        ((0, 0, 1, 1), {"weights": (1, -1)}, r"weights\[1\]"),
    ],
)
def test_unfit_arguments_are_refused(box: Any, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(LzuError, match=message):
        zoomtrack_knots(box, SOURCE, **changed)
