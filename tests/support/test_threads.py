"""Tests of the number of threads that the environment allows."""

import pytest

from lzu_export.support.threads import bounded_threads


@pytest.mark.parametrize(
    ("text", "threads"),
    [("3", 3), (" 2 ", 2), ("4,2", 4), ("", None), ("0", None), ("-1", None), ("many", None)],
)
def test_threads_that_the_user_allows(
    text: str, threads: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", text)
    assert bounded_threads() == threads
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert bounded_threads() is None
