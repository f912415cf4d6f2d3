"""Knots of the host: kept until others are set, and unfit ones refused in one sentence."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lzu_export.errors import LzuError
from lzu_export.recipes import Recipe
from lzu_export.runtime.detector import Detector
from lzu_export.runtime.host_knots import HostKnots
from lzu_export.tasks.warps import make_warp
from lzu_export.warp.families import gaze_knots, radial_knots
from samples import FakeSession, refusal, tiny_recipe

SOURCE, LATTICE = (96, 160), (7, 11)
GAZE = gaze_knots((40, 40), SOURCE, lattice=LATTICE)
PLANE = radial_knots((80, 50), SOURCE, lattice=LATTICE)["knots"]


def recipe_of(folder: Path, **changes: Any) -> Recipe:
    return tiny_recipe(folder, variant="external", batch=2, **changes)


@pytest.fixture
def axes(tmp_path: Path) -> HostKnots:
    recipe = recipe_of(tmp_path)
    return HostKnots(recipe, make_warp(recipe).arrays())


@pytest.fixture
def plane(tmp_path: Path) -> HostKnots:
    recipe = recipe_of(tmp_path, warp={"separable": False})
    return HostKnots(recipe, make_warp(recipe).arrays())


def test_knots_stay_until_others_are_set(axes: HostKnots) -> None:
    even = np.linspace(-1, 1, 11, dtype=np.float32)
    np.testing.assert_allclose(axes.inputs()["knots_x"], [even, even], atol=1e-7)
    axes.set_knots(GAZE, 1)
    for _ in range(2):
        given_knots = axes.inputs()
        assert {name: each.dtype for name, each in given_knots.items()} == {
            "knots_x": np.float32,
            "knots_y": np.float32,
        }
        np.testing.assert_allclose(given_knots["knots_x"][0], even, atol=1e-7)
        np.testing.assert_allclose(given_knots["knots_x"][1], GAZE["knots_x"], atol=1e-7)
    axes.set_knots(GAZE)
    np.testing.assert_array_equal(*axes.inputs()["knots_y"])
    axes.reset()
    np.testing.assert_allclose(axes.inputs()["knots_x"], [even, even], atol=1e-7)


def test_rounding_beyond_the_view_is_clipped_and_equal_knots_are_taken(axes: HostKnots) -> None:
    knots = np.linspace(-1, 1, 11) * (1 + 1e-7)
    knots[5] = knots[4]
    axes.set_knots({**GAZE, "knots_x": knots})
    assert np.abs(axes.inputs()["knots_x"]).max() == 1


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_unfit_axes_are_refused_and_the_former_kept(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """A NaN, an infinity, a step back, or a place beyond the view at any knot of either axis."""
    recipe = recipe_of(tmp_path_factory.getbasetemp())
    held = HostKnots(recipe, make_warp(recipe).arrays())
    held.set_knots(GAZE)
    name = data.draw(st.sampled_from(["knots_x", "knots_y"]))
    bad = GAZE[name].copy()
    bad[data.draw(st.integers(1, len(bad) - 1))] = data.draw(
        st.sampled_from([np.nan, np.inf, -np.inf, -1.01, 1.01])
    )
    before = held.inputs()
    said = refusal(lambda: held.set_knots({**GAZE, name: bad}))
    assert name in said
    for key, values in held.inputs().items():
        np.testing.assert_array_equal(values, before[key])


@pytest.mark.parametrize(
    ("knots", "message"),
    [
        ({}, "named nothing"),
        ({"knots": PLANE}, "takes knots_x and knots_y"),
        ({"knots_x": GAZE["knots_x"]}, "give knots_x and knots_y by name"),
        ({**GAZE, "knots_x": np.linspace(-1, 1, 9)}, r"shape \(9,\) but the engine takes \(11,\)"),
        ({**GAZE, "knots_x": "left"}, "no arrays of numbers"),
        ({**GAZE, "knots_x": np.zeros((2, 3))}, "give one axis"),
    ],
)
def test_other_names_and_shapes_are_refused(axes: HostKnots, knots: Any, message: str) -> None:
    with pytest.raises(LzuError, match=message):
        axes.set_knots(knots)


def test_streams_are_counted_from_0(axes: HostKnots) -> None:
    for stream in (-1, 2):
        with pytest.raises(LzuError, match=f"stream is {stream} but the batch has 2"):
            axes.set_knots(GAZE, stream)


def test_planes_may_not_decrease_along_an_axis(plane: HostKnots) -> None:
    plane.set_knots({"knots": PLANE})
    np.testing.assert_allclose(plane.inputs()["knots"][1], PLANE, atol=1e-7)
    for changed in (PLANE[:, ::-1], PLANE[::-1]):
        with pytest.raises(LzuError, match="knots decrease somewhere"):
            plane.set_knots({"knots": changed})
    with pytest.raises(LzuError, match="takes knots of a plane"):
        plane.set_knots(GAZE)


def test_other_variants_take_no_knots(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path)
    predictor = Detector(recipe, FakeSession(), make_warp(recipe).arrays())
    with pytest.raises(LzuError, match="variant fixed takes no knots; export it as external"):
        predictor.set_knots(GAZE)
