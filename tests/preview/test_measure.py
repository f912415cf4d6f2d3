"""What is said of a warp follows from its knots and its boxes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from lzu_export.preview.measure import BoxSizes, as_json, measure, warnings
from lzu_export.preview.subject import IDENTITY, Sizes, Subject
from lzu_export.warp.forward import pixel_centres
from lzu_export.warp.warp import Knots

SIZES = Sizes.whole((101, 201), 0.5)
SQUEEZED: Knots = {"knots_x": pixel_centres(5), "knots_y": np.array([-1.0, -0.6, -0.4, -0.2, 1.0])}
"""Rows beyond the last knot but one, 60 % of the frame, are shown by a quarter of the canvas."""


def test_extremes_and_squeezed_rows_are_those_of_the_knots() -> None:
    found = measure(Subject("mine", SIZES, SQUEEZED), 16)
    assert found.extremes[0] == pytest.approx((1, 1))
    assert found.extremes[1] == pytest.approx((2.5, 0.5 / 1.2))
    assert (found.largest, found.smallest) == pytest.approx((2.5, 0.5 / 1.2))
    assert found.squeezed == pytest.approx(0.6)
    assert found.shown == pytest.approx(1)
    assert found.ranges["x"] == []
    assert found.ranges["y"] == [pytest.approx((40, 100))]
    assert warnings(Subject("mine", SIZES, SQUEEZED), found) == [
        "the warp squeezes 60 % of the frame below half of its size on the uniform canvas, to "
        "0.42 at most: rows 40 to 100"
    ]


def test_squeezed_rows_of_a_crop_are_said_to_be_its() -> None:
    sizes = SIZES._replace(source=(121, 301), corner=(10, 50))
    subject = Subject("mine", sizes, SQUEEZED)
    (told,) = warnings(subject, measure(subject, 16))
    assert told.endswith(": rows 40 to 100 of the crop")


def test_neighbouring_pieces_join_and_others_stay_apart() -> None:
    knots = {"knots_x": np.array([-1.0, -0.5, 0.0, 0.1, 0.2, 1.0]), "knots_y": pixel_centres(2)}
    gaps = np.diff(np.sort(np.concatenate([[-1, 1], np.linspace(-0.02, 0.02, 9)])))
    found = measure(Subject("mine", SIZES, {**knots, "knots_x": -1 + np.cumsum([0, *gaps])}), 16)
    assert len(gaps) == 10
    assert found.ranges["x"] == [pytest.approx((0, 98)), pytest.approx((102, 200))]
    assert measure(Subject("mine", SIZES, knots), 16).ranges["x"] == []


@pytest.mark.parametrize("tunable", [{}, {"warp.fwhm": 10.0, "warp.background": 0.1}], ids=str)
def test_a_warp_that_hardly_zooms_is_warned_of(tunable: dict[str, float]) -> None:
    subject = Subject("mine", SIZES, IDENTITY, tunable=tunable)
    (told,) = warnings(subject, measure(subject, 16))
    remedy = "; --magnification 2 proposes another warp.fwhm or warp.background" if tunable else ""
    assert told == f"the warp is all but the identity: it magnifies by 1.00 at most{remedy}"


def test_a_crop_is_warned_of() -> None:
    knots = {"knots_x": np.array([-0.5, 0.5]), "knots_y": np.array([-1.0, 1])}
    subject = Subject("mine", SIZES, knots, boxes=np.array([[90.0, 10, 110, 20], [0, 10, 110, 20]]))
    found = measure(subject, 16)
    assert warnings(subject, found) == ["the warp crops: it shows 50 % of the frame"]
    assert found.boxes is not None
    assert (len(found.boxes.uniform), found.boxes.cropped) == (1, 1)
    assert found.boxes.zoomed / found.boxes.uniform == pytest.approx(np.sqrt(2))


def test_a_crop_beside_all_boxes_measures_none() -> None:
    knots = {"knots_x": np.array([-0.5, 0.5]), "knots_y": np.array([-1.0, 1])}
    subject = Subject("mine", SIZES, knots, boxes=np.array([[0.0, 10, 30, 20]]))
    assert measure(subject, 16).boxes is None


sizes = arrays.arrays(np.float64, 30, elements=st.floats(0, 500))


@given(uniform=sizes, zoomed=sizes, small=st.floats(0, 100))
def test_classes_hold_every_box_once(uniform: np.ndarray, zoomed: np.ndarray, small: float) -> None:
    found = BoxSizes(uniform, zoomed, small)
    assert sum(each.boxes for each in found.classes()) == 30
    for each in found.classes():
        inside = (uniform >= each.least) & (uniform < each.below)
        assert each.boxes == inside.sum()
        assert each.zoomed == np.median(zoomed[inside])
    before, after = found.small_shares
    assert before == pytest.approx(sum(size < small for size in uniform) / 30)
    assert after == pytest.approx(sum(size < small for size in zoomed) / 30)


def test_json_holds_the_figures_and_no_infinity() -> None:
    boxes = np.array([[0.0, 60, 200, 100], [90, 25, 100, 29]])
    subject = Subject("mine", SIZES, SQUEEZED, boxes=boxes)
    found = as_json(subject, measure(subject, 8))
    assert found["canvas"] == [50, 100]
    assert found["magnification"]["y"] == pytest.approx({"largest": 2.5, "smallest": 0.5 / 1.2})
    assert found["squeezed"]["ranges"]["y"] == [pytest.approx([40, 100])]
    assert found["boxes"]["small"] == {"below": 8, "uniform": 0.5, "zoomed": 0.5}
    assert [each["boxes"] for each in found["boxes"]["classes"]] == [1, 1]
    step_y, step_x = 49 / 100, 99 / 200
    small, large = found["boxes"]["classes"]
    assert small["uniform"] == pytest.approx(np.sqrt(10 * step_x * 4 * step_y))
    assert small["zoomed"] == pytest.approx(np.sqrt(10 * step_x * 4 * step_y * 2.5))
    assert large["zoomed"] == pytest.approx(np.sqrt(200 * step_x * 40 * step_y * 0.5 / 1.2))
