"""Foveated knots: equal steps of the integrated density, and their limits."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lzu_export.errors import LzuError
from lzu_export.warp.families.gaze import gaze_knots
from lzu_export.warp.fixed_warp import FixedWarp
from lzu_export.warp.inverse import invert_axis

SOURCE = (120, 192)


@settings(max_examples=60, deadline=None)
@given(
    x=st.floats(0, 191), y=st.floats(0, 119), halving=st.floats(0.01, 100), count=st.integers(2, 40)
)
def test_knots_increase_from_edge_to_edge(x: float, y: float, halving: float, count: int) -> None:
    for knots in gaze_knots((x, y), SOURCE, halving=halving, lattice=(count, 7)).values():
        assert (np.diff(knots) > 0).all()
        assert (knots[0], knots[-1]) == (-1.0, 1.0)


@settings(max_examples=30, deadline=None)
@given(x=st.floats(0, 191), halving=st.floats(0.05, 5))
def test_every_step_holds_the_same_integral_of_the_density(x: float, halving: float) -> None:
    knots = gaze_knots((x, 50), SOURCE, halving=halving, lattice=(2, 9))["knots_x"]
    centre, reach = 2 * x / 191 - 1, 2 * halving
    steps = []
    for low, high in pairwise(knots):
        places = low + (np.arange(20000) + 0.5) / 20000 * (high - low)
        steps.append((1 / (1 + np.abs(places - centre) / reach)).mean() * (high - low))
    np.testing.assert_allclose(steps, np.mean(steps), rtol=1e-6)


def test_density_halves_at_the_named_distance() -> None:
    knots = gaze_knots((0, 0), SOURCE, halving=0.25, lattice=(2, 4001))["knots_x"]
    canvas = invert_axis(knots, [-1.0, -0.9995, -0.5, -0.4995])  # a quarter of 2 from the edge
    assert (canvas[1] - canvas[0]) / (canvas[3] - canvas[2]) == pytest.approx(2, rel=1e-3)


def test_wide_density_is_the_identity_and_a_warp_takes_the_knots() -> None:
    for halving, identity in ((1e12, True), (0.25, False)):
        knots = gaze_knots((40, 30), SOURCE, halving=halving)
        assert FixedWarp.from_knots(knots=knots, source=SOURCE, scale=0.5).is_identity is identity


@pytest.mark.parametrize(
    ("point", "changed", "message"),
    [
        ((200, 3), {}, "x from 0 to 191"),
        ((np.nan, 3), {}, "gaze point is"),
        ((1, 2, 3), {}, "gaze point is"),
        ((1, 2), {"halving": 0}, "halving is 0"),
        ((1, 2), {"lattice": (1, 9)}, "lattice is"),
        ((0, 0), {"source": (1, 9)}, "source is"),
    ],
)
def test_unfit_arguments_are_refused(point: Any, changed: dict[str, Any], message: str) -> None:
    arguments = {"source": SOURCE, **changed}
    with pytest.raises(LzuError, match=message):
        gaze_knots(point, **arguments)
