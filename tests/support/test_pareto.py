"""The front holds what nothing else beats."""

import math

from hypothesis import given
from hypothesis import strategies as st

from lzu_export.support.pareto import front

POINT = st.tuples(st.integers(0, 9).map(float), st.integers(0, 9).map(float))


@given(points=st.lists(POINT, max_size=20))
def test_what_is_on_it_is_not_beaten_and_what_is_not_is(points: list[tuple[float, float]]) -> None:
    kept = front(points)

    def beats(a: tuple[float, float], b: tuple[float, float]) -> bool:
        return a != b and a[0] <= b[0] and a[1] >= b[1]

    for i, point in enumerate(points):
        beaten = any(beats(other, point) for other in points)
        assert (i in kept) <= (not beaten)
        if not beaten:
            assert point in [points[k] for k in kept]
    assert [points[k] for k in kept] == sorted(points[k] for k in kept)


def test_what_was_not_measured_is_never_on_it() -> None:
    assert front([(1.0, math.nan), (2.0, 5.0), (math.nan, 9.0)]) == [1]
    assert front([]) == []
