"""Radial knots: the closed inverse is the oracle, and beyond the disc nothing moves."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lzu_export.errors import LzuError
from lzu_export.warp.families.radial import radial_knots, radial_map
from lzu_export.warp.fixed_warp import FixedWarp
from lzu_export.warp.forward import pixel_centres
from lzu_export.warp.inverse import invert_tiles

SOURCE = (121, 201)


def even(lattice: tuple[int, int]) -> np.ndarray:
    y, x = (pixel_centres(count) for count in lattice)
    return np.stack(np.meshgrid(x, y), axis=-1)


@settings(max_examples=40, deadline=None)
@given(
    x=st.floats(70, 130),
    y=st.floats(40, 80),
    radius=st.floats(0.01, 0.6),
    alpha=st.floats(1.1, 2.5),
    power=st.floats(1.5, 3),
)
def test_the_closed_inverse_leads_knots_back(
    x: float, y: float, radius: float, alpha: float, power: float
) -> None:
    shape = {"radius": radius, "alpha": alpha, "power": power}
    knots = radial_knots((x, y), SOURCE, lattice=(9, 13), **shape)["knots"]
    centre = np.array([2 * x / 200 - 1, 2 * y / 120 - 1])
    np.testing.assert_allclose(radial_map(knots, centre, **shape), even((9, 13)), atol=1e-12)
    assert (np.diff(knots[..., 0], axis=1) > 0).all()
    assert (np.diff(knots[..., 1], axis=0) > 0).all()


def test_the_unzoom_of_the_tiles_approaches_the_closed_inverse() -> None:
    centre, points = np.array([0.1, -0.05]), even((23, 31)) * 0.97
    exact = radial_map(points, centre, 0.6, 2.0, 2.0)
    errors = []
    for lattice in ((31, 51), (61, 101), (121, 201)):
        knots = radial_knots((110, 57), SOURCE, radius=0.6, lattice=lattice)["knots"]
        errors.append(np.abs(invert_tiles(knots, points) - exact).max())
    assert errors[0] < 0.01
    assert errors[0] > 3 * errors[1] > 9 * errors[2] > 0  # of second order in the spacing


def test_the_centre_is_magnified_and_the_rest_is_kept() -> None:
    centre = np.zeros(2)
    near = radial_map(np.array([[1e-6, 0.0], [0.0, 0.0]]), centre, 0.5, 2.0, 2.0)
    assert near[0, 0] / 1e-6 == pytest.approx(2, rel=1e-4)
    np.testing.assert_array_equal(near[1], 0)
    knots = radial_knots((100, 60), SOURCE, radius=0.5, lattice=(21, 21))["knots"]
    outside = np.linalg.norm(even((21, 21)), axis=-1) >= 0.5
    np.testing.assert_array_equal(knots[outside], even((21, 21))[outside])
    nearer, shown = (np.linalg.norm(each[~outside], axis=-1) for each in (knots, even((21, 21))))
    assert (nearer <= shown + 1e-12).all()


def test_a_disc_between_the_knots_is_the_identity() -> None:
    for radius, identity in ((1e-9, True), (0.5, False)):
        knots = radial_knots((100, 60), SOURCE, radius=radius)
        assert FixedWarp.from_knots(knots=knots, source=SOURCE, scale=0.5).is_identity is identity


@pytest.mark.parametrize(
    ("centre", "changed", "message"),
    [
        ((300, 50), {}, "centre is"),
        ((100, 20), {"radius": 0.5}, "at most 0.3333"),
        ((100, 60), {"radius": 0}, "radius is 0"),
        ((100, 60), {"alpha": 0.9}, "alpha is 0.9"),
        ((100, 60), {"power": 0}, "power is 0"),
        ((100, 60), {"alpha": 30, "radius": 0.9}, "lower alpha or raise power"),
    ],
)
def test_unfit_arguments_are_refused(centre: Any, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(LzuError, match=message):
        radial_knots(centre, SOURCE, **changed)
