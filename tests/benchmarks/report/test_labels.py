"""Labels never collide, however close their points are."""

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lzu_benchmarks.report.labels import MARK, Box, Label, Place, place

AREA = Box(0, 0, 240, 200)
NUMBER = (9.0, 9.0)


def label(x: float, y: float, width: float = 60.0, height: float = 10.0) -> Label:
    return Label((x, y), (width, height), NUMBER)


def mark(each: Label) -> Box:
    x, y = each.at
    return Box(x - MARK, y - MARK, x + MARK, y + MARK)


def check(labels: list[Label], places: list[Place | None]) -> None:
    """Check that the placed boxes hide neither one another nor a mark, and stay in the area."""
    assert len(places) == len(labels)
    boxes = [each.box for each in places if each is not None]
    for a, b in combinations(boxes, 2):
        assert not a.meets(b)
    for box in boxes:
        assert box.within(AREA)
        assert not any(box.meets(mark(each)) for each in labels)
    for each, found in zip(labels, places, strict=True):
        if found is not None:
            size = each.number if found.numbered else each.size
            assert found.box.right - found.box.left == pytest.approx(size[0])
            assert found.box.high - found.box.low == pytest.approx(size[1])


close = st.floats(90, 110, width=32)
anywhere = st.floats(0, 200, width=32)
widths = st.floats(10, 230, width=32)
clusters = st.lists(st.builds(label, close, close, widths), min_size=1, max_size=14)
spread = st.lists(st.builds(label, anywhere, anywhere, widths), min_size=1, max_size=14)


@settings(max_examples=40, deadline=None)
@given(st.one_of(clusters, spread))
def test_labels_hide_neither_one_another_nor_a_mark(labels: list[Label]) -> None:
    places = place(labels, AREA)
    check(labels, places)
    assert None not in places  # there is room for 14 numbers


def test_a_label_alone_stands_beside_its_point() -> None:
    (found,) = place([label(100, 100)], AREA)
    assert found is not None
    assert (found.numbered, found.led) == (False, False)
    assert found.box.centre == (100, 116)


def test_a_label_avoids_a_bar_and_a_corner() -> None:
    (found,) = place([label(100, 100)], AREA, [((100, 60), (100, 140))])
    assert found is not None
    assert found.box.left > 100 or found.box.right < 100
    (corner,) = place([label(239, 199)], AREA)
    assert corner is not None
    assert corner.box.within(AREA)


def test_equal_points_have_lines_then_numbers() -> None:
    labels = [label(120, 100, 100) for _ in range(16)]
    places = place(labels, AREA)
    check(labels, places)
    found = [each for each in places if each is not None]
    assert any(each.led and not each.numbered for each in found)
    assert any(each.numbered for each in found)


def test_a_text_wider_than_the_area_is_a_number() -> None:
    (found,) = place([label(100, 100, 500)], AREA)
    assert found is not None
    assert found.numbered


def test_without_any_room_a_label_is_left_out() -> None:
    assert place([label(4, 4)], Box(0, 0, 8, 8)) == [None]
    assert place([], AREA) == []
