"""Two-plane prior: ramps seen in perspective, and the knots that follow from them."""

from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lzu_export.errors import LzuError
from lzu_export.warp.families.two_plane import two_plane_knots, two_plane_saliency

SOURCE = (121, 201)


def ramps(x: float, y: float, point: tuple[float, float], **values: Any) -> list[float]:
    """Ramp of the ground and of the upper plane at a pixel, by OpenCV's homographies."""
    rise = 1 / np.tan(np.deg2rad(values["theta"]))
    edges = np.array(
        [[0, point[1] + point[0] * rise[0]], [200, point[1] + (200 - point[0]) * rise[1]]]
    )
    found = []
    for name, far, steepness in (("alpha", 120, 0), ("alpha_top", 0, 1)):
        share = np.array(values[name])[:, None]
        left, right = share * edges + (1 - share) * np.array(point)
        corners = [left, right, (200, far), (0, far)]
        square = [(0, 0), (1, 0), (1, 1), (0, 1)]
        if far == 0:
            corners = [(0, 0), (200, 0), right, left]
        matrix = cv2.getPerspectiveTransform(
            np.array(corners, np.float32), np.array(square, np.float32)
        )
        u, v, depth = matrix @ (x, y, 1)
        inside = (
            depth * (matrix[2] @ (*corners[0], 1)) > 0
            and -1e-5 <= u / depth <= 1 + 1e-5
            and -1e-5 <= v / depth <= 1 + 1e-5
        )
        found.append(np.exp(-values["steepness"][steepness] * v / depth) if inside else 0.0)
    return found


@settings(max_examples=25, deadline=None)
@given(
    x=st.floats(80, 120),
    y=st.floats(50, 80),
    theta=st.tuples(st.floats(105, 115), st.floats(105, 115)),
    alpha=st.tuples(st.floats(0.2, 0.6), st.floats(0.2, 0.6)),
    alpha_top=st.tuples(st.floats(0.2, 0.3), st.floats(0.2, 0.3)),
    share=st.floats(0, 1),
)
def test_saliency_is_the_sum_of_ramps_in_perspective(
    x: float, y: float, share: float, **values: Any
) -> None:
    values["steepness"] = (3.0, 1.5)
    rows, columns = np.linspace(0, 120, 7), np.linspace(0, 200, 9)
    found = two_plane_saliency((x, y), SOURCE, share=share, floor=0.01, lattice=(7, 9), **values)
    wanted = np.empty((7, 9))
    for i, j in np.ndindex(7, 9):
        below, above = ramps(columns[j], rows[i], (x, y), **values)
        wanted[i, j] = below + (1 - share) * above + 0.01
    close = np.isclose(found, wanted, rtol=1e-3, atol=1e-6)
    assert close.mean() >= 62 / 63  # a point on a plane's border may fall to either side


def test_depth_of_the_ground_is_the_inverse_of_its_width_on_the_frame() -> None:
    # A symmetric trapezoid from width a at row 40 to the frame's width at row 120: the rows of
    # ground at distance Z have the width 1 / Z, and the ramp's row is linear in Z.
    found = two_plane_saliency(
        (100, 60), SOURCE, theta=(90 + np.rad2deg(np.arctan(0.4)),) * 2, alpha=(0.5, 0.5),
        share=1, floor=1e-9, lattice=(121, 3),
    )[40:, 1]  # fmt: skip
    width = 100 + (200 - 100) * (np.arange(40, 121) - 40) / 80
    row = (1 / 100 - 1 / width) / (1 / 100 - 1 / 200)
    np.testing.assert_allclose(found, np.exp(-3 * row), rtol=1e-6)


@settings(max_examples=30, deadline=None)
@given(x=st.floats(60, 140), y=st.floats(50, 100), share=st.floats(0, 1))
def test_knots_increase_from_edge_to_edge(x: float, y: float, share: float) -> None:
    for knots in two_plane_knots((x, y), SOURCE, share=share).values():
        assert (np.diff(knots) > 0).all()
        assert (knots[0], knots[-1]) == (-1.0, 1.0)


def test_samples_gather_at_the_vanishing_point_and_a_high_floor_is_the_identity() -> None:
    knots = two_plane_knots((60, 50), SOURCE)
    densest = {name: each[np.argmin(np.diff(each))] for name, each in knots.items()}
    assert densest["knots_x"] == pytest.approx(2 * 60 / 200 - 1, abs=0.15)
    assert densest["knots_y"] == pytest.approx(2 * 50 / 120 - 1, abs=0.2)
    flat = two_plane_knots((60, 50), SOURCE, floor=1e9)
    np.testing.assert_allclose(flat["knots_x"], np.linspace(-1, 1, 51), atol=1e-8)


@pytest.mark.parametrize(
    ("point", "changed", "message"),
    [
        ((300, 50), {}, "vanishing point is"),
        ((100, 50), {"theta": (190, 110)}, "theta is"),
        ((100, 50), {"share": 2}, "share is 2"),
        ((100, 50), {"floor": 0}, "floor is 0"),
        ((100, 50), {"steepness": (-1, 3)}, "steepness is -1"),
        ((100, 119), {"theta": (60, 60)}, "not convex"),
    ],
)
def test_unfit_arguments_are_refused(point: Any, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(LzuError, match=message):
        two_plane_saliency(point, SOURCE, **changed)
