"""Reading ahead: in order, bounded, with errors in their place, and ended with its reader."""

import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from lzu_export.errors import LzuError
from lzu_export.support.prefetch import prefetch


def counted(count: int, made: list[int], closed: list[bool]) -> Iterator[int]:
    try:
        for i in range(count):
            made.append(i)
            yield i
    finally:
        closed.append(True)


def wait_for(made: list[int], count: int) -> None:
    limit = time.monotonic() + 5
    while len(made) < count and time.monotonic() < limit:
        time.sleep(0.001)


@pytest.mark.parametrize("most", [1, 3])
def test_all_items_come_in_order_and_few_are_made_early(most: int) -> None:
    made: list[int] = []
    closed: list[bool] = []
    with closing(prefetch(counted(20, made, closed), most)) as items:
        assert next(items) == 0
        wait_for(made, most + 2)
        time.sleep(0.05)
        assert len(made) <= most + 2  # the queue, one used, and one that waits for a place
        assert list(items) == list(range(1, 20))
    assert made == list(range(20))
    assert closed == [True]
    assert list(prefetch([], 2)) == []


def test_an_error_comes_after_what_was_made_before_it() -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise LzuError("frame 2 is missing; add it")

    items = prefetch(failing(), 5)
    assert next(items) == 1
    with pytest.raises(LzuError, match="frame 2 is missing"):
        next(items)


def test_who_stops_early_stops_the_reading() -> None:
    made: list[int] = []
    closed: list[bool] = []
    before = threading.active_count()
    with closing(prefetch(counted(1000, made, closed), 2)) as items:
        next(items)
    assert threading.active_count() == before
    assert closed == [True]
    assert len(made) < 10
