"""A chart that does not lie: axes from zero or with a marked break, labels that do not collide."""

import re
from html import unescape

import pytest

pytest.importorskip("matplotlib", reason="the report needs the extra bench")

from lzu_benchmarks.report.trade_off import Point, axis_limits, trade_off

CLOSE = [
    Point("uniform", 30.0, 36.7, "uniform 0.5x"),
    Point("fixed", 30.5, 41.1, "fixed 0.5x", (30.0, 31.0), (40.0, 42.2), "fixed\n41.1 AP"),
    Point("adaptive", 31.0, 41.3, "adaptive 0.5x", (30.4, 31.9), None),
    Point("fovea", 30.8, 40.9, "fovea <0.5x>"),
]


@pytest.mark.parametrize(
    ("values", "begin", "broken"),
    [
        ([20.0, 41.0], 0.0, False),
        ([15.0, 32.0], 0.0, False),
        ([36.0, 41.0], None, True),
        ([0.0, 0.0], 0.0, False),
        ([-3.0, 2.0], None, False),
    ],
)
def test_an_axis_begins_at_zero_or_says_that_it_does_not(
    values: list[float], begin: float | None, broken: bool
) -> None:
    low, high, marked = axis_limits(values)
    assert marked is broken
    assert low == begin if begin is not None else low < min(values)
    assert high > max(values)
    assert (low > 0) == marked  # an axis with zero in it needs no mark


def test_small_differences_are_not_blown_up() -> None:
    low, high, _ = axis_limits([100.0, 100.2])
    assert 0.2 / (high - low) < 0.15


def boxes(drawn: str) -> list[tuple[float, float, float, float]]:
    """Areas of the labels, from the places, the anchors and the lengths of their texts."""
    found = []
    written = r'<g id="t-\w+-p\d-label".*?<text ([^>]*)x="([\d.]+)" y="([\d.]+)"[^>]*>([^<]*)'
    for style, x, y, text in re.findall(written, drawn, re.DOTALL):
        width = 5.0 * len(unescape(text))
        anchor = re.search(r"text-anchor: (\w+)", style)
        shift = {"middle": width / 2, "end": width}.get(anchor[1] if anchor else "start", 0.0)
        found.append((float(x) - shift, float(y) - 7, float(x) - shift + width, float(y)))
    return found


def test_labels_do_not_collide() -> None:
    for drawn in trade_off(CLOSE, name="t", x="ms", y="AP", description="d").values():
        areas = boxes(drawn)
        assert len(areas) == len(CLOSE)
        for i, a in enumerate(areas):
            for b in areas[i + 1 :]:
                assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]


def test_labels_without_room_are_numbers_that_a_key_explains() -> None:
    equal = [
        Point(
            "fixed", 30.0, 40.0, f"crop_{i} + full frame in tiles 0.375x", data={"data-scale": "1"}
        )
        for i in range(10)
    ]
    drawn = trade_off(equal, name="t", x="ms", y="AP", description="d")["narrow"]
    for i in range(10):
        assert f'id="t-narrow-p{i}-label"' in drawn
    key = re.findall(
        r'<g id="t-narrow-p(\d+)-key" data-scale="1">.*?<text [^>]*>([^<]*)', drawn, re.DOTALL
    )
    assert key
    for number, (i, text) in enumerate(key, start=1):
        assert text == f"{number} crop {i} + full frame in tiles 0.375x"
        written = re.search(rf'<g id="t-narrow-p{i}-label".*?<text [^>]*>([^<]*)', drawn, re.DOTALL)
        assert written is not None
        assert written[1] == str(number)


def test_every_point_tells_its_numbers_and_its_intervals_are_drawn_in_both_directions() -> None:
    drawn = trade_off(CLOSE, name="t", x="ms", y="AP", description="d")
    assert set(drawn) == {"wide", "narrow"}
    for flavour, each in drawn.items():
        assert 'data-tip="fixed\n41.1 AP"' in each
        assert "fovea <0.5x>" in unescape(each)
        assert "fovea <" not in each
        for bar in ("p1-0", "p1-1", "p2-0"):
            assert f'id="t-{flavour}-{bar}"' in each
        assert f'id="t-{flavour}-p2-1"' not in each
        assert f'id="t-{flavour}-break-y"' in each
        assert f'id="t-{flavour}-front"' in each
